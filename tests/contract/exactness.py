"""Compares a store's answers with those that an oracle expects: to the bit, feature by feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from features.catalogue import FeatureSet
from features.store import Applied
from tests.contract.matrices import Matrices

STATUS, NUMBER, APPROXIMATE = "the status", "the number", "approximate"


class Compared:
    """How many values were compared, and how many differ, by feature; statuses, numbers and marks likewise."""

    def __init__(self, features: FeatureSet, expected: Matrices) -> None:
        self._names = features.names
        self._expected = expected
        self._at = 0
        self.compared: Counter[str] = Counter()
        self.known: Counter[str] = Counter()  # of those compared: what is a number, or is so
        self.mismatches: Counter[str] = Counter()

    @property
    def whole(self) -> bool:
        """Whether every item of the schedule was compared, and some values of every feature."""
        return self._at == len(self._expected.statuses) and all(self.known[name] for name in self._names)

    def take(self, answers: Sequence[Applied]) -> None:
        """The next answers, in the order of the schedule."""
        told = [(at, each) for at, each in enumerate(answers, start=self._at) if each.vector]
        for at, each in enumerate(answers, start=self._at):
            self._note(STATUS, each.status, self._expected.statuses[at])
            self._note(NUMBER, each.seq, self._expected.numbers[at])
        self._at += len(answers)
        for at, each in told:
            self._note(APPROXIMATE, each.approximate, bool(self._expected.approximate[at]))
        if told:
            vectors = np.array([each.vector for _, each in told])
            self._take_vectors(vectors, self._expected.vectors[[at for at, _ in told]])

    def _note(self, what: str, got: object, wanted: object) -> None:
        self.compared[what] += 1
        self.known[what] += wanted is not False
        self.mismatches.update([what] if got != wanted else [])

    def _take_vectors(self, got: np.ndarray, wanted: np.ndarray) -> None:
        """To the bit; any NaN is any other."""
        numbers = ~np.isnan(wanted)
        same = (got.view(np.int64) == wanted.view(np.int64)) | (np.isnan(got) & ~numbers)
        for name, differing, known in zip(
            self._names, (~same).sum(axis=0).tolist(), numbers.sum(axis=0).tolist(), strict=True
        ):
            self.compared[name] += len(got)
            self.known[name] += known
            self.mismatches.update({name: differing} if differing else {})
