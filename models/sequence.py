"""The networks: they read a card's events in order, and score the newest.

All keep one contract (`Network`): events of B cards, T of each, come with the state in which the cards' earlier events
left them, and go out as logits with the state after them. T events at once give what T single steps give, so the code that
trains over whole lives is the code that scores one event. Shapes: B cards, T events, F features, W the network's width,
S the floats of state that a card carries.

| architecture | carries | from |
|---|---|---|
| gru, lstm | what it made of all events so far | Cho et al. 2014; Hochreiter and Schmidhuber 1997 |
| transformer | keys and values of the last events, or these events themselves | Vaswani et al. 2017; Shaw et al. 2018 |
| tcn | the last events that each layer looks back to | Bai, Kolter and Koltun 2018 |
| feedforward | nothing: it sees the newest event alone | |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoding import Encoding, Fitted


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a network looks like; it stands in its manifest."""

    architecture: str = "gru"
    width: int = 64  # of every layer
    layers: int = 1
    length: int = 32  # transformer: how many events back a layer looks, this one included
    heads: int = 4  # transformer
    kernel: int = 3  # tcn: events that a layer mixes, each twice as far apart as in the layer before
    cached: bool = True  # transformer: carries keys and values; else the events, and reads them anew
    dropout: float = 0.1


