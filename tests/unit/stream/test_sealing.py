"""Sealing: what goes in comes out for whoever has the key, and for nobody else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.sealing import KEY_FILE, OVERHEAD, Sealer, SealError

SEALER = Sealer(bytes(range(32)))


@given(st.binary(max_size=1_000))
def test_what_was_sealed_is_opened_as_it_was(value: bytes) -> None:
    sealed = SEALER.seal(value)
    assert SEALER.open(sealed) == value
    assert len(sealed) == len(value) + OVERHEAD
    if len(value) > 3:
        assert value not in sealed


def test_the_same_value_is_sealed_to_other_bytes_each_time() -> None:
    assert SEALER.seal(b"x") != SEALER.seal(b"x")


def test_a_value_sealed_once_is_opened_for_ever() -> None:
    sealed = bytes.fromhex(
        "01cd33df8ef8619cedba28a8952353eeec57cd41317795e9eb61632d47bc1b6e5f0338843aecc5379669"
    )
    assert SEALER.open(sealed) == b"57.16 EUR"


@given(st.integers(0, OVERHEAD + 9), st.integers(1, 255))
def test_a_single_changed_bit_is_noticed(place: int, change: int) -> None:
    sealed = bytearray(SEALER.seal(b"0123456789"))
    sealed[place] ^= change
    with pytest.raises(SealError):
        SEALER.open(bytes(sealed))


@given(st.binary(max_size=100))
def test_bytes_that_were_never_sealed_are_refused(value: bytes) -> None:
    with pytest.raises(SealError):
        SEALER.open(value)


def test_another_key_is_named_when_it_is_needed() -> None:
    other = Sealer(bytes(32))
    with pytest.raises(SealError, match=f"sealed with the key {other.key_id}, not with {SEALER.key_id}"):
        SEALER.open(other.seal(b"x"))


def test_an_unknown_version_is_refused() -> None:
    sealed = SEALER.seal(b"x")
    with pytest.raises(SealError, match="not sealed by this version"):
        SEALER.open(b"\x02" + sealed[1:])


def test_a_pseudonym_matches_itself_and_nothing_else() -> None:
    assert (
        SEALER.pseudonym("card", "c1") == SEALER.pseudonym("card", "c1") == "c3c7478133b65a01efa9e969a257d2b7"
    )
    others = {
        SEALER.pseudonym("card", "c2"),
        SEALER.pseudonym("customer", "c1"),
        SEALER.pseudonym("car", "dc1"),
        Sealer(bytes(32)).pseudonym("card", "c1"),
    }
    assert len(others | {SEALER.pseudonym("card", "c1")}) == 5


def test_every_purpose_has_a_key_of_its_own() -> None:
    assert len(SEALER.hash_key()) == 32
    assert SEALER.hash_key() != Sealer(bytes(32)).hash_key()
    assert SEALER.hash_key() != bytes(range(32))
    assert not SEALER.hash_key().hex().startswith(SEALER.key_id)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_has_32_bytes(length: int) -> None:
    with pytest.raises(SealError, match="32 bytes"):
        Sealer(bytes(length))


# --- the key file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_key_is_made_at_first_use_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        first = Sealer.at(tmp_path / "weir")
    finally:
        os.umask(old)
    file = tmp_path / "weir" / KEY_FILE
    assert mode(file) == 0o600
    assert mode(file.parent) == 0o700
    assert os.listdir(file.parent) == [file.name]
    assert Sealer.at(tmp_path / "weir").open(first.seal(b"x")) == b"x"


def test_two_directories_have_two_keys(tmp_path: Path) -> None:
    assert Sealer.at(tmp_path / "a").key_id != Sealer.at(tmp_path / "b").key_id


def test_processes_that_come_at_once_agree_on_one_key(tmp_path: Path) -> None:
    code = "import sys, pathlib; from stream.sealing import Sealer; sys.stdin.readline(); " + (
        "print(Sealer.at(pathlib.Path(sys.argv[1])).key_id)"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    told = {each.communicate(timeout=60)[0].strip() for each in started}
    assert told == {Sealer.at(tmp_path).key_id}
    assert os.listdir(tmp_path / "keys") == ["seal.key"]


def test_a_maker_that_comes_second_takes_the_key_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Sealer.at(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda self: False)  # it looked before the first had linked its file
    assert Sealer.at(tmp_path).key_id == first.key_id


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Sealer.at(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(SealError, match="chmod 600"):
        Sealer.at(tmp_path)


@pytest.mark.parametrize("text", ["", "not hex", "00" * 16])
def test_a_broken_key_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    Sealer.at(tmp_path)
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(SealError):
        Sealer.at(tmp_path)
    assert (tmp_path / KEY_FILE).read_text() == text


# --- a key file elsewhere, and people's own keys


def test_a_key_file_elsewhere_is_never_made_so_that_no_two_machines_have_different_ones(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mounted" / "seal.key"
    with pytest.raises(SealError, match="openssl rand -hex 32 > "):
        Sealer.of_file(file)
    assert not file.exists()
    first = Sealer.at(tmp_path)
    assert Sealer.of_file(tmp_path / KEY_FILE).key_id == first.key_id


@pytest.mark.parametrize(("bits", "good"), [(0o400, True), (0o440, True), (0o444, False), (0o604, False)])
def test_a_key_file_elsewhere_may_be_read_by_a_group_and_by_nobody_else(
    tmp_path: Path, bits: int, good: bool
) -> None:
    Sealer.at(tmp_path)
    file = tmp_path / KEY_FILE
    file.chmod(bits)
    if good:
        assert Sealer.of_file(file)
    else:
        with pytest.raises(SealError, match="chmod 600"):
            Sealer.of_file(file)


def test_a_wrapped_key_is_opened_by_its_master_key_for_its_person_alone() -> None:
    person = SEALER.pseudonym("card", "c1")
    wrapped = SEALER.wrap(person, b"k" * 32)
    assert b"k" * 32 not in wrapped
    assert SEALER.unwrap(person, wrapped) == b"k" * 32
    with pytest.raises(SealError, match="changed after they were sealed"):
        SEALER.unwrap(SEALER.pseudonym("card", "c2"), wrapped)
    with pytest.raises(SealError, match=f"sealed with the key {SEALER.key_id}"):
        Sealer(bytes(32)).unwrap(person, wrapped)
    with pytest.raises(SealError, match="changed after they were sealed"):
        SEALER.open(wrapped)


def test_what_was_wrapped_once_is_opened_for_ever() -> None:
    wrapped = bytes.fromhex(
        "01cd33df8ecfaf481cf69429584b9546ff071142d10631654cb80a95b587d0fb058e4c1c814bf98a0d72865f301f61b59b92"
        "49a721f53e65a4b5a8b49249ae13c7"
    )
    assert SEALER.unwrap(SEALER.pseudonym("card", "c1"), wrapped) == bytes(range(32))
