"""Runs every benchmark of this folder in turn: ``python -m tests.benchmarks`` (``make bench``)."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def runnable() -> list[str]:
    """The modules that do something when they are run."""
    others = (path for path in sorted(HERE.glob("*.py")) if path != Path(__file__))
    return [path.stem for path in others if '__name__ == "__main__"' in path.read_text()]


if __name__ == "__main__":
    failed = []
    for name in runnable():
        print(f"== {name}", flush=True)  # noqa: T201 - a benchmark prints
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
