"""What can happen to Redis: to the broker's db, to the news' db, or to both at once."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from hearsight.stack import ports
from hearsight.stack.ports import HOST
from hearsight_core.broker import celery_app
from hearsight_core.contract import CELERY_TASK_NAME, Hint, kind_of
from hearsight_core.settings import CoreSettings
from tests.chaos.databases import RedisServer
from tests.chaos.faults import fault
from tests.chaos.processes import POLL_S, until
from tests.chaos.world import World

NUMBER = 5
AWAY_S = (1.0, 8.0)
"""How long a trouble lasts that passes; the longer ones outlast every timeout of a client."""
GONE_S = 10.0
COPIES = 10

Change = Callable[[redis.Redis], object]


def _struck(world: World, chance: random.Random) -> list[RedisServer]:
    """The broker's server, that of the news, or both."""
    return chance.choice([[world.broker], [world.news], [world.broker, world.news]])


@contextmanager
def _asked(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(host=HOST, port=server.valkey.port, socket_timeout=10) as client:
        yield client


def _once(name: str, change: Change) -> None:
    """A kind of fault that is over at once."""

    def do(world: World, chance: random.Random) -> None:
        for server in _struck(world, chance):
            with _asked(server) as client:
                change(client)

    fault(NUMBER, name, spares=True)(do)


def _for_a_while(name: str, change: Change, back: Change) -> None:
    """A kind of fault that lasts, and is taken back."""

    def do(world: World, chance: random.Random) -> None:
        struck = _struck(world, chance)
        try:
            for server in struck:
                with _asked(server) as client:
                    change(client)
            time.sleep(chance.uniform(*AWAY_S))
        finally:
            for server in struck:
                with _asked(server) as client:
                    back(client)

    fault(NUMBER, name, spares=True)(do)


_once("Redis ends its connections", lambda client: client.client_kill_filter(skipme=True))
_once("Redis loses its data", lambda client: client.flushall())
_for_a_while(
    "Redis is out of memory",
    lambda client: client.config_set("maxmemory", 1),
    lambda client: client.config_set("maxmemory", 0),
)
_for_a_while(
    "Redis is read-only",
    lambda client: client.replicaof(HOST, str(ports.free_port())),
    lambda client: client.replicaof("NO", "ONE"),
)


@fault(NUMBER, "kill Redis, its file is kept", spares=True)
def _kill(world: World, chance: random.Random) -> None:
    struck = _struck(world, chance)
    for server in struck:
        server.process.kill()
    for server in struck:
        server.process.await_ready()


@fault(NUMBER, "kill Redis, its file is lost", spares=True)
def _kill_and_lose(world: World, chance: random.Random) -> None:
    struck = _struck(world, chance)
    for server in struck:
        process = server.process
        process.wanted = False
        process.kill()
        until(lambda: process.pid is None, GONE_S, lambda: "Valkey stays")  # noqa: B023  at once
        shutil.rmtree(server.valkey.folder)
        server.valkey.prepare()
        process.wanted = True
    for server in struck:
        server.process.await_ready()


@fault(NUMBER, "half-open connections to Redis", spares=True)
def _stall(world: World, chance: random.Random) -> None:
    """Connections stay and are taken, and nothing passes."""
    struck = _struck(world, chance)
    for server in struck:
        server.proxy.stall(on=True)
    time.sleep(chance.uniform(*AWAY_S))
    for server in struck:
        server.proxy.stall(on=False)


@fault(NUMBER, "every hint ten times", spares=True)
def _repeat_hints(world: World, chance: random.Random) -> None:
    """Sends each hint that goes out meanwhile again and again; those of tasks in work, too."""
    broker = world.broker.valkey.url(0)
    news = world.news.valkey.url(1)
    seen: set[tuple[str, int]] = set()
    with celery_app(CoreSettings(broker_url=broker, redis_url=news)) as app:
        deadline = time.monotonic() + chance.uniform(*AWAY_S)
        while time.monotonic() < deadline:
            for row in world.rows(
                "SELECT id, queue, attempt - (state = 'running')::int AS attempt FROM tasks"
                " WHERE state = 'running' OR (state = 'waiting' AND hinted_at IS NOT NULL)"
            ):
                queue = str(row["queue"])
                hint = Hint(task_id=str(row["id"]), attempt=int(str(row["attempt"])))
                if (hint.task_id, hint.attempt) in seen:
                    continue
                seen.add((hint.task_id, hint.attempt))
                for _ in range(COPIES):
                    app.send_task(
                        CELERY_TASK_NAME[kind_of(queue)], kwargs=hint.model_dump(), queue=queue
                    )
            time.sleep(POLL_S)
