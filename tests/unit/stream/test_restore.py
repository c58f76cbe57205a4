"""What speaks against a restore is told before anything is written: another log, a gap, another format, another tenant."""

from pathlib import Path

import msgspec
import pytest

from features import redis_copy
from stream import backup_files as at
from stream import restore
from stream.backup_files import BackupError, Manifest
from stream.config import load
from stream.records import TP

DECISIONS = TP("decisions", 0)

MANIFEST = Manifest(
    format=at.FORMAT,
    weir="7.7",
    made_at="",
    profile="payments",
    topic_prefix="",
    key_id="k",
    parts={at.SQL: "0001", at.REDIS: redis_copy.layout(None), at.LOG: str(restore.LOG_FORMAT)},
    positions={"record": {"decisions/0": 50}, "score": {"transactions/0": 40}},
    log={},
    files={},
)


def config(**flags):
    return load({"dir": "/nowhere", **flags}, {}, Path("no.toml"))


def behind(first, end, parts=(at.SQL,), **environment):
    said = []
    settings = load({"dir": "/nowhere"}, environment, Path("no.toml"))
    found = {DECISIONS: (first, end), TP("transactions", 0): (first, end)}
    return list(restore._behind(settings, MANIFEST, parts, found, said.append)), said


def test_what_happened_since_the_backup_is_read_again():
    assert behind(0, 80) == ([restore.Behind("record", "decisions/0", 30)], [])
    assert behind(50, 50) == ([restore.Behind("record", "decisions/0", 0)], [])
    both, _ = behind(0, 80, (at.SQL, at.REDIS))
    assert {(each.role, each.records) for each in both} == {("record", 30), ("score", 40)}


@pytest.mark.parametrize(
    ("first", "end", "told"),
    [
        (51, 80, "the log begins at 51: it has let go what the role record needs"),
        (0, 49, "the log ends at 49: it is another log"),
    ],
)
def test_a_log_that_cannot_make_good_what_sql_lacks_is_refused_unless_that_is_accepted(first, end, told):
    with pytest.raises(
        BackupError, match=f"decisions/0: the backup has it up to 50, and {told}.*WEIR_ACCEPT_GAP=1"
    ):
        behind(first, end)
    _, said = behind(first, end, WEIR_ACCEPT_GAP="1")
    assert told in said[0]


def test_a_topic_that_is_not_there_is_another_log():
    with pytest.raises(BackupError, match="the log ends at 0"):
        list(restore._behind(config(), MANIFEST, (at.SQL,), {}, print))


def test_a_gap_in_redis_alone_is_said_for_the_score_role_judges_it():
    found, said = behind(45, 80, (at.REDIS,))
    assert found == [restore.Behind("score", "transactions/0", 35)]
    assert "transactions/0: the backup has it up to 40, and the log begins at 45" in said[0]


@pytest.mark.parametrize(
    ("manifest", "parts", "flags", "told"),
    [
        ({}, ("keys",), {}, "holds sql, redis, log, and not keys"),
        ({"topic_prefix": "shop."}, ("sql",), {}, "set WEIR_TOPIC_PREFIX"),
        ({}, ("log",), {"broker": "kafka://h:1"}, "WEIR_BROKER names Kafka"),
        ({"parts": {"redis": "1"}}, ("redis",), {}, "redis has format 1, .* restore it with Weir 7.7"),
        ({"parts": {"log": "9"}}, ("log",), {}, "log has format 9, .* restore it with Weir 7.7"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mend(manifest, parts, flags, told):
    with pytest.raises(BackupError, match=told):
        restore._refuse_other(config(**flags), msgspec.structs.replace(MANIFEST, **manifest), parts)


def test_what_fits_is_not_refused():
    restore._refuse_other(config(), MANIFEST, ("sql", "redis", "log"))


def test_a_backup_of_another_key_is_refused(tmp_path):
    settings = config(dir=str(tmp_path))
    with pytest.raises(BackupError, match=r"seal key k, which is not .*seal\.key: put that file back first"):
        restore._refuse_unreadable(settings, MANIFEST, ("sql",))
    assert not (tmp_path / "keys").exists()
