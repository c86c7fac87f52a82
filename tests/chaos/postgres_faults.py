"""What can happen to PostgreSQL: it dies, moves, refuses, gives up, loses an answer, is full."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from hearsight_core.errors import DatabaseError
from hearsight_core.store.database import CONNECT_TIMEOUT_S, Database
from tests.chaos.databases import settled
from tests.chaos.faults import fault
from tests.chaos.processes import START_S, until
from tests.chaos.world import World

NUMBER = 6
AWAY_S = (1.0, 4.0)
STATEMENT_MS = 200
ANSWERS = 6
ROOM_BYTES = 64 * 1024
"""What a full disk has left: not enough for anything."""

Session = psycopg.Connection[tuple[object, ...]]


@contextmanager
def _session(world: World) -> Iterator[Session]:
    """A session of the driver's own, past the proxy; its statements take as long as they take."""
    database = Database(world.postgres.server.url, pool_size=1, application="chaos")
    try:
        with database.connect() as connection:
            connection.execute("SET statement_timeout = 0")
            yield connection
    finally:
        database.close()


@fault(NUMBER, "kill PostgreSQL", pause_s=(2, 5), spares=True)
def _kill(world: World, _chance: random.Random) -> None:
    world.postgres.process.kill()
    world.postgres.process.await_ready()


@fault(NUMBER, "kill a backend of PostgreSQL", pause_s=(2, 5), spares=True)
def _kill_backend(world: World, chance: random.Random) -> None:
    """PostgreSQL ends all other backends then, and recovers as after a crash."""
    found = world.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'hearsight%'")
    os.kill(int(str(chance.choice(found)["pid"])), signal.SIGKILL)
    settled(lambda: _asked(world), START_S)


def _asked(world: World) -> None:
    with _session(world) as session:
        session.execute("SELECT 1")


@fault(NUMBER, "restart PostgreSQL", pause_s=(2, 5), spares=True)
def _restart(world: World, _chance: random.Random) -> None:
    process = world.postgres.process
    starts = process.starts
    process.signal(process.program.stop_signal)
    until(lambda: process.starts > starts, START_S, lambda: "PostgreSQL does not end")
    process.await_ready()


@fault(NUMBER, "PostgreSQL fails over to another address", spares=True)
def _fail_over(world: World, chance: random.Random) -> None:
    """A synchronous standby takes over; nothing that was committed is lost, every session is."""
    world.postgres.fail_over(lambda: time.sleep(chance.uniform(*AWAY_S)))
    world.moved()


@fault(NUMBER, "PostgreSQL takes no more connections", spares=True)
def _use_up_connections(world: World, chance: random.Random) -> None:
    """Others have taken all of them, those of HearSight too."""
    with ExitStack() as taken:
        deadline = time.monotonic() + chance.uniform(*AWAY_S)
        while time.monotonic() < deadline:
            try:
                session = taken.enter_context(_session(world))
            except DatabaseError:
                world.postgres.proxy.cut()
                time.sleep(0.1)
                continue
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'hearsight%' LIMIT 1"
            )


@fault(NUMBER, "pools used up", spares=True)
def _use_up_pools(world: World, _chance: random.Random) -> None:
    """Each transaction waits for a lock, for longer than the next waits for a connection."""
    with _session(world) as session, session.transaction():
        session.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        time.sleep(CONNECT_TIMEOUT_S + 2)


@fault(NUMBER, "statements time out", spares=True)
def _time_out(world: World, chance: random.Random) -> None:
    """All that change jobs wait for a lock, and are cancelled, time and again."""
    world.postgres.configure("statement_timeout", f"{STATEMENT_MS}ms")
    try:
        deadline = time.monotonic() + chance.uniform(*AWAY_S)
        with _session(world) as session:
            while time.monotonic() < deadline:
                with session.transaction():
                    session.execute("SELECT 1 FROM jobs FOR UPDATE")
                    time.sleep(STATEMENT_MS / 1000 * 2)
                time.sleep(STATEMENT_MS / 1000)
    finally:
        world.postgres.configure("statement_timeout", "0")


@fault(NUMBER, "a commit without an answer", pause_s=(0.2, 1.0), spares=True)
def _lose_answers(world: World, chance: random.Random) -> None:
    """The transaction is done, and whoever asked for it can't know."""
    world.postgres.proxy.lose_answers(chance.randint(1, ANSWERS), after=b"COMMIT")
    time.sleep(chance.uniform(*AWAY_S))


def _no_disk(world: World) -> str | None:
    if world.database_disk is not None:
        return None
    return "it takes the right to mount a small disk"


@fault(NUMBER, "the disk of PostgreSQL is full", pause_s=(2, 5), spares=True, impossible=_no_disk)
def _fill_disk(world: World, chance: random.Random) -> None:
    disk = world.database_disk
    assert disk is not None, "asked for where it is impossible"
    ballast = disk / "ballast"
    try:
        with ballast.open("wb") as file:
            free = os.statvfs(disk)
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - ROOM_BYTES)
        time.sleep(chance.uniform(*AWAY_S))
    finally:
        ballast.unlink(missing_ok=True)
    settled(lambda: _asked(world), START_S)
