"""Where unix sockets lie: systems take short paths only, and a state's directory may have a long one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LONGEST = 100
"""Bytes of a socket's path that every system takes."""


def socket_path(directory: Path, name: str) -> Path:
    """In the directory; where its path is too long for a socket, in a private folder that the directory remembers."""
    wanted = directory / name
    if len(os.fsencode(wanted)) < LONGEST:
        return wanted
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    note = directory / "socket-folder"
    if not note.exists() or not Path(note.read_text()).is_dir():
        note.write_text(tempfile.mkdtemp(prefix="weir-"))
    return Path(note.read_text()) / name
