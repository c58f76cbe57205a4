"""What the benchmarks of the whole path share: a part of the handbook's file, its fifteen features, a model to pin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from features.profile import SHIPPED

DATA = Path(os.environ.get("WEIR_DATA", "../shared/data"))
FILE = "fdh_raw_2018-04-01_2018-08-14.parquet"

FIFTEEN = """declare = [
  "amount", "weekend", "night",
  "count by customer over 1d 7d 30d",
  "mean amount by customer over 1d 7d 30d",
  "count by terminal over 1d 7d 30d",
  "risk by terminal over 1d 7d 30d",
]"""

DECLARED = re.compile(r"declare = \[.*?^\]", re.DOTALL | re.MULTILINE)


def source() -> Path:
    """The handbook's file; ends the benchmark with the reason where it is absent."""
    path = DATA / FILE
    if not path.exists():
        say(f"skipped: there is no {path}; set WEIR_DATA to the folder that has {FILE}")
        sys.exit(0)
    return path


def cut(target: Path, first: int, rows: int) -> Path:
    """Write rows of the handbook's file to a file of their own, in the order of their time."""
    table = pq.read_table(source()).sort_by("TX_DATETIME")
    pq.write_table(table.slice(first, rows), target)
    return target


def profile(directory: Path) -> Path:
    """The profile `handbook`, declaring the fifteen features of the book."""
    path = directory / "fifteen.toml"
    path.write_text(DECLARED.sub(FIFTEEN, (SHIPPED / "handbook.toml").read_text()))
    return path


def model(target: Path, file: Path, mapped: Path) -> Path:
    """A model learned from a replay of a file, to be pinned."""
    options = ("--profile", mapped, "--label-delay", "1d", "--save-model", target, "--json")
    weir("replay", file, *options, directory=target.parent / "replay")
    return target


def weir(*arguments: object, directory: Path) -> str:
    """Run a command to its end, on the state in `directory`; gives what it printed."""
    done = subprocess.run(
        command(*arguments), env=environment(directory), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def start(*arguments: object, directory: Path) -> subprocess.Popen[bytes]:
    """Start a command that goes on until it is terminated."""
    return subprocess.Popen(command(*arguments), env=environment(directory))


def command(*arguments: object) -> list[str]:
    """A command of weir's, in this interpreter."""
    return [sys.executable, "-m", "stream", *map(str, arguments)]


def environment(directory: Path) -> dict[str, str]:
    """The environment of a child: nothing of the user's own Weir."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
    return {**kept, "WEIR_DIR": str(directory)}


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
