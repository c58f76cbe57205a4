"""Scoring and learning with quantile bins against the pipeline of River's own documentation, in one run.

usage: python -m tests.benchmarks.scorers
Twenty features; microseconds an event of processor time, the best of three rounds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial

from river import linear_model, preprocessing

from models.base import Scorer, Vector
from models.codec import load_scorer
from models.evaluate import Prequential
from models.incremental import RiverScorer

FEATURES = tuple(f"feature_{number}" for number in range(20))
EVENTS = 6_000
ROUNDS = 3


def stream() -> tuple[list[Vector], list[bool]]:
    """Long-tailed features; fraud where two of them are high."""
    draw = random.Random(1)
    vectors: list[Vector] = [tuple(draw.expovariate(1) for _ in FEATURES) for _ in range(EVENTS)]
    return vectors, [vector[3] + vector[7] > 7 for vector in vectors]


def fastest(once: Callable[[], object], times: int = EVENTS) -> float:
    """Microseconds of each of `times` in the quickest round."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        once()
        rounds.append(time.process_time() - started)
    return min(rounds) / times * 1e6


def main() -> None:
    """Print what each costs and the ratios."""
    vectors, labels = stream()
    plain = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    dicts = [dict(zip(FEATURES, vector, strict=True)) for vector in vectors]
    ours = RiverScorer(FEATURES)

    def learn_plain() -> None:
        for x, fraud in zip(dicts, labels, strict=True):
            plain.learn_one(x, fraud)

    def learn_ours() -> None:
        for vector, fraud in zip(vectors, labels, strict=True):
            ours.learn_one(vector, fraud)

    show("learn", fastest(learn_plain), fastest(learn_ours))
    champion = load_scorer(ours.dump(), FEATURES)
    documented = fastest(lambda: [plain.predict_proba_one(x)[True] for x in dicts])
    for batch in (1, 8, 64, 512):
        show(f"score by {batch}", documented, fastest(partial(score, champion, vectors, batch)))
    explained = fastest(lambda: [champion.explain_one(vector) for vector in vectors])
    print(f"{'explain':<12} {explained:8.1f} us")  # noqa: T201
    data = ours.dump()
    saving, loading = fastest(ours.dump, 1000), fastest(lambda: load_scorer(data, FEATURES), 1000)
    print(f"{'snapshot':<12} {len(data):,} bytes, saved in {saving:.1f} ms, loaded in {loading:.1f} ms")  # noqa: T201
    judge(champion.score_many(vectors), labels)


def score(champion: Scorer, vectors: list[Vector], batch: int) -> None:
    """Score all vectors in batches of this size."""
    for start in range(0, len(vectors), batch):
        champion.score_many(vectors[start : start + batch])


def show(what: str, documented: float, ours: float) -> None:
    """One comparison."""
    print(  # noqa: T201
        f"{what:<12} {ours:8.1f} us, as documented {documented:8.1f} us: {documented / ours:.1f} times as fast"
    )


def judge(scores: list[float], labels: list[bool]) -> None:
    """What the report costs."""
    judged = Prequential()
    cards = [str(number % 500) for number in range(EVENTS)]

    def add() -> None:
        for number, (score, fraud, card) in enumerate(zip(scores, labels, cards, strict=True)):
            judged.add(score, fraud, 17_000 + number // 1000, card)

    print(f"{'judge':<12} {fastest(add):8.1f} us")  # noqa: T201
    print(f"{'report':<12} {fastest(judged.report, len(judged)):8.1f} us")  # noqa: T201


if __name__ == "__main__":
    main()
