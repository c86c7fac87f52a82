"""The whole system under the driver's hands: stores, proxies before them, API and workers."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hearsight.stack import ports
from hearsight.stack.plan import answers_well
from hearsight.stack.ports import HOST
from hearsight.stack.program import Program
from hearsight_core.errors import DatabaseError
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import migrate
from hearsight_core.store.database import Database
from tests.chaos.databases import MovingPostgres, RedisServer, small_disk
from tests.chaos.places import PLAIN, Objects, Place
from tests.chaos.processes import Keeper, Process
from tests.chaos.proxy import Proxy
from tests.chaos.wall_clock import WallClock, library
from tests.chaos.wanted import Wanted
from tests.servers.media import MediaServer
from tests.store import rows

ROOT = Path(__file__).parents[2]
APIS = 2
WORKERS = 2
AWAY_S = 90.0
AGAIN_S = 0.2
FIRST_GUEST = 900_000

QUICK: Mapping[str, str] = {
    "HEARSIGHT_LEASE_S": "6",
    "HEARSIGHT_HEARTBEAT_S": "1",
    "HEARSIGHT_RETRY_BACKOFF_S": "0.2",
    "HEARSIGHT_RETRY_BACKOFF_MAX_S": "2",
    "HEARSIGHT_MAX_FAILURES": "8",
    # What is away for 4 s can cost three tries at such pauses, thirteen times in a round.
    "HEARSIGHT_MAX_STORE_FAILURES": "40",
    "HEARSIGHT_HINT_RESEND_S": "1",
    "HEARSIGHT_ORPHAN_AGE_S": "20",
    "HEARSIGHT_SWEEP_INTERVAL_S": "2",
    "HEARSIGHT_PART_TARGET_S": "30",
    # Parts of one length, however many workers are idle: texts are compared with another run's.
    "HEARSIGHT_PART_SHORTEST_S": "30",
    "HEARSIGHT_SOCKET_TIMEOUT_S": "5",
    "HEARSIGHT_BEAM_SIZE": "1",
    "HEARSIGHT_ASR_STREAMS": "1",
}
"""Short times, so that a fault and its repair fit into a round; many tries, since every round hits
the same job more often than a year in production would."""


@dataclass
class World:
    """Everything that runs, and the ways to hurt it.

    `database` and `storage` are the driver's own way in, beside the proxies.
    """

    home: Path
    keeper: Keeper
    postgres: MovingPostgres
    broker: RedisServer
    news: RedisServer
    database_disk: Path | None
    """The small disk that PostgreSQL lives on; None: nothing can be mounted here."""
    media: MediaServer
    environment: dict[str, str]
    database: Database
    storage: ObjectStorage
    objects: Objects
    apis: list[Process] = field(default_factory=list)
    downloads: list[Process] = field(default_factory=list)
    asrs: list[Process] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    probes: dict[str, str] = field(default_factory=dict)
    """Where each process tells of its health, and its metrics."""
    clocks: dict[str, WallClock] = field(default_factory=dict)
    """The workers' wall clocks; none where no library can be built."""
    uploads: list[httpx.URL] = field(default_factory=list)
    """Where somebody sends a file at this moment: the APIs' addresses."""
    guests: list[Wanted] = field(default_factory=list)
    """Jobs of this round that faults have asked for."""
    guests_ever: int = 0

    @property
    def media_folder(self) -> Path:
        """What the media server serves."""
        return self.home / "served"

    @property
    def workers(self) -> list[Process]:
        """All workers."""
        return [*self.downloads, *self.asrs]

    @property
    def services(self) -> list[Process]:
        """What HearSight itself is."""
        return [*self.apis, *self.workers]

    @property
    def servers(self) -> list[Process]:
        """What the stores are."""
        return [self.postgres.process, self.broker.process, self.news.process]

    def guest_id(self) -> int:
        """A number for a job that a fault asks for."""
        self.guests_ever += 1
        return FIRST_GUEST + self.guests_ever

    def moved(self) -> None:
        """Looks for the database where it is now."""
        left = self.database
        self.database = own_way(self.postgres)
        left.close()

    def close(self) -> None:
        """Closes the driver's own way to the database."""
        self.database.close()

    def rows(self, query: str, **values: object) -> list[dict[str, object]]:
        """What the database holds, asked past the proxies; waits while PostgreSQL is away."""
        deadline = time.monotonic() + AWAY_S
        while True:
            try:
                return rows(self.database, query, **values)
            except DatabaseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_S)

    def client(self, number: int = 0) -> httpx.Client:
        """A client of one API."""
        return httpx.Client(
            base_url=self.urls[number % len(self.urls)], timeout=15, trust_env=False
        )

    def await_ready(self) -> None:
        """Waits until all that should run does its work."""
        for process in [*self.servers, *self.services]:
            process.await_ready()

    def heal(self) -> None:
        """Takes every fault back that lasts."""
        for process in self.services:
            process.signal(signal.SIGCONT)
        for proxy in (self.postgres.proxy, self.broker.proxy, self.news.proxy):
            proxy.refuse(on=False)
            proxy.stall(on=False)
            proxy.delay(0)
            proxy.lose_answers(0)
        self.objects.heal()
        for clock in self.clocks.values():
            clock.set(0)

    def words(self) -> str:
        """The last words of all, for a failing run."""
        return "\n".join(
            f"--- {process.name} (pid {process.pid}, ended with {process.codes})\n"
            f"{process.last_words()}"
            for process in [*self.services, *self.servers]
        )


