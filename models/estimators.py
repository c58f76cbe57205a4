"""River's estimators as plain values and back, without pickle: classes are named, only known ones made."""

from __future__ import annotations

import sys
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from river import compose, linear_model, optim, preprocessing
from river.utils import VectorDict

from models.bins import LayeredBins, QuantileBins
from models.packing import CodecError

Plain = Any
"""What msgpack can hold: None, bool, int, float, str, bytes, and lists and dicts of these."""


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "weir.QuantileBins": lambda: QuantileBins(()),
    "weir.LayeredBins": lambda: LayeredBins(()),
    "linear_model.LogisticRegression": linear_model.LogisticRegression,
    "preprocessing.StandardScaler": preprocessing.StandardScaler,
    "optim.SGD": optim.SGD,
    "optim.Momentum": optim.Momentum,
    "optim.AdaGrad": optim.AdaGrad,
    "optim.RMSProp": optim.RMSProp,
    "optim.Adam": optim.Adam,
    "optim.FTRLProximal": optim.FTRLProximal,
    "optim.losses.Log": optim.losses.Log,
    "optim.schedulers.Constant": lambda: optim.schedulers.Constant(0.0),
    "optim.schedulers.InverseScaling": lambda: optim.schedulers.InverseScaling(0.0),
    "optim.initializers.Zeros": optim.initializers.Zeros,
}
"""A new one of each class that can be written, by the name that stands for it in the bytes."""

NAMES = {type(new()): name for name, new in ESTIMATORS.items()}
PIPELINE = "compose.Pipeline"

MAPPINGS: dict[str, Callable[[Iterable[tuple[Any, Any]]], Any]] = {
    "dict": dict,
    "counter": lambda pairs: Counter(dict(pairs)),
    "floats": lambda pairs: defaultdict(float, pairs),
    "vector": lambda pairs: VectorDict(dict(pairs)),
}


def supported() -> str:
    """The names of what can be written, for people."""
    return ", ".join([*ESTIMATORS, PIPELINE])


def to_plain(value: Any) -> Plain:
    """An estimator, or any part of one, as plain values; raises CodecError for a class that is not supported.

    >>> to_plain(optim.SGD(0.5))["object"][0]
    'optim.SGD'
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, array):
        return {"array": [value.typecode, _little(value).tobytes()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [to_plain(each) for each in value]}
    if isinstance(value, compose.Pipeline):
        return {"object": [PIPELINE, [[str(name), to_plain(step)] for name, step in value.steps.items()]]}
    return _mapping_to_plain(value) or _object_to_plain(value)


def _mapping_to_plain(value: Any) -> Plain:
    kinds = {dict: "dict", Counter: "counter", VectorDict: "vector"}
    kind = kinds.get(type(value))
    if isinstance(value, defaultdict) and value.default_factory is float:
        kind = "floats"
    return {kind: [[to_plain(key), to_plain(each)] for key, each in value.items()]} if kind else None


def _object_to_plain(value: Any) -> Plain:
    name = NAMES.get(type(value))
    if name is None:
        raise CodecError(f"{type(value).__qualname__} cannot be written; these can: {supported()}")
    return {"object": [name, [[key, to_plain(each)] for key, each in vars(value).items()]]}


def from_plain(plain: Plain) -> Any:
    """What `to_plain` made these values from; raises CodecError for anything else."""
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    try:
        ((tag, content),) = plain.items()
        if tag == "object":
            return _object_from_plain(*content)
        if tag == "array":
            return _array_from_plain(*content)
        if tag in {"list", "tuple"}:
            return (
                [from_plain(each) for each in content] if tag == "list" else tuple(map(from_plain, content))
            )
        return MAPPINGS[tag]((from_plain(key), from_plain(each)) for key, each in content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CodecError(f"this is not a scorer's state: {error!r}") from error


def _object_from_plain(name: str, state: list[tuple[str, Plain]]) -> Any:
    if name == PIPELINE:
        return compose.Pipeline(*[(step, from_plain(each)) for step, each in state])
    if name not in ESTIMATORS:
        raise CodecError(f"{name!r} is not known here; these are: {supported()}")
    made = ESTIMATORS[name]()
    attributes = {key: from_plain(each) for key, each in state}
    if attributes.keys() != vars(made).keys():
        differing = ", ".join(sorted(attributes.keys() ^ vars(made).keys()))
        raise CodecError(f"{name} was written by another version of River: {differing} differ")
    vars(made).update(attributes)
    return made


def _array_from_plain(typecode: str, content: bytes) -> array[Any]:
    made: array[Any] = array(typecode)
    made.frombytes(content)
    return _little(made)


def _little(values: array[Any]) -> array[Any]:
    """The same with little-endian items, as they are written; its own inverse."""
    if sys.byteorder == "little":
        return values
    swapped = values[:]
    swapped.byteswap()
    return swapped
