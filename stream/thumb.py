"""The rules of thumb for a profile's features: what a person would look for first, whatever the stream is of."""

from __future__ import annotations

from features.catalogue import FeatureSet, Kind
from models.baselines import Rule

POINTS: dict[Kind, tuple[float, float]] = {
    Kind.RISK: (0.3, 4.0),  # of what is known of this terminal lately, three in ten were frauds
    Kind.RATIO: (4.0, 2.0),  # four times the customer's mean amount
    Kind.ZSCORE: (4.0, 2.0),
    Kind.TYPICAL: (6.0, 2.0),
    Kind.SPEED: (1000.0, 3.0),  # faster than an airliner
}
"""By kind: from which value on it counts, and for how many points of log-odds."""


def rules_of(features: FeatureSet) -> list[Rule]:
    """A rule for the first feature of each kind about an entity: others of the kind would say the same twice."""
    first: dict[tuple[Kind, str], Rule] = {}
    for feature in features.features:
        if feature.kind in POINTS:
            first.setdefault((feature.kind, feature.entity), Rule(feature.name, *POINTS[feature.kind]))
    return list(first.values())
