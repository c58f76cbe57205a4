"""The grammar of a profile's ``declare`` lines: one line each, several windows make several features.

amount | weekend | night | hour | number FIELD | category FIELD into N
count | gap | labels | frauds | risk                         by ENTITY over WINDOW...
run of frauds | run of legitimate | run age                  by ENTITY over WINDOW...
since fraud | since legitimate                               by ENTITY over WINDOW...
sum | mean | std | min | max | ratio | zscore  [of] amount   by ENTITY over WINDOW...
distinct | entropy | share | new FIELD                       by ENTITY over WINDOW...
velocity                                                     by ENTITY over WINDOW... against WINDOW
since last | since first | since first fraud                 by ENTITY
speed | distance                                             by ENTITY from LATITUDE LONGITUDE
rank | typical  [of] amount                                  by ENTITY over last N
gap spread | history                                         by ENTITY over last N
cusum | peak [of] amount, decayed count | decayed sum        by ENTITY over last N halving DURATION

FIELD is an entity, a field of [source] texts, or `hour` or `weekday` of the event. A risk may end with `prior 1/50`: as if of
50 more labels one had been a fraud. Behind ENTITY may stand which of its events are meant: `where FIELD is VALUE`, and
`same FIELD`, those that have this event's value. Amounts of several currencies are never added: they are always of the
same currency.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from features.catalogue import CALENDAR, CURRENCY, DECAYING, SECOND_US, Feature, Kind
from features.catalogue import OF_AMOUNTS as MONEY
from features.parts import Part
from features.vocabulary import (
    ALONE,
    CATEGORY_WORDS,
    OF_AMOUNTS,
    OF_EVENTS,
    OF_VALUES,
    PAST,
    PLACED,
    RECENT,
    RECENT_VERBS,
    RUNS,
    SINCE,
    SINCE_LABELS,
    VELOCITY_WORDS,
    VERBS,
)

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
UNIT_WORDS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "y": "year"}
LONGEST_YEARS = 100
MOST_CATEGORIES = 1 << 20
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class DeclarationError(ValueError):
    """A declaration that means nothing: what is wrong and the mend. `line` is the declaration as written."""

    def __init__(self, line: str, problem: str) -> None:
        """`problem` reads as a sentence after the line."""
        super().__init__(f"{line!r}: {problem}")
        self.line = line


class Scope(msgspec.Struct, frozen=True):
    """The names that declarations may use."""

    entities: tuple[str, ...]
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    timezone: str = "UTC"
    currencies: bool = False  # events are of several


def parse_all(lines: Sequence[str], scope: Scope) -> tuple[Feature, ...]:
    """The features that all lines declare, in order; raises DeclarationError, also for a name used twice."""
    features: dict[str, Feature] = {}
    for line in lines:
        for feature in parse(line, scope):
            if feature.name in features:
                raise DeclarationError(
                    line, f"the feature {feature.name} is declared twice: take one of them out"
                )
            features[feature.name] = feature
    return tuple(features.values())


def parse(line: str, scope: Scope) -> list[Feature]:
    """The features that one line declares; raises DeclarationError.

    >>> [feature.name for feature in parse("risk by terminal over 1d 7d", Scope(("terminal",)))]
    ['terminal_risk_1d', 'terminal_risk_7d']
    """
    return _Line(line, scope).features()


class _Line:
    """One declaration on its way to features."""

    def __init__(self, line: str, scope: Scope) -> None:
        self._line = line
        self._scope = scope
        self._words = line.split()

    def features(self) -> list[Feature]:
        verb, rest = (self._words or [""])[0], self._words[1:]
        if verb in ALONE:
            return self._alone(verb, rest)
        if verb == "number":
            return self._number(rest)
        if verb == "category":
            return self._category(rest)
        if verb == "history":
            return self._history(rest)
        if verb in OF_AMOUNTS:
            return self._windowed(*OF_AMOUNTS[verb], f"{verb}_amount", self._amount(verb, rest))
        if verb in RECENT_VERBS or (verb == "gap" and rest[:1] == ["spread"]):
            return self._recent(verb, rest)
        if verb == "risk":
            return self._risk(rest)
        if verb in OF_EVENTS:
            return self._windowed(*OF_EVENTS[verb], verb, rest)
        if verb in OF_VALUES:
            return self._of_values(verb, rest)
        if verb == "velocity":
            return self._velocity(rest)
        if verb in PLACED:
            return self._placed(verb, rest)
        if verb == "run":
            return self._run(rest)
        if verb == "since":
            return self._since(rest)
        raise self._error(f"{verb!r} is not a feature{meant(verb, VERBS)}; known are {', '.join(VERBS)}")

    def _alone(self, verb: str, rest: list[str]) -> list[Feature]:
        if rest:
            raise self._error(f"{verb!r} stands alone; take out {' '.join(rest)!r}")
        kind, words = ALONE[verb]
        return [Feature(verb, kind, words=words.format(zone=self._scope.timezone))]

    def _number(self, rest: list[str]) -> list[Feature]:
        if len(rest) != 1:
            raise self._error('write "number FIELD", with a field of [source] numbers')
        field = self._one_of(rest[0], self._scope.numbers, "a field of [source] numbers")
        return [Feature(field, Kind.NUMBER, field=field, words=f"the field {field} of this event")]

    def _category(self, rest: list[str]) -> list[Feature]:
        if len(rest) != 3 or rest[1] != "into" or not re.fullmatch("[1-9][0-9]{0,6}", rest[2]):
            raise self._error('write "category FIELD into N", such as "category country into 64"')
        field, size = self._field(rest[0]), int(rest[2])
        if not 2 <= size <= MOST_CATEGORIES:
            raise self._error(f"{size} is not between 2 and {MOST_CATEGORIES}")
        words = CATEGORY_WORDS.format(field=rest[0], size=size, most=size - 1)
        return [Feature(f"category_{rest[0]}", Kind.CATEGORY, field=field, size=size, words=words)]

    def _history(self, rest: list[str]) -> list[Feature]:
        part, rest = self._about(rest)
        if rest[:2] != ["over", "last"] or len(rest) != 3 or not re.fullmatch("[1-9][0-9]{0,5}", rest[2]):
            raise self._error('it ends with "over last N", such as "history by merchant over last 8"')
        return [
            msgspec.structs.replace(
                self._feature(part, kind, words.replace("{nth}", ordinal(nth)), f"{stem}_{nth}"), last=nth
            )
            for nth in range(1, int(rest[2]) + 1)
            for kind, stem, words in PAST
        ]

    def _amount(self, verb: str, rest: list[str]) -> list[str]:
        without_of = rest[1:] if rest[:1] == ["of"] else rest
        if without_of[:1] != ["amount"]:
            raise self._error(f'write "{verb} amount by ENTITY over WINDOW": it is measured of amounts')
        return without_of[1:]

    def _of_values(self, verb: str, rest: list[str]) -> list[Feature]:
        if not rest or rest[0] == "by":
            raise self._error(f'write "{verb} FIELD by ENTITY over WINDOW"')
        (kind, words), name = OF_VALUES[verb], rest[0]
        return self._windowed(
            kind, words.replace("{field}", _literal(name)), f"{verb}_{name}", rest[1:], self._field(name)
        )

    def _risk(self, rest: list[str]) -> list[Feature]:
        kind, words = OF_EVENTS["risk"]
        if rest[-2:-1] != ["prior"]:
            return self._windowed(kind, words, "risk", rest)
        prior = self._prior(rest[-1])
        words += f", as if {prior[0]} of {prior[1]} more had been frauds"
        features = self._windowed(kind, words, "risk", rest[:-2])
        return [msgspec.structs.replace(each, prior=prior) for each in features]

    def _prior(self, text: str) -> tuple[int, int]:
        found = re.fullmatch(r"([0-9]{1,6})/([1-9][0-9]{0,5})", text)
        if found is None or int(found[1]) > int(found[2]):
            raise self._error(f'{text!r} is not a prior: write frauds/labels, such as "prior 1/50"')
        return int(found[1]), int(found[2])

    def _velocity(self, rest: list[str]) -> list[Feature]:
        if rest[-2:-1] != ["against"]:
            raise self._error('it ends with "against WINDOW", such as "velocity by card over 1h against 30d"')
        against_us, longer = self._duration(rest[-1]), rest[-1]
        words = VELOCITY_WORDS.replace("{longer}", duration_words(longer))
        features = self._windowed(Kind.VELOCITY, words, "velocity", rest[:-2])
        for feature in features:
            if feature.window_us >= against_us:
                raise self._error(f"the window behind against, {longer}, must be longer than those before it")
        return [
            msgspec.structs.replace(each, name=f"{each.name}_{longer}", against_us=against_us)
            for each in features
        ]

    def _recent(self, verb: str, rest: list[str]) -> list[Feature]:
        rest = rest[1:] if rest[:1] == ["of"] else rest
        found = RECENT.get(f"{verb} {rest[0] if rest else ''}")
        if found is None:
            raise self._error(f'write one of {", ".join(RECENT)}, and "by ENTITY over last N"')
        (kind, stem, words), (part, rest) = found, self._about(rest[1:])
        if rest[:2] != ["over", "last"] or len(rest) < 3 or not re.fullmatch("[1-9][0-9]{0,5}", rest[2]):
            raise self._error('it goes on with "over last N", such as "by card over last 20"')
        last, half_life_us, half = int(rest[2]), 0, ""
        if kind in DECAYING:
            if rest[3:4] != ["halving"] or len(rest) != 5:
                raise self._error('it ends with "halving DURATION", such as "over last 20 halving 7d"')
            half_life_us, half = self._duration(rest[4]), duration_words(rest[4])
        elif rest[3:]:
            raise self._error(f"take out {' '.join(rest[3:])!r}")
        words = words.replace("{last}", f"{last}").replace("{half}", half)
        feature = self._feature(part, kind, words, "_".join([stem, f"{last}", *rest[4:]]))
        return [msgspec.structs.replace(feature, last=last, half_life_us=half_life_us)]

    def _placed(self, verb: str, rest: list[str]) -> list[Feature]:
        about, rest = self._about(rest)
        if rest[:1] != ["from"] or len(rest) != 3:
            raise self._error(
                'it ends with "from LATITUDE LONGITUDE", two fields of [source] numbers in degrees'
            )
        north, east = (
            self._one_of(each, self._scope.numbers, "a field of [source] numbers") for each in rest[1:]
        )
        return [msgspec.structs.replace(self._feature(about, *PLACED[verb], verb), place=(north, east))]

    def _run(self, rest: list[str]) -> list[Feature]:
        for what, (kind, stem, words) in RUNS.items():
            if " ".join(rest).startswith(f"{what} "):
                return self._windowed(kind, words, stem, rest[len(what.split()) :])
        raise self._error(
            'write "run of frauds", "run of legitimate" or "run age", and "by ENTITY over WINDOW"'
        )

    def _since(self, rest: list[str]) -> list[Feature]:
        if rest[:1] and rest[0] in SINCE_LABELS:
            return self._windowed(*SINCE_LABELS[rest[0]], f"since_{rest[0]}", rest[1:])
        what = " ".join(rest[: 2 if rest[1:2] == ["fraud"] else 1])
        if what and what not in SINCE:
            raise self._error(
                'write "since last by ENTITY", "since first by ENTITY" or "since first fraud by ENTITY"'
            )
        about, more = self._about(rest[len(what.split()) :])
        if more:
            raise self._error(
                f'write "since {what} by ENTITY": it has no window; take out {" ".join(more)!r}'
            )
        return [self._feature(about, *SINCE[what], f"since_{what.replace(' ', '_')}")]

    def _windowed(self, kind: Kind, words: str, stem: str, rest: list[str], field: str = "") -> list[Feature]:
        if rest[:1] != ["by"] or "over" not in rest[:-1]:
            raise self._error('it goes on with "by ENTITY over WINDOW", such as "by customer over 1d 7d"')
        part, rest = self._about(rest)
        if rest[0] != "over":
            raise self._error(f'{rest[0]!r} is not understood here; write "by ENTITY over WINDOW"')
        return [
            self._feature(part, kind, words, f"{stem}_{window}", field=field, window=window)
            for window in rest[1:]
        ]

    def _about(self, rest: list[str]) -> tuple[Part, list[str]]:
        """Which events of which entity are meant, and the words behind that."""
        if rest[:1] != ["by"] or len(rest) < 2:
            raise self._error('it goes on with "by ENTITY", such as "by customer"')
        entity, rest = self._entity(rest[1]), rest[2:]
        where: tuple[str, str] = ("", "")
        same: tuple[str, ...] = ()
        if rest[:1] == ["where"]:
            if len(rest) < 4 or rest[2] != "is":
                raise self._error('write "where FIELD is VALUE", such as "where channel is online"')
            where, rest = (self._field(rest[1]), rest[3]), rest[4:]
        if rest[:1] == ["same"]:
            if len(rest) < 2:
                raise self._error('write "same FIELD", such as "same country"')
            same, rest = (self._field(rest[1]),), rest[2:]
        return Part(entity, where, same), rest

    def _feature(
        self, part: Part, kind: Kind, words: str, stem: str, *, field: str = "", window: str = ""
    ) -> Feature:
        which, told = _names(part), _words(part)
        if self._scope.currencies and kind in MONEY:
            part = msgspec.structs.replace(part, same=(*part.same, CURRENCY))
            told += ", of this currency"
        return Feature(
            name="_".join(filter(None, (part.entity, which, stem))),
            kind=kind,
            entity=part.entity,
            window_us=self._duration(window) if window else 0,
            field=field,
            words=words.format(entity=part.entity, window=duration_words(window) if window else "") + told,
            where=part.where,
            same=part.same,
        )

    def _field(self, name: str) -> str:
        """A field as features name it."""
        known = (*self._scope.entities, *self._scope.texts)
        if name not in known and name in CALENDAR:
            return CALENDAR[name]
        return self._one_of(name, known, "an entity, a field of [source] texts, hour or weekday")

    def _entity(self, name: str) -> str:
        return self._one_of(name, self._scope.entities, "an entity")

    def _one_of(self, name: str, known: Sequence[str], what: str) -> str:
        if name not in known:
            listed = f"known are {', '.join(known)}" if known else "there are none"
            raise self._error(f"{name!r} is not {what}{meant(name, known)}; {listed}")
        return name

    def _duration(self, text: str) -> int:
        try:
            return duration_us(text)
        except ValueError as error:
            raise self._error(str(error)) from error

    def _error(self, problem: str) -> DeclarationError:
        return DeclarationError(self._line, problem)


def _literal(text: str) -> str:
    """A text that `format` leaves as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _names(part: Part) -> str:
    """How a part is told in a feature's name."""
    field, value = part.where
    named = [field.lstrip("@"), NOT_IN_NAMES.sub("_", value)] if field else []
    return "_".join([*named, *(["same", *(each.lstrip("@") for each in part.same)] if part.same else [])])