class Body(nn.Module):
    """What an architecture makes of encoded events: [B, T, W] and [B, S] to [B, T, W] and [B, S]."""

    state: int
    """S: floats that a card carries."""

    def forward(self, events: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """T events a card, after those that left it in `state`."""
        raise NotImplementedError


class Network(nn.Module):
    """Feature vectors in order to logits of fraud, and the state that the next event needs.

    What the encoding makes of the newest event goes to the head past the body, too: a network knows at least what
    a feedforward one does.
    """

    def __init__(self, shape: Shape, fitted: Fitted, names: Sequence[str]) -> None:
        """For vectors whose features have these `names`; raises ValueError for an architecture that is not known here."""
        super().__init__()
        if shape.architecture not in BODIES:
            raise ValueError(
                f"{shape.architecture!r} is no architecture known here; these are: {', '.join(BODIES)}"
            )
        self.shape = shape
        self.encoding = Encoding(fitted, names, shape.width)
        self.body = BODIES[shape.architecture](shape)
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Sequential(
            nn.Linear(2 * shape.width, shape.width), nn.GELU(), nn.Linear(shape.width, 1)
        )

    @property
    def state(self) -> int:
        """S: floats that a card carries."""
        return self.body.state

    def begin(self, cards: int) -> Tensor:
        """The state of cards without a past, [cards, S]."""
        return next(self.parameters()).new_zeros(cards, self.state)

    def forward(self, vectors: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [B, T, F] after `state` [B, S]: logits [B, T] and the state behind them."""
        read = functional.gelu(self.encoding(vectors))
        told, after = self.body(self.dropout(read), state)
        logits = self.head(self.dropout(torch.cat([told, read], -1))).squeeze(-1)
        return logits, after


class Feedforward(Body):
    """A layer on the newest event alone."""

    state = 0

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.layers = nn.Sequential(
            *[nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(shape.layers)]
        )

    def forward(self, events: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is carried."""
        return self.layers(events), state


class Recurrent(Body):
    """GRU or LSTM: one step an event, whatever the card's age."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kind = nn.LSTM if shape.architecture == "lstm" else nn.GRU
        self.cells = kind(shape.width, shape.width, shape.layers, batch_first=True)
        self.parts = 2 if shape.architecture == "lstm" else 1  # what a layer carries, in widths
        self.shape = shape
        self.state = self.parts * shape.layers * shape.width

    def forward(self, events: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The state is that of each layer, one behind the other."""
        cards, layers, width = events.shape[0], self.shape.layers, self.shape.width
        parts = state.view(cards, self.parts, layers, width).permute(1, 2, 0, 3).contiguous()
        carried = (parts[0], parts[1]) if self.parts == 2 else parts[0]
        told, after = self.cells(events, carried)
        both = torch.stack(after) if self.parts == 2 else after.unsqueeze(0)
        return told, both.permute(2, 0, 1, 3).reshape(cards, self.state)


class Convolution(Body):
    """A temporal convolutional network: each layer mixes `kernel` events, a layer twice as far apart as the one before.

    It carries what each layer looks back to, so a step computes nothing of the past anew.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dilations = [2**layer for layer in range(shape.layers)]
        self.backs = [(shape.kernel - 1) * dilation for dilation in self.dilations]
        self.convolutions = nn.ModuleList(
            [nn.Conv1d(shape.width, shape.width, shape.kernel, dilation=each) for each in self.dilations]
        )
        self.width = shape.width
        self.state = sum(self.backs) * shape.width

    def forward(self, events: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The state is each layer's, events in order."""
        told, after = events, []
        for convolution, back, before in zip(
            self.convolutions,
            self.backs,
            torch.split(state, [back * self.width for back in self.backs], 1),
            strict=True,
        ):
            seen = torch.cat([before.view(-1, back, self.width), told], 1)
            after.append(seen[:, -back:].flatten(1))
            told = told + functional.gelu(convolution(seen.transpose(1, 2)).transpose(1, 2))
        return told, torch.cat(after, 1)


class Transformer(Body):
    """Causal attention over the last `length` events in each layer, nearer and further ones told apart by learned biases.

    An event is placed by how many events ago it was, not by its number: what was computed of it stays valid as the card
    goes on. With `cached` a card carries each layer's keys and values; without, the events as encoded, so far back as all
    layers together look, and every step computes them anew. Both give the same.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.back = shape.length - 1
        self.cached, self.width = shape.cached, shape.width
        self.held = self.back if shape.cached else self.back * shape.layers
        self.each = (1 + shape.cached) * shape.width  # floats of an event that one layer carries
        carrying = shape.layers if shape.cached else 1
        self.state = self.held * self.each * carrying + 1  # how many are held comes last

    def forward(self, events: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The state is what is held, oldest first, and how much of it there is."""
        held, count = state[:, :-1], state[:, -1:]
        told, after = (
            self._with_cache(events, held, count) if self.cached else self._anew(events, held, count)
        )
        return told, torch.cat([after, (count + events.shape[1]).clamp(max=self.held)], 1)

    def _with_cache(self, events: Tensor, held: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        caches = held.view(events.shape[0], len(self.blocks), self.held, self.each)
        told, after = events, []
        for layer, block in enumerate(self._layers()):
            known = torch.cat([caches[:, layer], block.known(told)], 1)
            told = block(told, known, self._mask(events.shape[1], self.held, count))
            after.append(known[:, known.shape[1] - self.held :].flatten(1))
        return told, torch.cat(after, 1)

    def _anew(self, events: Tensor, held: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([held.view(events.shape[0], self.held, self.each), events], 1)
        total = seen.shape[1]
        told = seen
        mask = self._mask(total, 0, count - self.held)
        for block in self._layers():
            told = block(told, block.known(told), mask)
        return told[:, self.held :], seen[:, total - self.held :].flatten(1)

    def _layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _mask(self, asking: int, before: int, count: Tensor) -> Tensor:
        """Which events see which, and how far back those lie: [B, asking, before + asking], -1 where unseen.

        `before` are held in front of those that ask, of which the newest `count` are there; a negative `count` tells
        how many of those that ask are none. An event sees itself in any case, lest a softmax have nothing to share.
        """
        places = torch.arange(before + asking, device=count.device)
        away = places[before:].unsqueeze(1) - places
        there = places >= (before - count).unsqueeze(1)
        seen = (away >= 0) & (away <= self.back) & (there | (away == 0))
        return away.masked_fill(~seen, -1)


class Block(nn.Module):
    """Attention and a feedforward layer, each with what came in added, normalised before (Xiong et al. 2020)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.both, self.out = (nn.Linear(width, out) for out in (width, 2 * width, width))
        self.biases = nn.Parameter(torch.zeros(shape.length, shape.heads))
        self.wide = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = shape.dropout

    def known(self, events: Tensor) -> Tensor:
        """What others see of events: keys and values, [B, T, 2 W]."""
        known: Tensor = self.both(self.before(events))
        return known

    def forward(self, events: Tensor, known: Tensor, away: Tensor) -> Tensor:
        """Events [B, T, W] look at what is known of U events [B, U, 2 W], `away` [B, T, U] before them."""
        asked = self._heads(self.query(self.before(events)))
        keys, values = (self._heads(part) for part in known.chunk(2, -1))
        biases = self.biases[away.clamp(min=0)].masked_fill((away < 0).unsqueeze(-1), -math.inf)
        seen = functional.scaled_dot_product_attention(
            asked,
            keys,
            values,
            biases.permute(0, 3, 1, 2),
            dropout_p=self.dropout if self.training else 0.0,
        )
        events = events + self.out(seen.transpose(1, 2).flatten(2))
        wide: Tensor = events + self.wide(self.between(events))
        return wide

    def _heads(self, rows: Tensor) -> Tensor:
        """[B, T, W] to [B, heads, T, W / heads]."""
        return rows.view(*rows.shape[:2], self.heads, -1).transpose(1, 2)


BODIES: dict[str, Callable[[Shape], Body]] = {
    "gru": Recurrent,
    "lstm": Recurrent,
    "transformer": Transformer,
    "tcn": Convolution,
    "feedforward": Feedforward,
}
