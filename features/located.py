"""A TOML file that remembers where its keys stand, so that what is wrong with it can be told by line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from features.grammar import meant


class ProfileError(ValueError):
    """A profile that cannot be used: the file, the line, what is wrong and the mend."""

    def __init__(self, path: Path | str, line: int | None, problem: str) -> None:
        """`line` counts from 1; None where the fault is no line's."""
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")
        self.line = line


class Located:
    """A parsed TOML file with its text."""

    def __init__(self, path: Path) -> None:
        """Read and parse; raises ProfileError if the file is not there, not UTF-8 or not TOML."""
        self.path = path
        try:
            self._text = path.read_text(encoding="utf-8")
            self.tree: dict[str, object] = tomllib.loads(self._text)
        except OSError as error:
            raise ProfileError(path, None, f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ProfileError(path, None, "is not UTF-8 text") from error
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"at line (\d+)", str(error))
            raise ProfileError(path, int(at[1]) if at else None, f"is not TOML: {error}") from error
        self._lines = self._text.splitlines()

    def table(self, name: str, known: Sequence[str] | None) -> Table:
        """The table [name], which may be absent; raises ProfileError for a key in it that is not `known`."""
        value = self.tree.get(name, {})
        if not isinstance(value, dict):
            raise self.error(f"{name} must be a table: [{name}]", "", name)
        table = Table(self, name, value)
        table.refuse_unknown(known)
        return table

    def error(self, problem: str, section: str, key: str, needle: str = "") -> ProfileError:
        """A ProfileError at the line of `key` in `section`, or of the text `needle` at or after it."""
        return ProfileError(self.path, self._line(section, key, needle), problem)

    def _line(self, section: str, key: str, needle: str) -> int | None:
        here, found = "", None
        for number, line in enumerate(self._lines, start=1):
            header = re.match(r"\s*\[{1,2}\s*([\w.\-\"]+)\s*\]", line)
            if header:
                here = header[1].strip('"')
                if here == (f"{section}.{key}".strip(".") if key else section):
                    found = number
            elif here == section and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
                found = number
            if found and (not needle or needle in line):
                return number if needle else found
        return found


class Table:
    """One table of a Located file, read key by key with their types checked."""

    def __init__(self, file: Located, section: str, values: Mapping[str, object]) -> None:
        """The table [section]; "" is the top of the file."""
        self._file = file
        self._section = section
        self.values = values

    def refuse_unknown(self, known: Sequence[str] | None) -> None:
        """Raise ProfileError for the first key that is not `known` (None: every key is)."""
        for key in self.values if known is not None else ():
            if key not in cast("Sequence[str]", known):
                where = f"[{self._section}]" if self._section else "the top of a profile"
                listed = f"known are {', '.join(cast('Sequence[str]', known))}"
                raise self.error(
                    f"{key!r} is no key of {where}{meant(key, cast('Sequence[str]', known))}; {listed}", key
                )

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; required without a default."""
        value = self._get(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{key} must be a text that is not empty", key)
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, or None where the key is absent."""
        return self.text(key) if key in self.values else None

    def texts(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of different texts."""
        value = self._get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            raise self.error(f"{key} must be a list of texts", key)
        for position, each in enumerate(value):
            if each in value[:position]:
                raise self.error(f"{key} names {each!r} twice: take one of them out", key, each)
        return tuple(value)

    def number(self, key: str, default: float) -> float:
        """A number above zero."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self.error(f"{key} must be a number above 0", key)
        return value

    def whole(self, key: str, default: int) -> int:
        """A whole number above zero."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise self.error(f"{key} must be a whole number above 0", key)
        return value

    def error(self, problem: str, key: str, needle: str = "") -> ProfileError:
        """A ProfileError at the line of `key`."""
        return self._file.error(problem, self._section, key if key in self.values else "", needle)

    def _get(self, key: str, default: object | None) -> object:
        if key in self.values:
            return self.values[key]
        if default is None:
            where = f"[{self._section}]" if self._section else "a profile"
            raise self.error(f"{where} must have {key}", "")
        return default
