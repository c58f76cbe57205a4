"""The keys under which models travel: the learner's private one, the next one, and the public ones that are trusted.

The trusted keys stand in a text file, one a line: ``trusted`` or ``revoked``, the key's id, the key, and since when.
Scorers need that file alone. It is read again whenever it changes, so a key comes and goes without a restart.
"""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from stream.keyfiles import make_first, move, replace
from stream.signing import PublicKey, SignatureError, Signer

logger = logging.getLogger(__name__)

KEY_FILE, TRUSTED_FILE = Path("keys", "models.key"), Path("keys", "models.trusted")
"""Below WEIR_DIR."""

NEXT = ".next"
"""Behind the key file's name: the key that is ready to sign, and does not yet."""

TRUSTED, REVOKED = "trusted", "revoked"


class ModelKeyError(Exception):
    """A key file that cannot be used, or a change of keys that would do harm: why, and what to do."""


class Entry(msgspec.Struct, frozen=True):
    """A line of the file of trusted keys."""

    state: str
    key: PublicKey
    since: str  # ISO 8601

    def __str__(self) -> str:
        return f"{self.state} {self.key.id} {self.key.raw.hex()} {self.since}"

    @classmethod
    def read(cls, line: str) -> Self:
        """The entry that a line holds; raises ValueError."""
        state, key_id, key, since = line.split()
        entry = cls(state, PublicKey(bytes.fromhex(key)), since)
        if state not in (TRUSTED, REVOKED) or entry.key.id != key_id:
            raise ValueError("neither trusted nor revoked, or an id that is not the key's")
        return entry

    @classmethod
    def of(cls, key: PublicKey, state: str = TRUSTED) -> Self:
        """A new entry."""
        return cls(state, key, datetime.now(UTC).isoformat(timespec="seconds"))


class TrustedKeys:
    """The keys in a file, as they stood there at the last `refresh`."""

    def __init__(self, file: Path) -> None:
        """Read the file, which may be made later; raises ModelKeyError for one that is no file of keys."""
        self.file = file
        self._stamp = _stamp(file)
        self.entries = self._read()

    def refresh(self) -> bool:
        """Read the file again if it changed; whether other keys are trusted now. One that cannot be read changes nothing."""
        stamp = _stamp(self.file)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            entries = self._read()
        except ModelKeyError as error:
            logger.error("%s. Until it is mended the keys that it held before are trusted", error)
            return False
        changed, self.entries = (
            entries.keys() != self.entries.keys()
            or any(entries[each].state != self.entries[each].state for each in entries),
            entries,
        )
        return changed

    def trusts(self, key_id: str) -> bool:
        """Whether snapshots signed by this key count."""
        return key_id in self.entries and self.entries[key_id].state == TRUSTED

    def key(self, key_id: str) -> PublicKey:
        """A trusted key; raises SignatureError for one that is revoked or unknown."""
        entry = self.entries.get(key_id)
        if entry is None:
            raise SignatureError(
                f"it is signed by the key {key_id}, which is not among the trusted ones in {self.file}: "
                "`weir models keys trust` adds the key that the learner's `weir models keys list` shows"
            )
        if entry.state == REVOKED:
            raise SignatureError(f"it is signed by the key {key_id}, which was revoked ({entry.since})")
        return entry.key

    def add(self, key: PublicKey) -> None:
        """Trust a key from now on; raises ModelKeyError for one that was revoked."""
        self.refresh()
        known = self.entries.get(key.id)
        if known is not None and known.state == REVOKED:
            raise ModelKeyError(f"the key {key.id} was revoked ({known.since}): make another one")
        if known is None:
            self._write({**self.entries, key.id: Entry.of(key)})

    def revoke(self, key_id: str) -> None:
        """Trust a key no more, for ever; raises ModelKeyError for one that is not known."""
        self.refresh()
        known = self.entries.get(key_id)
        if known is None:
            raise ModelKeyError(
                f"there is no key {key_id} in {self.file}: `weir models keys list` shows them"
            )
        if known.state == TRUSTED:
            self._write({**self.entries, key_id: Entry.of(known.key, REVOKED)})

    def _write(self, entries: dict[str, Entry]) -> None:
        try:
            replace(self.file, "".join(f"{entry}\n" for entry in entries.values()))
        except OSError as error:
            raise ModelKeyError(
                f"{self.file} cannot be written ({error}): change it where it comes from, so that it says\n"
                + "\n".join(map(str, entries.values()))
            ) from error
        self._stamp, self.entries = _stamp(self.file), entries

    def _read(self) -> dict[str, Entry]:
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ModelKeyError(f"the trusted keys in {self.file} cannot be read: {error}") from error
        found: dict[str, Entry] = {}
        for number, line in enumerate(lines, 1):
            if said := line.partition("#")[0].strip():
                entry = self._entry(number, said)
                found[entry.key.id] = entry
        return found

    def _entry(self, number: int, line: str) -> Entry:
        try:
            return Entry.read(line)
        except ValueError as error:
            raise ModelKeyError(
                f"{self.file}, line {number} is no key ({error}): expected is "
                "`trusted ID KEY SINCE`, as `weir models keys list` of the learner's machine prints it"
            ) from error


class SigningKey:
    """The key file of a learner, and the one beside it that is ready to follow."""

    def __init__(self, file: Path, closed: int = 0o077) -> None:
        """Of this file; it is read when it is asked for, and refused if its mode has any of the bits `closed`."""
        self.file = file
        self._closed = closed
        self.next_file = file.with_name(file.name + NEXT)
        self._stamp: object = None
        self._signer: Signer | None = None

    def make(self, trusted: TrustedKeys) -> None:
        """Make the key if there is none, and trust it on this machine."""
        if not self.file.exists():
            make_first(self.file, _text(Signer.fresh()))
        trusted.add(self.signer().public)

    def signer(self) -> Signer:
        """Who signs now: read again when the file has changed. Raises ModelKeyError."""
        stamp = _stamp(self.file)
        if self._signer is None or stamp != self._stamp:
            self._signer, self._stamp = self._read(self.file), stamp
        return self._signer

    def following(self) -> Signer | None:
        """Who is ready to sign next. Raises ModelKeyError."""
        return self._read(self.next_file) if self.next_file.exists() else None

    def prepare(self, trusted: TrustedKeys) -> PublicKey:
        """Make the key that follows, if none is ready, and trust it on this machine."""
        if not self.next_file.exists():
            make_first(self.next_file, _text(Signer.fresh()))
        key = self._read(self.next_file).public
        trusted.add(key)
        return key

    def rotate(self, trusted: TrustedKeys) -> PublicKey:
        """Let the key that follows sign from now on; the one before is gone, and what it signed stays good."""
        key = self.prepare(trusted)
        move(self.next_file, self.file)
        return key

    def _read(self, file: Path) -> Signer:
        try:
            if file.stat().st_mode & self._closed:
                raise ModelKeyError(f"others may read {file}: run chmod 600 on it")
            return Signer(bytes.fromhex(file.read_text("ascii")))
        except OSError as error:
            raise ModelKeyError(
                f"the key that signs models cannot be read: {error}. `weir models keys rotate` makes one"
            ) from error
        except ValueError as error:
            raise ModelKeyError(
                f"{file} holds no key: 64 hexadecimal digits expected; put back its backup, or take it away and say "
                "`weir models keys rotate`"
            ) from error


def _text(signer: Signer) -> str:
    return signer.seed.hex() + "\n"


def _stamp(file: Path) -> object:
    """Changes whenever the file does."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
