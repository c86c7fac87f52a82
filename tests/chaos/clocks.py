"""Clocks that are an hour off: each worker has a wall clock of its own, and this sets it.

A small library (clock.c) stands between the worker and the C library: whatever the worker asks for
the time, Python, the object store's client or the engine, is told the shifted one. The clock that
only ever goes on (`CLOCK_MONOTONIC`) and the times that the kernel gives files are not touched.
"""

import random
import signal
import time

from tests.chaos.faults import fault
from tests.chaos.processes import START_S, Process, until
from tests.chaos.world import World

NUMBER = 10
HOUR_S = 3600
OFF_S = (3.0, 8.0)
"""How long a clock is off: work is begun and ended meanwhile, and leases are renewed."""


def _no_library(world: World) -> str | None:
    return None if world.clocks else "it takes a C compiler"


def _set(world: World, worker: Process, off_s: int) -> None:
    world.clocks[worker.name].set(off_s)


@fault(NUMBER, "a worker's clock jumps an hour", spares=True, impossible=_no_library)
def _jump(world: World, chance: random.Random) -> None:
    """Forward or back, in the middle of its work, and back again."""
    worker = chance.choice(world.workers)
    _set(world, worker, chance.choice([HOUR_S, -HOUR_S]))
    time.sleep(chance.uniform(*OFF_S))
    _set(world, worker, 0)


@fault(NUMBER, "a worker begins with its clock an hour off", impossible=_no_library)
def _begin(world: World, chance: random.Random) -> None:
    worker = chance.choice(world.workers)
    starts = worker.starts
    _set(world, worker, chance.choice([HOUR_S, -HOUR_S]))
    worker.signal(signal.SIGTERM)
    until(lambda: worker.starts > starts, START_S, lambda: f"{worker.name} does not end")
    worker.await_ready()
    time.sleep(chance.uniform(*OFF_S))
    _set(world, worker, 0)
