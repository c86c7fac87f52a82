"""A round: twenty jobs, one kind of fault at random moments while they run, then the questions."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from hearsight_core.contract import TERMINAL, JobStatus
from tests.chaos import checks, world
from tests.chaos.checks import Undisturbed
from tests.chaos.faults import Fault
from tests.chaos.jobs import LONG, SHORT, Asking, People, make_media, status_of
from tests.chaos.places import PLAIN, Place
from tests.chaos.watching import Watcher
from tests.chaos.world import World
from tests.servers.media import media_server

WATCHED = 6
WATCHED_S = 60.0
FIRST_ID = 1000
IDS_A_ROUND = 100


@dataclass
class Chaos:
    """A running system and what its recordings give when it is left in peace."""

    world: World
    undisturbed: dict[str, Undisturbed]
    rounds: int = 0
    injected: dict[str, int] = field(default_factory=dict)

    def round(self, faults: Sequence[Fault], times: int, seed: int) -> None:
        """Twenty jobs and `times` injections of `faults` in turn, less if the jobs are done before.

        Raises:
            AssertionError: something was lost, doubled or left behind.
        """
        self.rounds += 1
        self.world.guests.clear()
        chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
        starts = [process.starts for process in self.world.services]
        people = People(self.world, seed, FIRST_ID + self.rounds * IDS_A_ROUND)
        watched = [job for job in people.jobs if job.has_text and "retried" not in job.kind]
        watchers = [Watcher(self.world, job.job_id) for job in chance.sample(watched, WATCHED)]
        try:
            self._struck(people, watchers, faults, times, chance)
        finally:
            for watcher in watchers:
                watcher.give_up()
        checks.one_result(self.world, [*people.jobs, *self.world.guests], self.undisturbed)
        checks.nothing_missed(self.world, watchers)
        self.world.await_ready()
        checks.no_orphans(self.world)
        for fault in faults:
            fault.after(self.world)
        if all(fault.spares for fault in faults):
            checks.none_ended(self.world, starts)

    def _struck(
        self,
        people: People,
        watchers: Sequence[Watcher],
        faults: Sequence[Fault],
        times: int,
        chance: random.Random,
    ) -> None:
        """All that happens in a round, until every job and every watcher has come to its end."""
        for watcher in watchers:
            watcher.start()
        people.start()
        try:
            self._inject(islice(cycle(faults), times), chance, [job.job_id for job in people.jobs])
        finally:
            self.world.heal()
            people.join()
        checks.all_ended(self.world, [*people.jobs, *self.world.guests])
        for watcher in watchers:
            watcher.join(WATCHED_S)

    def _inject(self, faults: Iterable[Fault], chance: random.Random, job_ids: list[int]) -> None:
        for fault in faults:
            time.sleep(chance.uniform(*fault.pause_s))
            if all(status_of(self.world, job_id) in TERMINAL for job_id in job_ids):
                return
            fault.do(self.world, chance)
            self.world.heal()
            self.injected[fault.name] = self.injected.get(fault.name, 0) + 1


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
