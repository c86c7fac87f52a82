"""Crashes in a moment of no length: whoever comes to it is held at a proxy and killed there."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil

from hearsight_core.contract import JobStatus
from tests.chaos.faults import fault
from tests.chaos.jobs import SHORT, Asking
from tests.chaos.processes import Process
from tests.chaos.proxy import Proxy
from tests.chaos.wanted import Wanted
from tests.chaos.world import World

NUMBER = 8
CAUGHT_S = 90.0
AT_ONCE = (0.0, 1.0)
"""There is no need to wait for a good moment: each kind asks for the job that it strikes at."""


class _Moment:
    """What a proxy asks before it passes something on: is it now? Then the asker is killed."""

    def __init__(self, world: World, is_now: Callable[[], bool]) -> None:
        self.caught = threading.Event()
        self._world = world
        self._is_now = is_now
        self._one_at_a_time = threading.Lock()

    def __call__(self, port: int) -> bool:
        with self._one_at_a_time:
            if self.caught.is_set() or not self._is_now():
                return False
            process = _process_at(self._world, port)
            if process is None:
                return False
            process.kill()
            self.caught.set()
            return True


def _process_at(world: World, port: int) -> Process | None:
    """The process of HearSight that has a connection from `port`."""
    for process in world.services:
        try:
            connections = psutil.Process(process.pid).net_connections("tcp4")
        except psutil.Error:
            continue  # it was killed a moment ago
        if any(connection.laddr.port == port for connection in connections):
            return process
    return None


def _strike(
    world: World,
    chance: random.Random,
    proxy: Proxy,
    asks: bytes,
    is_now: Callable[[], bool],
    *,
    upload: bool = False,
) -> None:
    """Asks for a job, and kills who asks `asks` of the store behind `proxy` when `is_now`."""
    medium = chance.choice(SHORT)
    guest = Wanted(world.guest_id(), "struck", medium, frozenset({JobStatus.COMPLETED}))
    world.guests.append(guest)
    asking = Asking(world, guest.job_id)
    moment = _Moment(world, is_now)
    with ThreadPoolExecutor(1) as somebody:
        proxy.hold(asks, moment)
        try:
            if upload:
                asked = somebody.submit(asking.upload, world.media_folder / medium)
            else:
                asked = somebody.submit(asking.submit, world.media.url(f"/plain/{medium}"))
            assert moment.caught.wait(CAUGHT_S), "the moment never came"
        finally:
            proxy.hold(b"", None)
        asked.result()


@fault(NUMBER, "kill between commit and mark", pause_s=AT_ONCE)
def _commit_and_mark(world: World, chance: random.Random) -> None:
    """A task is committed, and who is about to mark it as hinted dies: an API or a worker."""

    def unmarked() -> bool:
        return bool(
            world.rows(
                "SELECT FROM tasks WHERE state = 'waiting' AND hinted_at IS NULL"
                " AND ready_at <= now()"
            )
        )

    _strike(world, chance, world.broker.proxy, b"LLEN", unmarked)


@fault(NUMBER, "kill between mark and hint", pause_s=AT_ONCE)
def _mark_and_hint(world: World, chance: random.Random) -> None:
    """A task is marked as hinted, and its hint never comes to Redis."""
    _strike(world, chance, world.broker.proxy, b"LPUSH", lambda: True)


def _between_object_and_pointer(name: str, step: str, *, upload: bool = False) -> None:
    """An object of which the key has `step` in it is stored, and no row points at it yet."""

    def do(world: World, chance: random.Random) -> None:
        before = _without_pointer(world, step)
        _strike(
            world,
            chance,
            world.postgres.proxy,
            b"COMMIT",
            lambda: bool(_without_pointer(world, step) - before),
            upload=upload,
        )

    fault(NUMBER, name, pause_s=AT_ONCE)(do)


def _without_pointer(world: World, step: str) -> set[str]:
    stored = {found.key for found in world.storage.list("") if step in found.key}
    pointed = world.rows("SELECT media_key AS key FROM jobs UNION SELECT object_key FROM parts")
    return stored - {str(row["key"]) for row in pointed}


_between_object_and_pointer("kill between upload and job", "uploads/", upload=True)
_between_object_and_pointer("kill between media and pointer", "/media/")
_between_object_and_pointer("kill between part and pointer", "/parts/")
