"""The table [sequence]: what it says, what stands where it says nothing, and what is refused, by line and with the mend."""

from __future__ import annotations

import subprocess
import sys

import pytest

from features.profile import ProfileError, load
from features.sequence_settings import ARCHITECTURES, HEADS, SequenceSettings
from models.sequence import BODIES, Shape
from tests.unit.features.test_profile import GOOD

NAMES = ("amount", "age", "card_distinct_country_7d", "shop_risk_1d")


def of(tmp_path, *lines):
    path = tmp_path / "mine.toml"
    path.write_text("\n".join([GOOD, *lines]))
    return load(path)


def test_without_the_table_there_is_no_network(tmp_path):
    assert of(tmp_path).sequence is None


def test_an_empty_table_is_a_gru_that_reads_all(tmp_path):
    assert of(tmp_path, "[sequence]").sequence == SequenceSettings(entity="card", features=NAMES)


def test_the_table_says_what_the_network_is(tmp_path):
    profile = of(
        tmp_path,
        "[sequence]",
        'entity = "card"',
        'architecture = "transformer"',
        "width = 32",
        "layers = 2",
        "length = 16",
        'features = ["shop_risk_1d", "amount"]',
    )
    assert profile.sequence == SequenceSettings(
        entity="card",
        features=("amount", "shop_risk_1d"),  # in the order of every vector
        architecture="transformer",
        width=32,
        layers=2,
        length=16,
    )
    assert profile.features_version == of(tmp_path).features_version


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('entity = "shop"', "entity is 'shop', but [stream] partition_by is 'card'"),
        ('entity = "cart"', "no entity (did you mean card?)"),
        ('architecture = "gruu"', "is no architecture (did you mean gru?)"),
        ("width = 0", "width must be a whole number above 0"),
        ("width = 5000", "width must be at most 4,096"),
        ("layers = 17", "layers must be at most 16"),
        ("length = 1.5", "length must be a whole number"),
        ("features = []", "features must name at least one"),
        ('features = ["amonut"]', "[features] does not declare (did you mean amount?)"),
        ("depth = 3", "'depth' is no key of [sequence]"),
        ('width = 30\narchitecture = "transformer"', "width must be a multiple of 4"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_with_the_mend(line, told, tmp_path):
    with pytest.raises(ProfileError) as refused:
        of(tmp_path, "[sequence]", line)
    assert told in str(refused.value)
    assert refused.value.line == len(GOOD.splitlines()) + 3


def test_the_profile_knows_the_architectures_that_there_are():
    assert set(ARCHITECTURES) == set(BODIES)
    assert Shape().heads == HEADS
    unset, shape = SequenceSettings(entity="", features=()), Shape()
    for field in ("architecture", "width", "layers", "length"):
        assert getattr(unset, field) == getattr(shape, field)


def test_a_profile_is_read_without_torch():
    told = "import sys; from features.profile import load; load('handbook'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