def _words(part: Part) -> str:
    """How it is told to people."""
    field, value = part.where
    where = f", where {field.lstrip('@')} is {value}" if field else ""
    return where + "".join(f", of the same {each.lstrip('@')}" for each in part.same)


def ordinal(number: int) -> str:
    """A place in a row, for people.

    >>> ordinal(1), ordinal(12), ordinal(23)
    ('1st', '12th', '23rd')
    """
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"


def duration_us(text: str) -> int:
    """A duration such as "7d" in microseconds; a year is 365 days. Raises ValueError with the mend.

    >>> duration_us("30m")
    1800000000
    """
    number, unit = _split_duration(text)
    us = number * UNITS[unit] * SECOND_US
    if us > LONGEST_YEARS * UNITS["y"] * SECOND_US:
        raise ValueError(f"{text!r} is longer than {LONGEST_YEARS} years")
    return us


def duration_words(text: str) -> str:
    """A duration for people.

    >>> duration_words("7d"), duration_words("1h")
    ('7 days', 'hour')
    """
    number, unit = _split_duration(text)
    return UNIT_WORDS[unit] if number == 1 else f"{number} {UNIT_WORDS[unit]}s"


def _split_duration(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"([1-9][0-9]{0,11})([smhdwy])", text)
    if found is None:
        raise ValueError(
            f'{text!r} is not a duration: write a whole number and one of s m h d w y, such as "7d"'
        )
    return int(found[1]), found[2]


def meant(word: str, known: Sequence[str]) -> str:
    """The hint that follows an unknown word, "" where nothing known is close to it.

    >>> meant("custmer", ["customer", "terminal"])
    ' (did you mean customer?)'
    """
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
