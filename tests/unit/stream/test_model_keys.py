"""Key files: made once, for their owner only; trusted, rotated and revoked while everything runs."""

import logging
import os
import stat
from multiprocessing.pool import ThreadPool

import pytest

from stream.model_keys import ModelKeyError, SigningKey, TrustedKeys
from stream.signing import SignatureError, Signer
from tests.unit.stream.models_fakes import Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "keys").learner()


def touch(file, text):
    """Write, and let the clock of the files move on."""
    file.write_text(text)
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))


def test_the_first_start_makes_a_key_for_its_owner_only_and_trusts_it(machine):
    assert stat.S_IMODE(machine.key.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.file.parent.stat().st_mode) == 0o700
    key = machine.key.signer().public
    assert machine.trusted().key(key.id).raw == key.raw


def test_the_next_start_finds_the_same_key(machine):
    again = SigningKey(machine.key.file)
    again.make(machine.trusted())
    assert again.signer().public.id == machine.key.signer().public.id
    assert len(machine.trusted().entries) == 1


def test_several_processes_that_start_at_once_make_one_key(tmp_path):
    machine = Machine(tmp_path / "keys")

    def make(_):
        key = SigningKey(machine.key.file)
        key.make(machine.trusted())
        return key.signer().public.id

    with ThreadPool(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1


def test_a_key_that_others_may_read_is_refused(machine):
    machine.key.file.chmod(0o644)
    with pytest.raises(ModelKeyError, match="chmod 600"):
        SigningKey(machine.key.file).signer()


def test_one_that_is_mounted_may_be_read_by_its_group_and_no_further(machine):
    mounted = SigningKey(machine.key.file, closed=0o007)
    machine.key.file.chmod(0o440)
    assert mounted.signer().public.id in machine.trusted().entries
    machine.key.file.chmod(0o444)
    with pytest.raises(ModelKeyError, match="chmod 600"):
        SigningKey(machine.key.file, closed=0o007).signer()


@pytest.mark.parametrize("text", ["", "abcd\n", "no key\n", "ä"])
def test_a_file_that_holds_no_key_is_refused_with_the_mend(machine, text):
    touch(machine.key.file, text)
    with pytest.raises(ModelKeyError, match="holds no key"):
        machine.key.signer()


def test_a_rotated_key_signs_and_the_one_before_is_trusted_still(machine):
    before = machine.key.signer().public.id
    prepared = machine.key.prepare(machine.trusted()).id
    assert machine.key.signer().public.id == before, "it does not sign yet"
    assert machine.key.prepare(machine.trusted()).id == prepared, "one key is ready, not two"
    machine.key.rotate(machine.trusted())
    assert machine.key.signer().public.id == prepared
    assert machine.key.following() is None
    assert machine.trusted().trusts(before)
    assert machine.trusted().trusts(prepared)


def test_rotation_without_preparation_makes_the_key(machine):
    before = machine.key.signer().public.id
    after = machine.key.rotate(machine.trusted()).id
    assert machine.key.signer().public.id == after != before
    assert machine.trusted().trusts(after)


def test_a_revoked_key_is_never_trusted_again(machine):
    key = machine.key.signer().public
    trusted = machine.trusted()
    trusted.revoke(key.id)
    with pytest.raises(SignatureError, match=rf"the key {key.id}, which was revoked \(20"):
        machine.trusted().key(key.id)
    with pytest.raises(ModelKeyError, match="was revoked"):
        trusted.add(key)


def test_an_unknown_key_is_told_with_the_command_that_trusts_it(machine):
    with pytest.raises(SignatureError, match=r"ffff, which is not among .* `weir models keys trust`"):
        machine.trusted().key("ffff")
    with pytest.raises(ModelKeyError, match="there is no key ffff"):
        machine.trusted().revoke("ffff")


def test_a_change_of_the_file_is_seen_by_those_who_run(machine):
    trusted = machine.trusted()
    assert not trusted.refresh()
    other = Signer.fresh().public
    machine.trusted().add(other)
    assert trusted.refresh()
    assert trusted.trusts(other.id)
    assert not trusted.refresh()


def test_a_file_that_is_made_later_is_seen(tmp_path):
    machine = Machine(tmp_path / "keys")
    trusted = machine.trusted()
    assert trusted.entries == {}
    machine.learner()
    assert trusted.refresh()


def test_a_file_that_breaks_changes_nothing_until_it_is_mended(machine, caplog):
    trusted, key_id = machine.trusted(), machine.key.signer().public.id
    whole = machine.file.read_text()
    touch(machine.file, whole + "trusted what is this\n")
    with caplog.at_level(logging.ERROR):
        assert not trusted.refresh()
    assert "line 2 is no key" in caplog.text
    assert trusted.trusts(key_id)
    touch(machine.file, f"# ours\n\n{whole.strip()}  # signs here\n{trusted.entries[key_id]}\n")
    assert not trusted.refresh(), "the same keys"
    touch(machine.file, whole.replace("trusted", "tursted"))
    with pytest.raises(ModelKeyError, match="line 1"):
        TrustedKeys(machine.file)


def test_an_id_that_is_not_the_keys_is_refused(machine):
    line = machine.file.read_text().split()
    touch(machine.file, " ".join([line[0], "0" * 16, *line[2:]]))
    with pytest.raises(ModelKeyError, match="not the key's"):
        machine.trusted()
