"""The parts of a simulator, shared by DAP, the object store and the control interface."""

import asyncio
from pathlib import Path

from local.simulator.service.limits import RateLimits, Statistics
from local.simulator.service.tokens import Credentials, Signer, Tokens
from local.simulator.settings import Settings
from local.simulator.state.jobs import Jobs
from local.simulator.state.world import World


class Simulation:
    """The parts. `lock` is held by whoever changes a table or needs one that does not change.

    :raises StateError: the state directory cannot be used.
    """

    def __init__(
        self, world: World, directory: Path, credentials: Credentials, settings: Settings, limits: RateLimits
    ) -> None:
        self.world = world
        self.credentials = credentials
        self.settings = settings
        self.limits = limits
        self.statistics = Statistics()
        self.faults = world.faults
        self.tokens = Tokens(world.secret)
        self.signer = Signer(world.secret)
        self.jobs = Jobs(world, settings, directory)
        self.lock = asyncio.Lock()
        world.replay(self.jobs.replay)

    async def keep_clean(self, every_seconds: float = 20.0) -> None:
        """Keep removing what has expired."""
        while True:
            self.jobs.expire()
            await asyncio.sleep(every_seconds)
