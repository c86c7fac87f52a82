"""A worker is known to live by its session with PostgreSQL; where that is hidden, by its leases."""

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from hearsight_core import worker as worker_module
from hearsight_core.broker import HintSender, celery_app
from hearsight_core.contract import Hint
from hearsight_core.dispatcher import Dispatcher
from hearsight_core.errors import DatabaseError
from hearsight_core.lease import Lease
from hearsight_core.progress import News
from hearsight_core.settings import CoreSettings, WorkerSettings
from hearsight_core.store import leases, sessions
from hearsight_core.store.database import Database
from hearsight_core.store.sessions import WorkerSession
from hearsight_core.worker import Worker
from tests.conftest import PostgresServer
from tests.servers import pooler
from tests.store import (
    ASR,
    AT_ONCE,
    DOWNLOAD,
    EN,
    accepted,
    claimed,
    downloading,
    expire,
    rows,
    states,
)

SOON_S = 20


@pytest.fixture
def session(database: Database) -> Iterator[WorkerSession]:
    made = WorkerSession(database)
    yield made
    made.close()


def _signed_on(database: Database, session: WorkerSession, owner: str = "worker") -> int | None:
    lock = session.renewed()
    leases.heartbeat(
        database,
        owner=owner,
        queue=DOWNLOAD,
        slots=1,
        held={},
        lease_s=60,
        session_lock=lock,
    )
    return lock


def _until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _cut(database: Database, lock: int | None) -> None:
    """PostgreSQL ends the session that holds the lock."""
    rows(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_locks"
        " WHERE locktype = 'advisory' AND objid = CAST(:lock AS oid) AND objsubid = 2",
        lock=lock,
    )


def test_a_living_worker_is_not_missed(database: Database, session: WorkerSession) -> None:
    assert _signed_on(database, session) is not None
    assert sessions.without_session(database) == frozenset()


def test_a_worker_is_missed_once_its_session_has_ended(
    database: Database, session: WorkerSession
) -> None:
    _cut(database, _signed_on(database, session))
    _until(lambda: sessions.without_session(database) == {"worker"})


def test_the_lock_of_another_database_s_worker_counts_for_nothing(
    database: Database, session: WorkerSession, postgres_server: PostgresServer
) -> None:
    lock = session.renewed()
    other = Database(postgres_server.url, pool_size=2, application="hearsight-test-other")
    connection = other.connect()
    _cut(database, lock)
    connection.execute("SELECT pg_advisory_lock(%s, %s)", (sessions.LOCK_CLASS, lock))
    leases.heartbeat(
        database,
        owner="worker",
        queue=DOWNLOAD,
        slots=1,
        held={},
        lease_s=60,
        session_lock=lock,
    )
    _until(lambda: sessions.without_session(database) == {"worker"})
    connection.close()
    other.close()


def test_a_lost_session_ends_the_wait_and_is_begun_anew(
    database: Database, session: WorkerSession
) -> None:
    lock = _signed_on(database, session)
    _cut(database, lock)
    session.watch(SOON_S)
    again = _signed_on(database, session)
    assert again not in {None, lock}
    assert sessions.without_session(database) == frozenset()


