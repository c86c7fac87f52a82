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
from hearsight.stack.postgres import Postgres
from hearsight.stack.program import Program
from hearsight.stack.valkey import Valkey
from hearsight_core.errors import DatabaseError
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import migrate
from hearsight_core.store.database import Database
from tests.chaos.places import PLAIN, Objects, Place
from tests.chaos.processes import Keeper, Process
from tests.chaos.proxy import Proxy
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
    "HEARSIGHT_HINT_RESEND_S": "1",
    "HEARSIGHT_ORPHAN_AGE_S": "20",
    "HEARSIGHT_SWEEP_INTERVAL_S": "2",
    "HEARSIGHT_PART_TARGET_S": "30",
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
    postgres: Postgres
    valkey: Valkey
    media: MediaServer
    postgres_proxy: Proxy
    broker_proxy: Proxy
    news_proxy: Proxy
    environment: dict[str, str]
    database: Database
    storage: ObjectStorage
    objects: Objects
    servers: dict[str, Process] = field(default_factory=dict)
    apis: list[Process] = field(default_factory=list)
    downloads: list[Process] = field(default_factory=list)
    asrs: list[Process] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
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

    def guest_id(self) -> int:
        """A number for a job that a fault asks for."""
        self.guests_ever += 1
        return FIRST_GUEST + self.guests_ever

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
        for process in [*self.servers.values(), *self.services]:
            process.await_ready()

    def heal(self) -> None:
        """Takes every fault back that lasts."""
        for process in self.services:
            process.signal(signal.SIGCONT)
        for proxy in (self.postgres_proxy, self.broker_proxy, self.news_proxy):
            proxy.refuse(on=False)
            proxy.stall(on=False)
            proxy.delay(0)
            proxy.lose_answers(0)
        self.objects.heal()

    def words(self) -> str:
        """The last words of all, for a failing run."""
        return "\n".join(
            f"--- {process.name} (pid {process.pid}, ended with {process.codes})\n"
            f"{process.last_words()}"
            for process in [*self.services, *self.servers.values()]
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
        keeper = stack.enter_context(Keeper(home))
        postgres = Postgres(home, ports.free_port())
        postgres.prepare()
        valkey = Valkey(home, ports.free_port())
        valkey.prepare()
        servers = {p.name: keeper.keep(p) for p in (postgres.program(), valkey.program())}
        for server in servers.values():
            server.await_ready()
        postgres.create_database()
        migrate.upgrade(postgres.url)
        proxies = [
            stack.enter_context(Proxy(port)) for port in (postgres.port, valkey.port, valkey.port)
        ]
        objects = stack.enter_context(place.objects(home))
        environment = {
            "HEARSIGHT_HOST": HOST,
            "HEARSIGHT_METRICS_HOST": HOST,
            "HEARSIGHT_DATABASE_URL": postgres.url.replace(
                f":{postgres.port}/", f":{proxies[0].port}/"
            ),
            "HEARSIGHT_BROKER_URL": f"redis://{HOST}:{proxies[1].port}/0",
            "HEARSIGHT_REDIS_URL": f"redis://{HOST}:{proxies[2].port}/1",
            **objects.environment,
            "HEARSIGHT_SCRATCH_DIR": str(home / "scratch"),
            "HEARSIGHT_DOWNLOAD_ALLOW_HOSTS": media.authority,
            "HEARSIGHT_DATABASE_POOL_SIZE": "6",
            "PYTHONDONTWRITEBYTECODE": "1",
            **settings,
            **place.settings,
        }
        database = Database(postgres.url, pool_size=8, application="chaos")
        stack.callback(database.close)
        world = World(
            home=home,
            keeper=keeper,
            postgres=postgres,
            valkey=valkey,
            media=media,
            postgres_proxy=proxies[0],
            broker_proxy=proxies[1],
            news_proxy=proxies[2],
            environment=environment,
            database=database,
            storage=objects.opened(),
            objects=objects,
            servers=servers,
        )
        _start_services(world, place)
        world.await_ready()
        yield world


def _start_services(world: World, place: Place) -> None:
    def start(name: str, module: str, setting: str) -> Process:
        port = ports.free_port()
        if setting == "HEARSIGHT_PORT":
            world.urls.append(f"http://{HOST}:{port}")
        return world.keeper.keep(
            _python(name, module, port, world.environment, **{setting: str(port)})
        )

    metrics = "HEARSIGHT_METRICS_PORT"
    for number in range(APIS):
        world.apis.append(start(f"api-{number}", "hearsight_api", "HEARSIGHT_PORT"))
    for number in range(WORKERS):
        world.downloads.append(start(f"download-{number}", "hearsight_download_worker", metrics))
        world.asrs.append(start(f"asr-{number}", place.asr_module, metrics))
        world.asrs[-1].memory_mib = place.asr_memory_mib
