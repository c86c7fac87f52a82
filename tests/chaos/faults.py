"""Every fault by name: what is done to the system, once, and taken back before the next."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from tests.chaos.places import PLAIN, Place
from tests.chaos.processes import START_S, Process, until
from tests.chaos.world import World

AIM_S = 15.0
"""How long to wait for somebody in the wanted moment."""
LOOK_S = 0.004

Do = Callable[[World, random.Random], None]


class Missed(Exception):  # noqa: N818  nothing went wrong
    """There was nothing to strike at: it does not count."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault; `pause_s` is the time between two of its injections, from and to.

    `place` is where it can be done, `after` looks at the system when the jobs have ended.
    Processes of HearSight have to live through it if `spares` says so. `impossible` tells why it
    can't be done on this machine.
    """

    number: int
    name: str
    do: Do
    pause_s: tuple[float, float] = (0.5, 3.0)
    place: Place = PLAIN
    after: Callable[[World], None] = lambda _: None
    spares: bool = False
    impossible: Callable[[World], str | None] = lambda _: None


FAULTS: dict[str, Fault] = {}


def fault(
    number: int,
    name: str,
    *,
    pause_s: tuple[float, float] = (0.5, 3.0),
    place: Place = PLAIN,
    after: Callable[[World], None] = lambda _: None,
    spares: bool = False,
    impossible: Callable[[World], str | None] = lambda _: None,
) -> Callable[[Do], Do]:
    """Enters a function into the list, under the number of its kind."""

    def enter(do: Do) -> Do:
        FAULTS[name] = Fault(number, name, do, pause_s, place, after, spares, impossible)
        return do

    return enter


def process_of(world: World, owner: object) -> Process | None:
    """The process that calls itself so in the database (`host:pid:random`)."""
    pid = int(str(owner).split(":")[1])
    return next((worker for worker in world.workers if worker.pid == pid), None)


def _busy(world: World, where: str) -> list[Process]:
    """The workers with a running task of which `where` holds."""
    found = world.rows(
        "SELECT DISTINCT tasks.owner FROM tasks JOIN jobs ON jobs.id = tasks.job_id"  # noqa: S608  ours
        " LEFT JOIN parts ON parts.job_id = tasks.job_id AND parts.part_index = tasks.part_index"
        f" WHERE state = 'running' AND {where}",
    )
    owners = [process_of(world, row["owner"]) for row in found]
    return [process for process in owners if process is not None]


def _aimed(chance: random.Random, looked_for: Callable[[], Sequence[Process]]) -> Process:
    """One of those that are in the wanted moment, as soon as there are any.

    Raises:
        Missed: there was none.
    """
    deadline = time.monotonic() + AIM_S
    while time.monotonic() < deadline:
        caught = looked_for()
        if caught:
            return chance.choice(caught)
        time.sleep(LOOK_S)
    raise Missed


def _struck_dead(process: Process) -> None:
    if process.kill() is None:
        raise Missed


def _kills(name: str, where: str) -> None:
    def kill(world: World, chance: random.Random) -> None:
        _struck_dead(_aimed(chance, lambda: _busy(world, where)))

    fault(1, name)(kill)


_kills("kill while downloading", "kind = 'download' AND media_key IS NULL")
_kills(
    "kill between download and hand-off",
    "kind = 'download' AND media_key IS NOT NULL AND jobs.speech_ms = 0",
)
_kills("kill while cutting", "kind = 'download' AND jobs.speech_ms > 0 AND NOT cut_done")
_kills("kill in recognition", "kind = 'transcribe' AND chunks_done = 0")
_kills("kill between segments", "kind = 'transcribe' AND chunks_done > 0")
_kills("kill while finishing", "kind = 'transcribe' AND chunks_done = jsonb_array_length(chunks)")


@fault(1, "kill while writing segments")
def _kill_writing(world: World, chance: random.Random) -> None:
    """Waits for a chunk to be stored, and kills whoever is about to store the next."""

    def stored() -> object:
        return world.rows("SELECT sum(chunks_done) AS done FROM parts")

    before = stored()

    def writing() -> Sequence[Process]:
        return _busy(world, "kind = 'transcribe'") if stored() != before else ()

    _struck_dead(_aimed(chance, writing))


@fault(1, "kill an idle worker")
def _kill_idle(world: World, chance: random.Random) -> None:
    _struck_dead(_aimed(chance, lambda: _idle(world)))


def _idle(world: World) -> list[Process]:
    """The workers that are up and have nothing to do."""
    busy = _busy(world, "true")
    return [one for one in world.workers if one not in busy and one.program.ready()]


@fault(1, "kill a decoder child")
def _kill_decoder(world: World, chance: random.Random) -> None:
    deadline = time.monotonic() + AIM_S
    while time.monotonic() < deadline:
        children = [child for worker in world.downloads for child in worker.children()]
        if children:
            try:
                os.kill(chance.choice(children), signal.SIGKILL)
            except ProcessLookupError:
                continue  # it was done before we came
            return
        time.sleep(LOOK_S)
    raise Missed


@fault(1, "kill an API")
def _kill_api(world: World, chance: random.Random) -> None:
    _struck_dead(chance.choice(world.apis))


@fault(1, "kill an API that takes an upload")
def _kill_api_in_upload(world: World, chance: random.Random) -> None:
    def taking() -> Sequence[Process]:
        return [
            api
            for api, url in zip(world.apis, world.urls, strict=True)
            if httpx.URL(url) in world.uploads and api.program.ready()
        ]

    _struck_dead(_aimed(chance, taking))


@fault(1, "kill the dispatcher's owner")
def _kill_leader(world: World, chance: random.Random) -> None:
    _struck_dead(_aimed(chance, lambda: _leaders(world)))


def _leaders(world: World) -> list[Process]:
    """The API that dispatches, as its metrics tell; none at the moment: an empty list."""
    found = []
    for process in world.apis:
        try:
            told = httpx.get(f"{world.probes[process.name]}/metrics", timeout=2, trust_env=False)
        except httpx.TransportError:
            continue
        if "hearsight_dispatcher_leads 1.0" in told.text:
            found.append(process)
    return found


@fault(1, "kill every worker")
def _kill_workers(world: World, _chance: random.Random) -> None:
    for process in world.workers:
        process.kill()


@fault(1, "kill everything", pause_s=(4, 8))
def _kill_everything(world: World, _chance: random.Random) -> None:
    for process in (*world.services, *world.servers):
        process.kill()
    for server in world.servers:
        server.await_ready()


@fault(2, "stop a worker beyond its lease", pause_s=(1, 2))
def _stop_beyond_lease(world: World, chance: random.Random) -> None:
    worker = _aimed(chance, lambda: _busy(world, "true"))
    worker.signal(signal.SIGSTOP)
    time.sleep(float(world.environment["HEARSIGHT_LEASE_S"]) + 3)
    worker.signal(signal.SIGCONT)


@fault(3, "take a hint and die")
def _take_hint_and_die(world: World, chance: random.Random) -> None:
    """A stopped worker still waits at Redis; what Redis gives it is gone with it."""
    worker = _aimed(chance, lambda: _idle(world))
    worker.signal(signal.SIGSTOP)
    time.sleep(chance.uniform(0.3, 1.5))
    _struck_dead(worker)


@fault(4, "end a worker, kill it in its grace")
def _term_and_kill(world: World, chance: random.Random) -> None:
    worker = _aimed(chance, lambda: _busy(world, "true"))
    worker.signal(signal.SIGTERM)
    time.sleep(chance.uniform(0, 1.5))
    worker.kill()


@fault(4, "rolling restart", pause_s=(0.1, 0.5))
def _rolling_restart(world: World, chance: random.Random) -> None:
    worker = chance.choice(world.workers)
    starts = worker.starts
    if worker.signal(signal.SIGTERM) is None:
        raise Missed
    until(lambda: worker.starts > starts, START_S, lambda: f"{worker.name} does not end")
    worker.await_ready()