def _python(
    name: str, module: str, port: int, environment: Mapping[str, str], **own: str
) -> Program:
    url = f"http://{HOST}:{port}/readyz"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARSIGHT_")}
    # For the workers that are part of the tests.
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return Program(
        name=name,
        argv=(sys.executable, "-P", "-m", module),
        ready=lambda: answers_well(url),
        environment={**kept, **environment, **own},
    )


def own_way(postgres: MovingPostgres) -> Database:
    """The driver's own way to the database, beside the proxies."""
    return Database(postgres.server.url, pool_size=8, application="chaos")


@contextmanager
def running(
    home: Path,
    media: MediaServer,
    *,
    place: Place = PLAIN,
    settings: Mapping[str, str] = QUICK,
) -> Iterator[World]:
    """The system, up and ready, in `home` for the length of the block."""
    with ExitStack() as stack:
        # Before there is anything behind them, so that all addresses are known.
        proxies = [stack.enter_context(Proxy(ports.free_port())) for _ in range(4)]
        disk = home / "database"
        small = stack.enter_context(small_disk(disk))
        keeper = stack.enter_context(Keeper(home))
        postgres = MovingPostgres(disk, keeper, (proxies[0], proxies[1]))
        migrate.upgrade(postgres.server.url)
        broker = RedisServer.start("broker", home, keeper, proxies[2])
        news = RedisServer.start("news", home, keeper, proxies[3])
        objects = stack.enter_context(place.objects(home))
        environment = {
            "HEARSIGHT_HOST": HOST,
            "HEARSIGHT_METRICS_HOST": HOST,
            "HEARSIGHT_DATABASE_URL": postgres.url(),
            "HEARSIGHT_BROKER_URL": f"redis://{HOST}:{broker.proxy.port}/0",
            "HEARSIGHT_REDIS_URL": f"redis://{HOST}:{news.proxy.port}/1",
            **objects.environment,
            "HEARSIGHT_SCRATCH_DIR": str(home / "scratch"),
            "HEARSIGHT_DOWNLOAD_ALLOW_HOSTS": media.authority,
            "HEARSIGHT_DATABASE_POOL_SIZE": "6",
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
            **place.settings,
        }
        world = World(
            home=home,
            keeper=keeper,
            postgres=postgres,
            broker=broker,
            news=news,
            database_disk=disk if small else None,
            media=media,
            environment=environment,
            database=own_way(postgres),
            storage=objects.opened(),
            objects=objects,
        )
        stack.callback(world.close)
        _start_services(world, place)
        world.await_ready()
        yield world


def _start_services(world: World, place: Place) -> None:
    clock_library = library(world.home)

    def start(name: str, module: str, **own: str) -> Process:
        port = ports.free_port()
        world.probes[name] = f"http://{HOST}:{port}"
        program = _python(
            name, module, port, world.environment, HEARSIGHT_METRICS_PORT=str(port), **own
        )
        return world.keeper.keep(program)

    def start_api(name: str) -> Process:
        port = ports.free_port()
        world.urls.append(f"http://{HOST}:{port}")
        return start(name, "hearsight_api", HEARSIGHT_PORT=str(port))

    def start_worker(name: str, module: str) -> Process:
        own: Mapping[str, str] = {}
        if clock_library is not None:
            clock = world.clocks[name] = WallClock(world.home / f"{name}.clock")
            clock.set(0)
            own = clock.environment(clock_library)
        return start(name, module, **own)

    world.apis += [start_api(f"api-{number}") for number in range(APIS)]
    for number in range(WORKERS):
        world.downloads.append(start_worker(f"download-{number}", "hearsight_download_worker"))
        world.asrs.append(start_worker(f"asr-{number}", place.asr_module))
        world.asrs[-1].memory_mib = place.asr_memory_mib
