"""docs/safety-lines.md, made of the table."""

from __future__ import annotations

from tests.safety.lines import LINES, Line

HEAD = """# Safety lines

The lines that keep Weir's guarantees: what each keeps, and what goes red without it. Where no test is named, that is a
schedule of the simulation (`tests/simulation`). `pytest tests/safety -m slow` takes each away and sees it; a line that
was moved or rewritten fails `make test`, so that this list is changed with it.

This page is written by `python -m tests.safety` from `tests/safety/lines.py`. To add a line, add it there.
"""


def text() -> str:
    """The whole page."""
    files = dict.fromkeys(line.file for line in LINES)
    return "\n".join([HEAD, *(_of_file(file) for file in files)])


def _of_file(file: str) -> str:
    lines = [_entry(line) for line in LINES if line.file == file]
    return "\n".join(
        [f"## {file}\n", "| it keeps | the line | red without it |", "|---|---|---|", *lines, ""]
    )


def _entry(line: Line) -> str:
    shown = "<br>".join(f"`{each.strip()}`" for each in line.text.strip().splitlines())
    red = f"`{line.test}`" if line.test else "the simulation"
    return f"| {line.keeps} | {shown.replace('|', chr(92) + '|')} | {red} |"
