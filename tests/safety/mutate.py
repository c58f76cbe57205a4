"""Runs Weir with a line of it changed: in this process by giving its functions other code, or in a copy of the tree."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
COPIED = ("features", "models", "stream", "tests", "pyproject.toml")


class Moved(Exception):
    """A line is not where the table says: if it was moved or rewritten on purpose, change the table with it."""


def changed(file: str, text: str, instead: str) -> str:
    """The file's source with the change made; raises Moved unless the text is there exactly once."""
    source = (ROOT / file).read_text()
    if source.count(text) != 1:
        raise Moved(f"{file} holds {source.count(text)} times, not once:\n{text}")
    return source.replace(text, instead)


@contextmanager
def in_this_process(file: str, text: str, instead: str) -> Iterator[None]:
    """While the block runs, the functions of a module are those of the changed source."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    path = str(ROOT / file)
    source = changed(file, text, instead).encode()
    codes = dict(_codes(SourceFileLoader(module.__name__, path).source_to_code(source, path)))
    functions = {each: each.__code__ for each in _functions(module)}
    try:
        for function, code in functions.items():
            function.__code__ = codes.get(code.co_qualname, code)
        yield
    finally:
        for function, code in functions.items():
            function.__code__ = code


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """All code in a module's, by qualified name."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each.co_qualname, each
            yield from _codes(each)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for each in vars(module).values():
        if getattr(each, "__module__", None) != module.__name__:
            continue
        members = vars(each).values() if inspect.isclass(each) else (each,)
        for member in members:
            yield from _inside(member)


def _inside(member: Any) -> Iterator[FunctionType]:
    """The functions behind a method, a property, or a decorator."""
    for name in ("fget", "__func__", "__wrapped__"):
        if (inner := getattr(member, name, None)) is not None and not isinstance(member, type):
            yield from _inside(inner)
    if isinstance(member, FunctionType):
        yield member


def fails_in_a_copy(file: str, text: str, instead: str, test: str, place: Path) -> bool:
    """Whether a test goes red in a copy of the tree that has the change."""
    source = changed(file, text, instead)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name)
        else:
            shutil.copy2(ROOT / name, place / name)
    (place / file).write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *test.split()]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # not: no such test, or none collected
    return ended.returncode == 1
