"""usage: python -m tests.simulation [--seed N | --schedules N] [--from N]: run one schedule, or many."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.run import Simulation
from tests.simulation.wiring import wired


def main() -> int:
    """0 where nothing is broken."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int)
    options.add_argument("--schedules", type=int, default=1000)
    options.add_argument("--from", type=int, default=0, dest="first")
    options.add_argument("--whole", action="store_true", help="do not make a red schedule smaller")
    given = options.parse_args()
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.schedules)
    begun = time.process_time()
    with wired():
        simulation = Simulation()
        found = simulation.first_red(seeds)
        if found is None:
            took = time.process_time() - begun
            print(f"{len(seeds)} schedules in {took:.1f} s of one core: nothing is broken")  # noqa: T201
            return 0
        schedule, broken = found
        told = f"{schedule}\nbreaks:\n" + "\n".join(broken) if given.whole else simulation.told(schedule)
        print(told)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
