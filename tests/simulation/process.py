"""One process of the simulation: a role's real app on a loop of its own, until it is killed, stops or crashes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from stream import app as apps
from tests.simulation.faust import SimApp
from tests.simulation.loop import Died, SimLoop

if TYPE_CHECKING:
    from tests.simulation.world import World


LOOK_SECONDS = 0.5


class Process:
    """A worker."""

    def __init__(self, world: World, role: str, slot: int) -> None:
        self.world = world
        self.role, self.slot = role, slot
        self.chance = world.chance
        self.loop = SimLoop(world.clock, world.chance)
        self.alive, self.asleep = True, 0
        self.app: SimApp | None = None
        self.fault: BaseException | None = None
        self.why = ""
        self.loop.create_task(self._main())

    async def _main(self) -> None:
        make = {"score": apps.score_app, "record": apps.record_app, "learn": apps.learn_app}[self.role]
        while self.role == "learn" and self._stands_by():
            await asyncio.sleep(LOOK_SECONDS)
        try:
            app, _ = make(self.world.config)
        except Exception as error:  # noqa: BLE001 - the command line tells it and ends
            self.crashed(error)
        self.app = app
        await app.run()

    def _stands_by(self) -> bool:
        """Whether another learner works, as far as anybody can see."""
        others = [each for each in self.world.processes if each.role == "learn" and each is not self]
        return any(each.alive and not each.asleep and each.app is not None for each in others)

    @property
    def busy(self) -> bool:
        """Whether it would do something if it were given the processor."""
        return self.alive and not self.asleep and self.loop.busy

    def stop(self) -> None:
        """SIGTERM."""
        if self.app is None or not hasattr(self.app, "working"):
            self.alive = False
        else:
            self.loop.create_task(self.app.stop())

    def crashed(self, error: BaseException) -> NoReturn:
        """A fault that nothing expected."""
        self.fault = error
        self.ends("crashed")

    def ends(self, why: str) -> NoReturn:
        """Nothing of it runs any more."""
        if self.alive:
            self.alive, self.why = False, why
        raise Died(why)
