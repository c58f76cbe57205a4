"""From a feature vector to what a network reads: numbers in quantile bins, categories as rows of a table.

A number becomes as many inputs as it has bins, each of them the part of its bin that lies below the number: piecewise linear
encoding (Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022). So
a network sees what a linear model in quantile bins sees, whatever a feature's scale and tails, and what is not known is an input
of its own. Shapes: N events, F features, K bins, W the width of what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Matrix = NDArray[np.float32]


class Fitted(msgspec.Struct, frozen=True):
    """What was learned of the features' values; it stands in the manifest of a network."""

    numbers: tuple[str, ...]
    edges: tuple[
        tuple[float, ...], ...
    ]  # of each number: the borders of its bins, rising; none where it never varies
    categories: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()  # of each category: its values are whole, 0 <= value < size


def fit(
    names: Sequence[str], values: Matrix, categories: dict[str, int] | None = None, bins: int = 24
) -> Fitted:
    """Lay bins by the quantiles of `values` [N, F], whose columns have these names.

    `categories` tells the sizes of those that are none of an order.

    >>> fit(("amount",), np.array([[1.0], [2.0], [3.0], [np.nan]], np.float32), bins=2).edges
    ((1.0, 2.0, 3.0),)
    """
    sizes = categories or {}
    numbers = tuple(name for name in names if name not in sizes)
    columns = [values[:, place] for place, name in enumerate(names) if name not in sizes]
    kept = tuple(name for name in names if name in sizes)
    return Fitted(
        numbers, tuple(_edges(column, bins) for column in columns), kept, tuple(sizes[name] for name in kept)
    )


def _edges(column: Matrix, bins: int) -> tuple[float, ...]:
    known = column[np.isfinite(column)]
    if not len(known):
        return ()
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, bins + 1), method="nearest"))
    return tuple(map(float, edges)) if len(edges) > 1 else ()


class Encoding(nn.Module):
    """Feature vectors [..., F], NaN where not known, to what a network reads of them [..., W]."""

    lows: Tensor
    spans: Tensor
    columns: Tensor
    places: Tensor

    def __init__(self, fitted: Fitted, names: Sequence[str], width: int) -> None:
        """For vectors whose features have these `names`, among them all that were fitted; raises ValueError otherwise."""
        super().__init__()
        missing = [name for name in (*fitted.numbers, *fitted.categories) if name not in names]
        if missing:
            raise ValueError(f"the vectors lack {', '.join(missing)}, which the encoding was fitted on")
        bins = max([1, *(len(edges) - 1 for edges in fitted.edges)])
        lows, spans = np.zeros((len(fitted.numbers), bins)), np.full((len(fitted.numbers), bins), np.inf)
        for row, edges in enumerate(fitted.edges):
            if edges:
                lows[row, : len(edges) - 1] = edges[:-1]
                spans[row, : len(edges) - 1] = np.diff(edges)
        self.register_buffer("lows", torch.tensor(lows, dtype=torch.float32), persistent=False)
        self.register_buffer("spans", torch.tensor(spans, dtype=torch.float32), persistent=False)
        places = [names.index(name) for name in fitted.numbers]
        self.register_buffer("columns", torch.tensor(places, dtype=torch.long), persistent=False)
        places = [names.index(name) for name in fitted.categories]
        self.register_buffer("places", torch.tensor(places, dtype=torch.long), persistent=False)
        self.sizes = fitted.sizes
        self.mix = nn.Linear(len(fitted.numbers) * (bins + 1), width)
        self.tables = nn.ModuleList([nn.Embedding(size, width) for size in fitted.sizes])

    def forward(self, vectors: Tensor) -> Tensor:
        """[..., F] to [..., W]."""
        mixed: Tensor = self.mix(self.parts(vectors))
        for table, place, size in zip(self.tables, self.places, self.sizes, strict=True):
            known = torch.nan_to_num(vectors[..., place], 0.0, 0.0, 0.0)
            mixed = mixed + table(known.clamp(0, size - 1).long())
        return mixed

    def parts(self, vectors: Tensor) -> Tensor:
        """The bins' parts and what is not known, [..., numbers * (K + 1)]: each in 0..1."""
        numbers = vectors.index_select(-1, self.columns)
        unknown = numbers.isnan()
        # Beyond the largest float32 a span may be infinite, and infinity by infinity is no number.
        finite = torch.nan_to_num(numbers, 0.0, 3e38, -3e38)
        parts = ((finite.unsqueeze(-1) - self.lows) / self.spans).clamp(0.0, 1.0)
        parts = parts.masked_fill(unknown.unsqueeze(-1), 0.0)
        return torch.cat([parts.flatten(-2), unknown.to(parts.dtype)], -1)
