"""A scorer behind a wider vector: it reads the features that it knows by their names, and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

from models.base import Reason, Scorer, Vector


class Narrowed:
    """Takes the columns of a scorer's features out of vectors that hold more, or hold them in another order.

    >>> from models.baselines import RandomScorer
    >>> scorer = RandomScorer(("night", "amount"))
    >>> Narrowed(scorer, ("amount", "age", "night")).score_one([5.0, 7.0, 1.0]) == scorer.score_one([1.0, 5.0])
    True
    """

    def __init__(self, scorer: Scorer, names: Sequence[str]) -> None:
        """Read vectors that hold these features; raises ValueError where one that the scorer reads is not among them."""
        self.name, self.features = scorer.name, scorer.features
        self._scorer = scorer
        self._narrow = _columns([list(names).index(name) for name in scorer.features])

    def score_one(self, vector: Vector) -> float:
        """The probability of fraud of one event."""
        return self._scorer.score_one(self._narrow(vector))

    def score_many(self, vectors: Sequence[Vector]) -> list[float]:
        """The same for a batch."""
        return self._scorer.score_many(list(map(self._narrow, vectors)))

    def learn_one(self, vector: Vector, fraud: bool) -> None:
        """Learn from what the scorer reads of the vector."""
        self._scorer.learn_one(self._narrow(vector), fraud)

    def explain_one(self, vector: Vector, top: int = 3) -> list[Reason]:
        """The features that moved this score most, strongest first."""
        return self._scorer.explain_one(self._narrow(vector), top)

    def dump(self) -> bytes:
        """The scorer that is inside, as bytes: it knows nothing of wider vectors."""
        return self._scorer.dump()


def _columns(places: Sequence[int]) -> Callable[[Vector], Vector]:
    """Takes these places out of a vector; `itemgetter` of one place would give no tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda vector: tuple([vector[place] for place in places])