def test_a_session_that_can_not_be_had_is_told(
    database: Database, session: WorkerSession, postgres_server: PostgresServer, database_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    lock = session.renewed()
    postgres_server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    try:
        _cut(database, lock)
        session.watch(SOON_S)
        with pytest.raises(DatabaseError):
            session.renewed()
        assert session.lost
    finally:
        postgres_server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert session.renewed() is not None
    assert not session.lost


@pytest.fixture
def dispatcher(database: Database, news: News, broker_url: str, redis_url: str) -> Dispatcher:
    settings = CoreSettings(broker_url=broker_url, redis_url=redis_url)
    return Dispatcher(
        database=database,
        hints=HintSender(celery_app(settings), database, settings),
        news=news,
        policy=AT_ONCE,
        language=EN,
        interval_s=0.1,
        queues=[DOWNLOAD, ASR],
    )


def test_the_tasks_of_a_dead_worker_go_back_long_before_their_leases_run_out(
    database: Database, session: WorkerSession, dispatcher: Dispatcher
) -> None:
    made = accepted(database)
    claimed(database, made.task_id, owner="worker", lease_s=3600)
    lock = _signed_on(database, session)
    dispatcher.round()
    _cut(database, lock)

    def taken_back() -> bool:
        dispatcher.round()
        return states(database, made.job.id) == ["waiting"]

    _until(taken_back)
    [task] = rows(database, "SELECT error_code, failures FROM tasks")
    assert task == {"error_code": "worker.lost", "failures": 1}
    assert rows(database, "SELECT id FROM workers") == []


def test_one_look_at_a_worker_without_its_session_is_not_enough(
    database: Database, session: WorkerSession, dispatcher: Dispatcher
) -> None:
    made = accepted(database)
    claimed(database, made.task_id, owner="worker", lease_s=3600)
    _cut(database, _signed_on(database, session))
    _until(lambda: sessions.without_session(database) == {"worker"})
    dispatcher.round()
    _signed_on(database, session)
    time.sleep(1)
    dispatcher.round()
    assert states(database, made.job.id) == ["running"]


def test_a_dead_worker_keeps_its_name_until_its_last_task_is_taken_back(
    database: Database,
) -> None:
    download = downloading(database)
    leases.heartbeat(
        database,
        owner="worker",
        queue=DOWNLOAD,
        slots=1,
        held={download.task.id: download.task.attempt},
        lease_s=60,
    )
    assert leases.strike_off(database, {"worker"}) == []
    expire(database, download.task.id)
    leases.take_back(database, AT_ONCE, EN)
    assert leases.strike_off(database, {"worker", "another"}) == ["worker"]


@pytest.fixture
def worker(database: Database, news: News, broker_url: str, redis_url: str) -> Worker:
    """A worker, not started."""
    settings = WorkerSettings(broker_url=broker_url, redis_url=redis_url, heartbeat_s=600)
    return Worker(
        queue=DOWNLOAD,
        slots=1,
        settings=settings,
        database=database,
        news=news,
        hints=HintSender(celery_app(settings), database, settings),
    )


def test_a_new_worker_is_not_ready_before_the_tasks_of_a_dead_one_are_taken_back(
    database: Database, session: WorkerSession, dispatcher: Dispatcher, worker: Worker
) -> None:
    made = accepted(database)
    claimed(database, made.task_id, owner="worker", lease_s=3600)
    _cut(database, _signed_on(database, session))
    _until(lambda: sessions.without_session(database) == {"worker"})
    dispatcher.start()
    worker.start()
    assert states(database, made.job.id) == ["waiting"]
    worker.close()
    dispatcher.close()


def test_a_new_worker_begins_where_no_dispatcher_takes_back(
    database: Database, session: WorkerSession, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "LET_TAKE_BACK_S", 0.2)
    _cut(database, _signed_on(database, session))
    _until(lambda: sessions.without_session(database) == {"worker"})
    worker.start()
    assert worker.ready() is None
    worker.close()


def test_a_worker_whose_session_is_cut_loses_no_task(
    database: Database, dispatcher: Dispatcher, worker: Worker
) -> None:
    worker.start()
    made = accepted(database)

    def lock() -> int:
        [row] = rows(database, "SELECT session_lock FROM workers")
        return int(str(row["session_lock"]))

    def cut_once() -> None:
        before = lock()
        _cut(database, before)
        _until(lambda: lock() != before)
        dispatcher.round()

    def work(_: Lease) -> None:
        for _time in range(3):
            cut_once()

    worker.run(Hint(task_id=made.task_id, attempt=0), work)
    worker.close()
    assert rows(database, "SELECT failures FROM tasks") == [{"failures": 0}]


def test_behind_a_pooler_that_hides_sessions_a_worker_says_so_and_is_known_by_its_leases(
    database_url: str, database: Database, dispatcher: Dispatcher, capfd: pytest.CaptureFixture[str]
) -> None:
    parts = urlsplit(database_url)
    with pooler.running(parts.port or 5432) as port:
        pooled = Database(
            database_url.replace(f":{parts.port}/", f":{port}/"), pool_size=2, application="pooled"
        )
        session = WorkerSession(pooled)
        made = accepted(database)
        claimed(database, made.task_id, owner="worker", lease_s=3600)
        assert _signed_on(pooled, session) is None
        assert not session.lost
        session.close()
        pooled.close()
    assert "pooler hides" in capfd.readouterr().out
    assert sessions.without_session(database) == frozenset()
    time.sleep(1)
    dispatcher.round()
    assert states(database, made.job.id) == ["running"]
    expire(database, made.task_id)
    dispatcher.round()
    assert states(database, made.job.id) == ["waiting"]
