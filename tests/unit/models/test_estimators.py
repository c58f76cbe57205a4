"""River's estimators come back as they were, to the last bit, and unknown ones are refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from river import compose, forest, linear_model, optim, preprocessing

from models.bins import LayeredBins, QuantileBins
from models.estimators import ESTIMATORS, from_plain, to_plain
from models.packing import CodecError

FEATURES = ("amount", "count")

OPTIMIZERS: list[Callable[[], Any]] = [
    lambda: optim.SGD(optim.schedulers.InverseScaling(0.1)),
    lambda: optim.Momentum(0.05),
    lambda: optim.AdaGrad(0.3),
    lambda: optim.RMSProp(0.01),
    lambda: optim.Adam(0.02),
    lambda: optim.FTRLProximal(l1=0.01),
]


def events(number: int, seed: int) -> list[tuple[dict[str, float], bool]]:
    draw = random.Random(seed)
    vectors = [{"amount": draw.expovariate(0.1), "count": float(draw.randrange(5))} for _ in range(number)]
    return [(vector, vector["amount"] > 15) for vector in vectors]


def through_bytes(estimator: Any) -> Any:
    return from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(to_plain(estimator))))


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: type(make()).__name__)
@pytest.mark.parametrize(
    "first",
    [
        preprocessing.StandardScaler,
        lambda: QuantileBins(FEATURES, 6, 50),
        lambda: LayeredBins(FEATURES, 6, 50),
    ],
)
def test_learning_goes_on_after_a_load_as_if_nothing_had_happened(
    make: Callable[[], Any], first: Callable[[], Any]
) -> None:
    straight = compose.Pipeline(first(), linear_model.LogisticRegression(make(), l2=0.001))
    for vector, fraud in events(150, seed=1):
        straight.learn_one(vector, fraud)
    loaded = through_bytes(straight)
    assert to_plain(loaded) == to_plain(straight)
    for vector, fraud in events(150, seed=2):
        assert loaded.predict_proba_one(vector) == straight.predict_proba_one(vector)
        straight.learn_one(vector, fraud)
        loaded.learn_one(vector, fraud)
    assert to_plain(loaded) == to_plain(straight)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_supported_class_comes_back_when_new(name: str) -> None:
    made = ESTIMATORS[name]()
    assert type(through_bytes(made)) is type(made)
    assert to_plain(through_bytes(made)) == to_plain(made)


def test_an_unsupported_estimator_is_refused_with_those_that_are_supported() -> None:
    with pytest.raises(CodecError, match=r"ARFClassifier cannot be written; .*LogisticRegression.*Pipeline"):
        to_plain(forest.ARFClassifier())


def test_an_unknown_class_in_the_bytes_is_never_made() -> None:
    with pytest.raises(CodecError, match=r"'os\.system' is not known"):
        from_plain({"object": ["os.system", []]})


def test_a_class_whose_attributes_changed_is_refused() -> None:
    with pytest.raises(
        CodecError, match=r"another version of River: eps, g2, lr, n_iterations, speed differ"
    ):
        from_plain({"object": ["optim.AdaGrad", [["speed", 1.0]]]})


@pytest.mark.parametrize("plain", [[], {}, {"a": 1, "b": 2}, {"dict": 5}, {"array": ["?", b""]}, {"odd": []}])
def test_values_that_stand_for_nothing_are_refused(plain: Any) -> None:
    with pytest.raises(CodecError, match="not a scorer's state"):
        from_plain(plain)
