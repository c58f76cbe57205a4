"""A network on many cards at once: each card's state and newest events in, their scores and the state after them out.

Cards with one new event are one step together. Those with several are read in order, padded to the longest of those
with about as many: padding comes behind a card's last event, where it changes nothing.

A card's state is bytes: S float32, and behind them the feature vectors (float64) of events that the network has missed, since
it was late or away. Those are read first, before the card's next event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.base import Advanced, DeviceFull, Series, Vector
from models.sequence import Network

__all__ = [
    "MISSED",
    "Advanced",
    "Calibration",
    "DeviceFull",
    "SequenceScorer",
    "Series",
    "alike",
    "padded",
    "pieces",
]

MISSED = 64
"""Missed events that a card keeps: of more, the newest."""

Floats = NDArray[np.float32]


class Calibration(NamedTuple):
    """From a network's logits to probabilities (Platt 1999): 1 / (1 + exp(-(slope * logit + offset)))."""

    slope: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of logits of any shape."""
        raised = self.slope * logits.astype(np.float64) + self.offset
        return 1.0 / (1.0 + np.exp(-raised))


class SequenceScorer:
    """A trained network, its calibration and the features that it reads. Scoring changes nothing in it."""

    def __init__(
        self,
        network: Network,
        features: tuple[str, ...],
        calibration: Calibration = Calibration(),  # noqa: B008 - a constant
        device: str = "cpu",
    ) -> None:
        """Moves the network to the device, and out of training."""
        self.network = network.to(device).eval()
        self.features = features
        self.calibration = calibration
        self.state_bytes = (
            4 * network.state
        )  # of a card that has missed nothing; 0: only the newest event is looked at
        self._device = torch.device(device)

    @property
    def name(self) -> str:
        """The architecture."""
        return self.network.shape.architecture

    def advance(self, cards: Sequence[Series]) -> list[Advanced]:
        """The scores of all cards' new events, and the states after them.

        Raises DeviceFull, and what else the device raises; ValueError for a state that is none of this network's.
        """
        with told_full():
            return self._advanced(cards)

    def _advanced(self, cards: Sequence[Series]) -> list[Advanced]:
        opened = list(map(self._opened, cards))
        advanced: list[Advanced | None] = [None] * len(cards)
        for places in alike([len(vectors) for _, vectors in opened]):
            made = self._together([opened[place] for place in places])
            for place, (state, scores) in zip(places, made, strict=True):
                advanced[place] = Advanced(state, scores[len(scores) - len(cards[place].vectors) :])
        return [
            each if each is not None else Advanced(card.state, [])
            for each, card in zip(advanced, cards, strict=True)
        ]

    def missing(self, card: Series) -> bytes:
        """The state of a card whose new events the network does not read now: it will before the next ones."""
        if not self.network.state:
            return b""
        held = card.state or bytes(self.state_bytes)
        added = b"".join(np.asarray(vector, "<f8").tobytes() for vector in card.vectors)
        kept = (held[self.state_bytes :] + added)[-MISSED * 8 * len(self.features) :]
        return held[: self.state_bytes] + kept

    def _opened(self, card: Series) -> tuple[bytes, Sequence[Vector]]:
        """A card's state without what it missed, and that and its new events."""
        size, held = self.state_bytes, len(card.state)
        if held == size:
            return card
        if not held:
            return bytes(size), card.vectors
        state, missed = card.state[:size], card.state[size:]
        if held < size or len(missed) % (8 * len(self.features)):
            raise ValueError(f"a state of {held} bytes is none of this network, which carries {size}")
        vectors: list[Vector] = list(np.frombuffer(missed, "<f8").reshape(-1, len(self.features)))
        return state, [*vectors, *card.vectors]

    def _together(self, cards: Sequence[tuple[bytes, Sequence[Vector]]]) -> list[tuple[bytes, list[float]]]:
        """Cards that are read in one go."""
        lengths = [len(vectors) for _, vectors in cards]
        states = np.frombuffer(b"".join([state for state, _ in cards]), "<f4").reshape(len(cards), -1)
        with torch.inference_mode():
            logits, after = self._read(
                padded([vectors for _, vectors in cards], len(self.features)), states, lengths
            )
        scores, size = self.calibration.probabilities(logits).tolist(), self.state_bytes
        kept = np.ascontiguousarray(after, "<f4").tobytes()
        return [
            (kept[row * size : (row + 1) * size], told[:length])
            for row, (told, length) in enumerate(zip(scores, lengths, strict=True))
        ]

    def _read(self, vectors: Floats, states: Floats, lengths: Sequence[int]) -> tuple[Floats, Floats]:
        """Logits [B, T] and each card's state behind its own last event [B, S]."""
        state = torch.tensor(states, device=self._device)
        events = torch.from_numpy(vectors).to(self._device)
        logits, after = [], state
        for start, stop in pieces(lengths):
            told, state = self.network(events[:, start:stop], state)
            logits.append(told)
            after = torch.where(torch.tensor(lengths, device=self._device).unsqueeze(1) >= stop, state, after)
        return torch.cat(logits, 1).cpu().numpy(), after.cpu().numpy()


def on_one_thread() -> None:
    """Let this process compute on one thread.

    A batch is a few milliseconds of small matrices: more threads wait for each other longer than they compute, and take the
    processors from the store and the rest of the path (tests/benchmarks/network.py).
    """
    torch.set_num_threads(1)


@contextmanager
def told_full() -> Iterator[None]:
    """Says of a device without memory that this is what ails it: a CPU's allocator raises a plain RuntimeError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceFull(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise DeviceFull(str(error)) from error


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """The places of lengths that are read together: of one, of two, of three or four, of five to eight and so on.

    >>> alike([1, 4, 0, 3, 1])
    [[0, 4], [1, 3]]
    """
    groups: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        if length:
            groups.setdefault((length - 1).bit_length(), []).append(place)
    return list(groups.values())


def pieces(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Spans of events, one behind the other, at whose ends series of these lengths end.

    >>> list(pieces([3, 1, 3]))
    [(0, 1), (1, 3)]
    """
    ends = sorted(set(lengths))
    return zip([0, *ends[:-1]], ends, strict=True)


@np.errstate(over="ignore")  # beyond float32 is infinite
def padded(series: Sequence[Sequence[Vector]], width: int) -> Floats:
    """Vectors of `width` as [B, T, width], those of a shorter series filled up with nothing behind them."""
    longest = max(map(len, series))
    if longest == 1:
        return np.array([vectors[0] for vectors in series], np.float32).reshape(-1, 1, width)
    filled = np.zeros((len(series), longest, width), np.float32)
    for row, vectors in enumerate(series):
        filled[row, : len(vectors)] = vectors
    return filled
