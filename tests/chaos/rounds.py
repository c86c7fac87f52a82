"""A round: twenty jobs run, one kind of fault strikes time and again, then come the questions."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from hearsight_core.contract import JobStatus
from tests.chaos import checks, world
from tests.chaos.checks import Undisturbed
from tests.chaos.faults import Fault, Missed
from tests.chaos.jobs import LONG, SHORT, Asking, make_media
from tests.chaos.people import People
from tests.chaos.places import PLAIN, Place
from tests.chaos.world import World
from tests.servers.media import media_server

RUN_AT_LEAST = 20
FIRST_ID = 1000
IDS_A_ROUND = 1000
TRIES = 10
"""How often it is tried to strike at something that is not there, such as a child in work."""


@dataclass
class Chaos:
    """A running system and what its recordings give when it is left in peace."""

    world: World
    undisturbed: dict[str, Undisturbed]
    rounds: int = 0
    jobs: int = 0
    """Of all rounds."""
    injected: dict[str, int] = field(default_factory=dict)

    def round(
        self, faults: Sequence[Fault], times: int, seed: int, *, at_least: int = RUN_AT_LEAST
    ) -> None:
        """`times` injections of `faults` in turn, each while `at_least` so many jobs run.

        Raises:
            AssertionError: something was lost, doubled or left behind.
        """
        self.rounds += 1
        self.world.guests.clear()
        starts = [process.starts for process in self.world.services]
        people = People(self.world, seed, FIRST_ID + self.rounds * IDS_A_ROUND, at_least)
        try:
            self._struck(people, islice(cycle(faults), times), seed)
        finally:
            people.go()
        jobs = [*people.jobs, *self.world.guests]
        self.jobs += len(jobs)
        checks.one_result(self.world, jobs, self.undisturbed)
        checks.nothing_missed(self.world, people.watchers)
        self.world.await_ready()
        checks.no_orphans(self.world)
        for fault in faults:
            fault.after(self.world)
        if all(fault.spares for fault in faults):
            checks.none_ended(self.world, starts)
        for job in jobs:
            Asking(self.world, job.job_id).delete()

    def _struck(self, people: People, faults: Iterable[Fault], seed: int) -> None:
        """All that happens in a round, until every job and every watcher has come to its end."""
        chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
        people.start()
        try:
            for fault in faults:
                self._inject(fault, people, chance)
        finally:
            self.world.heal()
            people.enough()
        checks.all_ended(self.world, [*people.jobs, *self.world.guests])
        people.see_the_end()

    def _inject(self, fault: Fault, people: People, chance: random.Random) -> None:
        for _ in range(TRIES):
            time.sleep(chance.uniform(*fault.pause_s))
            people.await_crowd()
            try:
                fault.do(self.world, chance)
            except Missed:
                continue
            finally:
                self.world.heal()
            self.injected[fault.name] = self.injected.get(fault.name, 0) + 1
            return
        raise AssertionError(f"{fault.name}: nothing to strike at, {TRIES} times")


@contextmanager
def chaos(place: Place = PLAIN) -> Iterator[Chaos]:
    """A system in `place` that has transcribed every recording once, undisturbed.

    Its folder is not pytest's: as root, PostgreSQL runs as another user, which has to get in.
    """
    with TemporaryDirectory(prefix="hearsight-chaos-") as folder:
        home = Path(folder)
        served = home / "served"
        served.mkdir()
        make_media(served)
        place.media(served)
        with media_server(served) as media, world.running(home, media, place=place) as up:
            yield Chaos(up, dict(_left_in_peace(up)))


def _left_in_peace(up: World) -> Iterator[tuple[str, Undisturbed]]:
    names = [*SHORT, *LONG]
    for number, name in enumerate(names, start=1):
        Asking(up, number).submit(up.media.url(f"/plain/{name}"))
    for number, name in enumerate(names, start=1):
        assert Asking(up, number).outcome() is JobStatus.COMPLETED, up.words()
        yield name, checks.recognised(up, number)
