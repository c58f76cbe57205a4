"""A backup is known to be whole, or it is refused with the reason."""

import msgspec
import pytest

from stream import backup_files as at
from stream.backup_files import BackupError, FrameWriter, Manifest


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "backup"
    (made / "keys").mkdir(parents=True)
    with FrameWriter(made / at.SQL_FILE) as out:
        out.write(["decisions", ["event_id"], [["e1"], [b"\0"], [None]]])
        out.write(["alerts", [], []])
    (made / "keys" / "seal.key").write_text("secret")
    at.write_manifest(
        made,
        Manifest(
            format=at.FORMAT, weir="1", made_at="", profile="payments", topic_prefix="", key_id="k", parts={"sql": "1"},
            positions={"record": {"decisions/0": 7}}, log={"decisions/0": (0, 9)}, files=at.files_of(made),
        ),
    )  # fmt: skip
    return made


def test_what_was_written_is_read(folder):
    manifest = at.verified(folder)
    assert manifest.positions == {"record": {"decisions/0": 7}}
    assert manifest.log == {"decisions/0": (0, 9)}
    assert set(manifest.files) == {"sql.rows", "keys/seal.key"}
    assert list(at.frames(folder / at.SQL_FILE)) == [
        ["decisions", ["event_id"], [["e1"], [b"\0"], [None]]],
        ["alerts", [], []],
    ]
    assert (folder / at.SQL_FILE).stat().st_mode & 0o077 == 0


def test_a_file_with_one_other_byte_is_told(folder):
    file = folder / at.SQL_FILE
    held = bytearray(file.read_bytes())
    held[-1] ^= 1
    file.write_bytes(held)
    with pytest.raises(BackupError, match=r"damaged: sql\.rows is not as it was written"):
        at.verified(folder)


def test_a_file_that_is_missing_is_told(folder):
    (folder / "keys" / "seal.key").unlink()
    with pytest.raises(BackupError, match=r"lacks its file keys/seal\.key"):
        at.verified(folder)


def test_a_folder_without_a_manifest_is_none(folder):
    (folder / at.MANIFEST).unlink()
    with pytest.raises(BackupError, match="is no backup"):
        at.verified(folder)


def test_another_format_and_a_broken_manifest_are_refused(folder):
    file = folder / at.MANIFEST
    told = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode({**told, "format": 2}))
    with pytest.raises(
        BackupError, match="has format 2; this Weir reads 1: restore it with the Weir that made it"
    ):
        at.verified(folder)
    file.write_bytes(b'{"format": 1')
    with pytest.raises(BackupError, match="is damaged"):
        at.verified(folder)
