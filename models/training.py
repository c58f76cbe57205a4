"""Training a network on the lives of cards: in time order, on labels that have arrived, judged on a later period.

A life is read in pieces, one behind the other; the state goes on from piece to piece, gradients do not (truncated
backpropagation through time: Williams and Peng 1990). After each epoch the network scores the later period, which it is not
trained on, with each card's state carried over from its earlier events; the epoch that ranked best there is kept.

What is drawn at random depends on the seed and on the place alone, not on what was drawn before. So a training that was killed
goes on from its checkpoint to the same weights, bit for bit, on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from models import checkpoint
from models.batched import Calibration
from models.calibrating import platt
from models.checkpoint import CheckpointError
from models.encoding import Fitted, fit
from models.lives import FRAUD, LEGITIMATE, UNKNOWN, Lives, Mask, Numbers, Rows
from models.measures import ranking
from models.periods import (
    DAY_US,
    Judged,
    Measures,
    Period,
    measured,
    period_of,
    refuse_one_class,
    split_of,
)
from models.sequence import Network, Shape

JUDGED_CARDS = 256
"""Lives scored side by side: no gradients are kept, so there may be many."""

Reader = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

Told = Callable[[int, str], None]
"""Called with how many events were read, and a few words."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a network is trained; it stands in its manifest."""

    epochs: int = 12  # times that every life is read
    cards: int = 8  # lives that a step reads side by side
    piece: int = 64  # events of each: so far back gradients flow
    rate: float = 2e-3  # the highest learning rate
    warmup: float = (
        0.1  # the share of all steps in which it rises; then it falls to nothing, along half a cosine
    )
    decay: float = 1e-4  # of weights (Loshchilov and Hutter 2019)
    clip: float = 1.0  # the longest gradient
    average: float = 0.9995  # what is kept of the weights' average at each step: it is judged, and comes out
    bins: int = 24  # into which numbers are laid by their quantiles
    validation: float = 0.15  # the share of labelled events, the latest, that are judged and not trained on
    patience: int = 4  # epochs without a better one, after which training ends
    seed: int = 0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What trains: it makes training faster or slower, not better."""

    device: str = "cpu"
    threads: int = 1  # of the CPU: steps are small, and more threads wait for each other
    bfloat16: bool = False  # compute in half precision what may be
    compiled: bool = False  # by torch.compile
    save_seconds: float = 60.0  # a checkpoint is written so often, and after each epoch


class Epoch(msgspec.Struct, frozen=True):
    """How an epoch ended."""

    number: int  # from 1
    loss: float  # cross entropy of an event, mean over the epoch
    later_loss: float  # of the later period
    auc_roc: float  # of the later period, as the next one
    average_precision: float
    seconds: float


class Trained(NamedTuple):
    """What comes out of a training."""

    network: Network  # as it was after the best epoch
    fitted: Fitted
    calibration: Calibration
    curve: tuple[Epoch, ...]
    best: int  # the number of the best epoch
    measures: Measures
    judged: Judged
    learned_from: Period
    judged_on: Period


class Place(msgspec.Struct, frozen=True):
    """How far a training has come; it stands in its checkpoint."""

    of: str  # the digest of rows, shape and recipe
    epoch: int = 0  # done
    steps: int = 0  # of the optimizer
    group: int = 0  # of the epoch that is under way
    events: int = 0  # read in it
    loss: float = 0.0  # the sum over its labelled events
    labels: int = 0  # how many these are
    seconds: float = 0.0
    curve: tuple[Epoch, ...] = ()


class Training:
    """One training. `total` is how many events it reads at most, over all epochs."""

    def __init__(
        self,
        rows: Rows,
        shape: Shape,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        machine: Machine = Machine(),  # noqa: B008 - frozen
        categories: Mapping[str, int] | None = None,
    ) -> None:
        """Of a network of that shape on these rows; `categories` as in `encoding.fit`.

        Raises TrainingError where one of the two periods has no fraud or nothing legitimate, and ValueError for an
        architecture that is not known.
        """
        self.rows, self.shape, self.recipe, self.machine = rows, shape, recipe, machine
        self.split = split_of(rows, recipe.validation)
        refuse_one_class(rows, self.split)
        early = rows.vectors[: self.split]
        self.fitted = fit(rows.names, early, dict(categories or {}), recipe.bins)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.network = Network(shape, self.fitted, rows.names)
        self._begin_with_the_prior()
        self.network.to(machine.device)
        self.averaged = copy.deepcopy(self.network)
        self._learning, self._judging = map(self._reader, (self.network, self.averaged))
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.rate, weight_decay=recipe.decay, foreach=True
        )
        whole = self.network.state > 0
        labelled = rows.labels != UNKNOWN
        self._lives = Lives(rows.cards[: self.split], labelled[: self.split], whole=whole)
        later = labelled & (np.arange(len(labelled)) >= self.split)
        self._later = Lives(rows.cards, later, whole=whole)
        self._judged = np.flatnonzero(later)
        self.total = recipe.epochs * self._lives.events
        self._place = Place(self._digest())
        self._best = self._weights()

    def resume(self, path: Path) -> bool:
        """Go on from the checkpoint at `path`; whether there is one. Raises CheckpointError where it is another training's."""
        if not path.exists():
            return False
        tensors, place = checkpoint.read(path, Place)
        if place.of != self._place.of:
            raise CheckpointError(
                f"the checkpoint {path} is of a training on other events or with other settings: delete it, or train "
                "without --resume"
            )
        self._place = place
        self.network.load_state_dict(_named(tensors, "network"))
        self.averaged.load_state_dict(_named(tensors, "averaged"))
        self._best = _named(tensors, "best")
        state = self._optimizer.state_dict()
        state["state"] = {
            int(number): {name: tensors[f"optimizer.{number}.{name}"] for name in MOMENTS}
            for number in {name.split(".")[1] for name in tensors if name.startswith("optimizer.")}
        }
        self._optimizer.load_state_dict(state)
        return True

    def run(self, told: Told = lambda *_: None, path: Path | None = None) -> Trained:
        """Train to the end, or until no epoch gets better; checkpoints go to `path`."""
        with torch.random.fork_rng(), _threads(self.machine.threads):
            while not self._ended():
                self._epoch(told, path)
                if path:
                    self._save(path)
            return self._trained()

    # --- one epoch

    def _epoch(self, told: Told, path: Path | None) -> None:
        began = saved = time.monotonic()
        before = self._place.seconds
        number = self._place.epoch
        groups = self._lives.groups(self.recipe.cards, _random(self.recipe.seed, number))
        for group in range(self._place.group, len(groups)):
            self._group(groups[group], group)
            now = time.monotonic()
            self._place = _with(self._place, group=group + 1, seconds=before + now - began)
            told(number * self._lives.events + self._place.events, self._note())
            if path and now - saved >= self.machine.save_seconds:
                self._save(path)
                saved = now
        self._judge(before + time.monotonic() - began)

    def _group(self, group: Numbers, number: int) -> None:
        """Lives that are read together, from their beginning to their end."""
        torch.manual_seed(_seed(self.recipe.seed, self._place.epoch, number))
        self.network.train()
        state = self.network.begin(len(group))
        for piece in self._lives.pieces(group, self.recipe.piece):
            state = self._step(piece.rows, state[: len(piece.rows)].detach())

    def _step(self, rows: Numbers, state: Tensor) -> Tensor:
        """One piece: what it teaches, and the state after it."""
        targets = np.where(rows == UNKNOWN, UNKNOWN, self.rows.labels[rows])
        known = torch.from_numpy(targets != UNKNOWN).to(self.machine.device)
        labels = int(np.count_nonzero(targets != UNKNOWN))
        with torch.set_grad_enabled(labels > 0):
            logits, after = self._forward(self._learning, rows, state)
        total = 0.0
        if labels:
            wanted = torch.from_numpy(targets).to(self.machine.device)[known].float()
            loss = loss_of(logits[known], wanted)
            total = self._learn(loss) * labels
        place = self._place
        self._place = _with(
            place,
            events=place.events + int(np.count_nonzero(rows != UNKNOWN)),
            loss=place.loss + total,
            labels=place.labels + labels,
        )
        return after

    def _learn(self, loss: Tensor) -> float:
        done = self._place.epoch + self._place.events / self._lives.events
        for group in self._optimizer.param_groups:
            group["lr"] = rate_at(self.recipe, done / self.recipe.epochs)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self._optimizer.step()
        self._average()
        return loss.item()

    def _average(self) -> None:
        """Move the average towards the weights (Polyak and Juditsky 1992, exponential), at first in larger steps."""
        steps = self._place.steps + 1
        kept = min(self.recipe.average, steps / (steps + 10))
        with torch.no_grad():
            for mean, weight in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(weight, 1.0 - kept)
        self._place = _with(self._place, steps=steps)

    def _forward(self, read: Reader, rows: Numbers, state: Tensor) -> tuple[Tensor, Tensor]:
        vectors = torch.from_numpy(self.rows.vectors[rows]).to(self.machine.device)
        kind = torch.device(self.machine.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.machine.bfloat16):
            logits, after = read(vectors, state)
        return logits.float(), after.float()

    # --- the later period

    def _judge(self, seconds: float) -> None:
        """End the epoch: score the later period, and keep the weights if they are the best so far."""
        place = self._place
        logits, fraud = self._logits(), self._fraud
        auc_roc, precision = ranking(logits, fraud)
        best = max((each.average_precision for each in place.curve), default=-1.0)
        if precision > best:
            self._best = self._weights()
        later_loss = float((np.logaddexp(0.0, logits) - fraud * logits).mean())
        epoch = Epoch(
            place.epoch + 1, place.loss / max(place.labels, 1), later_loss, auc_roc, precision, seconds
        )
        self._place = Place(place.of, epoch.number, place.steps, curve=(*place.curve, epoch))

    def _logits(self) -> NDArray[np.float64]:
        """Of the labelled events of the later period."""
        found = np.zeros(len(self.rows.labels), np.float32)
        self.averaged.eval()
        with torch.inference_mode():
            for group in self._later.groups(JUDGED_CARDS):
                state = self.averaged.begin(len(group))
                for piece in self._later.pieces(group, self.recipe.piece):
                    logits, state = self._forward(self._judging, piece.rows, state[: len(piece.rows)])
                    there = piece.rows != UNKNOWN
                    found[piece.rows[there]] = logits.cpu().numpy()[there]
        return found[self._judged].astype(np.float64)

    @property
    def _fraud(self) -> Mask:
        fraud: Mask = self.rows.labels[self._judged] == FRAUD
        return fraud

    def _trained(self) -> Trained:
        self.averaged.load_state_dict(self._best)
        logits = self._logits()
        calibration = Calibration(*platt(logits, self._fraud))
        scores = calibration.probabilities(logits)
        days = (self.rows.times[self._judged] // DAY_US).astype(np.uint16)
        judged = Judged(scores, self._fraud, days, self.rows.cards[self._judged].astype(np.uint32))
        return Trained(
            network=self.averaged.eval(),
            fitted=self.fitted,
            calibration=calibration,
            curve=self._place.curve,
            best=self._best_epoch(),
            measures=measured(judged),
            judged=judged,
            learned_from=period_of(self.rows, 0, self.split),
            judged_on=period_of(self.rows, self.split, len(self.rows.labels)),
        )

    # --- how far it is

    def _ended(self) -> bool:
        place = self._place
        tired = place.epoch > 0 and place.epoch - self._best_epoch() >= self.recipe.patience
        return tired or place.epoch >= self.recipe.epochs

    def _best_epoch(self) -> int:
        return max(self._place.curve, key=lambda each: (each.average_precision, -each.number)).number

    def _note(self) -> str:
        place = self._place
        now = f"epoch {place.epoch + 1}, loss {place.loss / max(place.labels, 1):.4f}"
        return f"{now}, AP {place.curve[-1].average_precision:.3f}" if place.curve else now

    def _save(self, path: Path) -> None:
        tensors = {f"network.{name}": each for name, each in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": each for name, each in self.averaged.state_dict().items()}
        tensors |= {f"best.{name}": each for name, each in self._best.items()}
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": moments[name] for name in MOMENTS}
        checkpoint.write(path, tensors, self._place)

    def _reader(self, network: Network) -> Reader:
        return torch.compile(network, dynamic=True) if self.machine.compiled else network

    def _weights(self) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in self.averaged.state_dict().items()}

    def _digest(self) -> str:
        settings = msgspec.json.encode([self.shape, self.recipe]).decode()
        return f"{self.rows.digest()} {settings}"

    def _begin_with_the_prior(self) -> None:
        """Let the first guess be the share of fraud, so that the first epoch need not learn how rare it is."""
        labels = self.rows.labels[: self.split]
        frauds, others = (int(np.count_nonzero(labels == said)) for said in (FRAUD, LEGITIMATE))
        last = self.network.head[-1]
        torch.nn.init.constant_(last.bias, math.log(frauds / others))  # type: ignore[arg-type]


MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter."""


def loss_of(logits: Tensor, fraud: Tensor) -> Tensor:
    """Cross entropy, every event alike: what makes frauds weigh more ranked no better, and needs its calibration mended."""
    return functional.binary_cross_entropy_with_logits(logits, fraud)


def rate_at(recipe: Recipe, done: float) -> float:
    """The learning rate when this share of all steps is done: one cycle (Smith and Topin 2018).

    >>> [round(rate_at(Recipe(rate=1.0, warmup=0.5), done), 3) for done in (0.0, 0.5, 1.0)]
    [0.04, 1.0, 0.0]
    """
    if done < recipe.warmup:
        return recipe.rate * (1.0 - 0.96 * (1.0 + math.cos(math.pi * done / recipe.warmup)) / 2)
    return recipe.rate * (1.0 + math.cos(math.pi * (done - recipe.warmup) / (1.0 - recipe.warmup))) / 2


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """While the block runs, this process computes on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _named(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    return {name.partition(".")[2]: each for name, each in tensors.items() if name.startswith(f"{head}.")}


def _with(place: Place, **changed: float) -> Place:
    return msgspec.structs.replace(place, **changed)


def _random(*place: int) -> np.random.Generator:
    return np.random.default_rng(place)


def _seed(*place: int) -> int:
    return int(np.random.SeedSequence(place).generate_state(1)[0])
