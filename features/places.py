"""Where an entity's events happen: how far this one is from the one before it, and how fast that would have been.

A place is two whole numbers, ten-millionths of a degree: what a store keeps, a centimetre fine. The distance is that on a
sphere with the earth's mean radius (H. Moritz, Geodetic Reference System 1980, Journal of Geodesy 74, 2000), by the haversine
formula (R. W. Sinnott, Virtues of the haversine, Sky and Telescope 68, 1984), at most half a percent from the real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from features.catalogue import SECOND_US, Feature, Kind
from features.events import Transaction
from features.folds import NEVER

EARTH_KM = 6371.0088
FINE = 10_000_000  # of a degree
NOWHERE = (NEVER, NEVER)
HOUR_S = 3600.0
LEAST_S = 1.0
"""Two events are taken to be so far apart in time at least: the clocks of many sources count in seconds."""

Place = tuple[int, int]
"""Latitude and longitude in ten-millionths of a degree; NOWHERE: not known."""


def place_reader(fields: tuple[str, str]) -> Callable[[Transaction], Place]:
    """Reads an event's place from two fields in degrees; NOWHERE where one of them is missing or is none on earth."""
    north, east = fields

    def place(event: Transaction) -> Place:
        latitude, longitude = event.fields.get(north), event.fields.get(east)
        if not isinstance(latitude, (int, float)) or not isinstance(longitude, (int, float)):
            return NOWHERE
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            return NOWHERE
        return round(latitude * FINE), round(longitude * FINE)

    return place


def distance_km(one: Place, other: Place) -> float:
    """The great circle between two places.

    >>> round(distance_km((488566000, 23522000), (515074000, -1278000)))
    344
    """
    north, other_north = math.radians(one[0] / FINE), math.radians(other[0] / FINE)
    half_north = (other_north - north) / 2
    half_east = math.radians((other[1] - one[1]) / FINE) / 2
    chord = math.sin(half_north) ** 2 + math.cos(north) * math.cos(other_north) * math.sin(half_east) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(chord)))


def of_places(feature: Feature, last: int, at: int) -> Callable[[Transaction, Sequence[int], int], float]:
    """The feature that is told from raw: the time of the event before in `last`, its place from `at` on."""
    place = place_reader(feature.place)

    def distance(event: Transaction, raw: Sequence[int], scale: int) -> float:
        here = place(event)
        if raw[at] == NEVER or here == NOWHERE:
            return math.nan
        return distance_km((raw[at], raw[at + 1]), here)

    def speed(event: Transaction, raw: Sequence[int], scale: int) -> float:
        km = distance(event, raw, scale)
        if math.isnan(km):
            return math.nan
        return km * HOUR_S / max((event.time_us - raw[last]) / SECOND_US, LEAST_S)

    return speed if feature.kind is Kind.SPEED else distance
