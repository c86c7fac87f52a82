"""Hints reach the queues, whatever was lost is repaired, and what was deleted goes."""

import json
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from redis import Redis

from hearsight.stack.ports import free_port
from hearsight_core import broker
from hearsight_core.broker import HINTS_AT_LEAST, HintSender, celery_app
from hearsight_core.contract import EVENTS_CHANNEL, JobStatus
from hearsight_core.dispatcher import Dispatcher
from hearsight_core.errors import CorruptError
from hearsight_core.progress import News
from hearsight_core.settings import CoreSettings
from hearsight_core.store import control, leases, outcomes
from hearsight_core.store import hints as hint_store
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import leading
from hearsight_core.telemetry.metrics import (
    DISPATCHER_LEADS,
    JOBS,
    JOBS_FINISHED,
    RETRIES,
    TASK_SLOTS,
    TASKS_IN_WORK,
    TASKS_OLDEST_WAITING_SECONDS,
    TASKS_WAITING,
)
from tests.conftest import PostgresServer
from tests.store import (
    ASR,
    AT_ONCE,
    DOWNLOAD,
    EN,
    accepted,
    claimed,
    cut,
    die_alone,
    downloading,
    expire,
)

Sender = Callable[..., HintSender]
Leader = Callable[..., Dispatcher]


@pytest.fixture
def sender(database: Database, broker_url: str, redis_url: str) -> Sender:
    """Makes senders of hints; what is not said is as it should be."""

    def make(**changes: object) -> HintSender:
        values = {"broker_url": broker_url, "redis_url": redis_url, **changes}
        settings = CoreSettings.model_validate(values)
        return HintSender(celery_app(settings), database, settings)

    return make


@pytest.fixture
def dispatcher(database: Database, news: News, sender: Sender) -> Iterator[Leader]:
    """Makes dispatchers, and ends those that were started."""
    made: list[Dispatcher] = []

    def make() -> Dispatcher:
        made.append(
            Dispatcher(
                database=database,
                hints=sender(),
                news=news,
                policy=AT_ONCE,
                language=EN,
                interval_s=0.05,
                queues=[DOWNLOAD, ASR],
            )
        )
        return made[-1]

    yield make
    for one in made:
        if one.alive():
            one.close()


@pytest.fixture
def queues(broker_url: str) -> Iterator["Queues"]:
    with Redis.from_url(broker_url) as client:
        yield Queues(client)


class Queues:
    """The Celery queues as they lie in Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def messages(self, queue: str) -> list[dict[str, object]]:
        """The messages of a queue, the next one first, without taking them."""
        found = cast("list[bytes]", self._client.lrange(queue, 0, -1))
        return [json.loads(message) for message in reversed(found)]

    def task_ids(self, queue: str) -> list[str]:
        """The tasks that the messages name."""
        return [
            str(cast("dict[str, object]", message["headers"])["id"])
            for message in self.messages(queue)
        ]

    def take(self, queue: str) -> None:
        """A worker takes a message, and dies."""
        assert self._client.rpop(queue) is not None

    def lose(self) -> None:
        """Redis loses everything."""
        self._client.flushall()


def _wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come about within 20 s"
        time.sleep(0.02)


def test_hints_reach_the_queue_of_their_kind_under_the_names_people_know(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    download = accepted(database).task_id
    _, [part] = cut(database, parts=1)
    dispatcher().round()
    assert queues.task_ids(DOWNLOAD) == [download]
    assert queues.task_ids(ASR) == [part]
    [message] = queues.messages(DOWNLOAD)
    assert cast("dict[str, object]", message["headers"])["task"] == "process_job_task"
    assert message["content-type"] == "application/json"


def test_each_pool_s_hints_reach_its_queue_however_it_is_called(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    _, [ordinary] = cut(database, parts=1)
    _, large = cut(database, parts=2, pool="large")
    _, [small] = cut(database, parts=1, pool="0-small")
    dispatcher().round()
    assert queues.task_ids(ASR) == [ordinary]
    assert queues.task_ids("asr.large") == large
    assert queues.task_ids("asr.0-small") == [small]
    [message] = queues.messages("asr.0-small")
    assert cast("dict[str, object]", message["headers"])["task"] == "transcribe_part_task"


def test_a_retried_part_goes_to_its_pool_again(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    job, [part] = cut(database, parts=1, pool="large")
    outcomes.fail(database, claimed(database, part).task, CorruptError(), AT_ONCE, EN)
    control.retry(database, job.id, EN)
    dispatcher().round()
    assert queues.task_ids("asr.large") == [part]


def test_hints_do_not_pile_up_in_a_queue_that_nobody_reads(
    database: Database, sender: Sender, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "RESEND_BEHIND_OTHERS_S", 0.001)
    cut(database, parts=10, pool="large")
    hints = sender(hint_resend_s=0.001)
    for _ in range(5):
        hints.top_up_all()
        time.sleep(0.01)
    assert len(queues.messages("asr.large")) == HINTS_AT_LEAST


def test_what_is_in_flight_is_not_sent_again(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    accepted(database)
    one = dispatcher()
    for _ in range(3):
        one.round()
    assert len(queues.task_ids(DOWNLOAD)) == 1


def test_hints_in_flight_are_bounded_by_the_live_slots(
    database: Database, sender: Sender, queues: Queues
) -> None:
    for _ in range(12):
        accepted(database)
    assert sender().top_up(DOWNLOAD) == HINTS_AT_LEAST
    leases.heartbeat(database, owner="worker", queue=DOWNLOAD, slots=5, held={}, lease_s=60)
    assert sender().top_up(DOWNLOAD) == 10 - HINTS_AT_LEAST
    assert sender().top_up(DOWNLOAD) == 0
    assert len(queues.task_ids(DOWNLOAD)) == 10


def test_a_hint_that_was_lost_with_redis_is_sent_again(
    database: Database, sender: Sender, queues: Queues
) -> None:
    task_id = accepted(database).task_id
    hints = sender(hint_resend_s=0.1)
    assert hints.top_up(DOWNLOAD) == 1
    queues.lose()
    _wait_for(lambda: hints.top_up(DOWNLOAD) == 1)
    assert queues.task_ids(DOWNLOAD) == [task_id]


def test_a_hint_that_lies_in_the_queue_is_not_sent_again(
    database: Database, sender: Sender, queues: Queues
) -> None:
    task_id = accepted(database).task_id
    hints = sender(hint_resend_s=0.001)
    assert hints.top_up(DOWNLOAD) == 1
    time.sleep(0.05)
    assert hints.top_up(DOWNLOAD) == 0
    assert queues.task_ids(DOWNLOAD) == [task_id]


def test_a_newcomer_of_high_priority_goes_before_the_hints_in_flight(
    database: Database, sender: Sender, queues: Queues
) -> None:
    before = [accepted(database).task_id for _ in range(HINTS_AT_LEAST)]
    hints = sender()
    hints.top_up(DOWNLOAD)
    urgent = accepted(database, priority="high").task_id
    assert hints.top_up(DOWNLOAD) == 0
    assert hints.top_up(DOWNLOAD, anew=True) == HINTS_AT_LEAST
    assert queues.task_ids(DOWNLOAD) == [urgent, *before[:-1]]
    queues.take(DOWNLOAD)
    claimed(database, urgent)
    assert hints.top_up(DOWNLOAD) == 1
    assert queues.task_ids(DOWNLOAD) == before


def test_a_recall_gives_no_owner_another_s_turn(
    database: Database, sender: Sender, queues: Queues
) -> None:
    for _ in range(HINTS_AT_LEAST):
        claimed(database, accepted(database, owner="eager").task_id)
    patient = [accepted(database, owner="patient").task_id for _ in range(HINTS_AT_LEAST)]
    hints = sender()
    hints.top_up(DOWNLOAD)
    accepted(database, owner="eager", priority="high")
    hints.top_up(DOWNLOAD, anew=True)
    assert queues.task_ids(DOWNLOAD) == patient


def test_hints_that_were_recalled_and_never_sent_are_sent_in_time(
    database: Database, sender: Sender, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = accepted(database).task_id
    hints = sender(hint_resend_s=0.1)
    hints.top_up(DOWNLOAD)
    with monkeypatch.context() as patched:
        patched.setattr(hint_store, "recall", _end_here)
        with pytest.raises(SystemExit):
            hints.top_up(DOWNLOAD, anew=True)
    assert queues.task_ids(DOWNLOAD) == []
    _wait_for(lambda: hints.top_up(DOWNLOAD) == 1)
    assert queues.task_ids(DOWNLOAD) == [task_id]


def _end_here(*_: object) -> None:
    raise SystemExit


def test_a_lost_hint_is_sent_again_even_if_the_queue_never_empties(
    database: Database, sender: Sender, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "RESEND_BEHIND_OTHERS_S", 0.2)
    lost, lying = accepted(database).task_id, accepted(database).task_id
    hints = sender()
    assert hints.top_up(DOWNLOAD) == 2
    queues.take(DOWNLOAD)
    assert queues.task_ids(DOWNLOAD) == [lying]
    _wait_for(lambda: hints.top_up(DOWNLOAD) > 0)
    assert lost in queues.task_ids(DOWNLOAD)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("away", ["broker_url", "redis_url"])
def test_redis_away_loses_no_job(
    database: Database, sender: Sender, queues: Queues, away: str
) -> None:
    task_id = accepted(database).task_id
    sent = sender(**{away: f"redis://127.0.0.1:{free_port()}/0"}).top_up(DOWNLOAD)
    # The queues need no Redis db for results.
    assert sent == (0 if away == "broker_url" else 1)
    _wait_for(lambda: sent + sender(hint_resend_s=0.1).top_up(DOWNLOAD) == 1)
    assert queues.task_ids(DOWNLOAD) == [task_id]


def test_sending_hints_leaves_nobody_waiting_for_results(
    database: Database, sender: Sender, redis: Redis
) -> None:
    hints = sender()
    for _ in range(4):
        accepted(database)
    assert hints.top_up(DOWNLOAD) == 4
    # The API of other tests may listen for events on the same server.
    assert set(redis.pubsub_channels()) <= {EVENTS_CHANNEL}


def test_an_expired_lease_is_taken_back_told_and_hinted_in_one_round(
    database: Database, dispatcher: Leader, queues: Queues, news: News
) -> None:
    download = downloading(database)
    expire(database, download.task.id)
    dispatcher().round()
    snapshot = news.snapshot(download.job.id)
    assert snapshot is not None
    assert "attempt 2 of 3" in snapshot.message
    assert queues.task_ids(DOWNLOAD) == [download.task.id]


def test_what_is_taken_back_goes_before_the_hints_in_flight(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    _, lost = cut(database, parts=2)
    tasks = [claimed(database, task_id).task for task_id in lost]
    _, others = cut(database, parts=HINTS_AT_LEAST)
    one = dispatcher()
    one.round()
    assert queues.task_ids(ASR) == others
    for task in tasks:
        expire(database, task.id)
    one.round()
    assert queues.task_ids(ASR) == [*lost, *others[: HINTS_AT_LEAST - len(lost)]]


def test_a_task_that_is_taken_back_for_the_last_time_has_no_hint(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    made = accepted(database)
    one = dispatcher()
    for _ in range(AT_ONCE.max_failures):
        queues.lose()
        die_alone(database, claimed(database, made.task_id).task)
        one.round()
    assert queues.task_ids(DOWNLOAD) == []


def test_a_job_that_used_up_its_tries_is_told_as_failed(
    database: Database, dispatcher: Leader, news: News
) -> None:
    made = accepted(database)
    one = dispatcher()
    for _ in range(AT_ONCE.max_failures):
        die_alone(database, claimed(database, made.task_id).task)
        one.round()
    snapshot = news.snapshot(made.job.id)
    assert snapshot is not None
    assert (snapshot.status, snapshot.error_code) == (JobStatus.FAILED, "worker.lost")


def test_of_several_dispatchers_one_works_and_another_takes_over(
    database: Database, dispatcher: Leader, queues: Queues
) -> None:
    first, second = dispatcher(), dispatcher()
    first.start()
    second.start()
    task_id = accepted(database).task_id
    _wait_for(lambda: queues.task_ids(DOWNLOAD) == [task_id])
    first.close()
    another = accepted(database).task_id
    _wait_for(lambda: queues.task_ids(DOWNLOAD) == [task_id, another])
    assert second.alive()


def test_a_dispatcher_outlives_a_round_that_fails(
    database_url: str, dispatcher: Leader, queues: Queues
) -> None:
    one = dispatcher()
    one.start()
    other = Database(database_url, pool_size=2, application="hearsight-test-other")
    with other.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'hearsight-test'"
        )
    task_id = accepted(other).task_id
    _wait_for(lambda: queues.task_ids(DOWNLOAD) == [task_id])
    assert one.alive()
    other.close()


def test_the_leader_alone_tells_how_much_there_is(
    database: Database, database_url: str, dispatcher: Leader
) -> None:
    accepted(database)
    cut(database, parts=2, pool="large")
    leases.heartbeat(database, owner="worker", queue=DOWNLOAD, slots=5, held={}, lease_s=60)
    one = dispatcher()
    one.start()
    expected: dict[str, dict[tuple[str, ...], float]] = {
        "hearsight_jobs": {("pending", "url"): 1, ("processing", "url"): 1},
        "hearsight_tasks_waiting": {(DOWNLOAD,): 1, ("asr.large",): 2},
        "hearsight_tasks_in_work": {},
        "hearsight_task_slots": {(DOWNLOAD,): 5},
        "hearsight_dispatcher_leads": {(): 1},
    }
    _wait_for(lambda: _told() == expected)
    # What there is none of is told as well.
    assert TASKS_WAITING.labels(queue=ASR)._value.get() == 0
    assert TASKS_OLDEST_WAITING_SECONDS.labels(queue=DOWNLOAD)._value.get() > 0
    one.close()
    assert _told() == NOBODY_LEADS
    other = Database(database_url, pool_size=2, application="hearsight-test-other")
    with leading(other) as held:
        assert held is not None
        two = dispatcher()
        two.start()
        time.sleep(0.3)
        assert _told() == NOBODY_LEADS
        [family] = TASKS_WAITING.collect()
        assert family.samples == []
        two.close()
    other.close()


def test_a_leader_that_lost_the_database_tells_nothing_any_more(
    database: Database, database_url: str, dispatcher: Leader, postgres_server: PostgresServer
) -> None:
    accepted(database)
    one = dispatcher()
    one.start()
    _wait_for(lambda: DISPATCHER_LEADS._value.get() == 1)
    name = database_url.rpartition("/")[2]
    postgres_server.run(
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608  a name of our own
    )
    try:
        _wait_for(lambda: _told() == NOBODY_LEADS)
    finally:
        postgres_server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    _wait_for(lambda: DISPATCHER_LEADS._value.get() == 1)


def test_a_lease_that_ran_out_counts_as_a_try_and_in_the_end_as_a_failed_job(
    database: Database, dispatcher: Leader
) -> None:
    made = accepted(database)
    one = dispatcher()
    retries = RETRIES.labels(queue=DOWNLOAD, code="worker.lost")._value
    failed = JOBS_FINISHED.labels(status="failed", code="worker.lost")._value
    before = retries.get(), failed.get()
    for _ in range(AT_ONCE.max_failures):
        die_alone(database, claimed(database, made.task_id).task)
        one.round()
    assert (retries.get(), failed.get()) == (before[0] + 2, before[1] + 1)


NOBODY_LEADS: dict[str, dict[tuple[str, ...], float]] = {
    "hearsight_jobs": {},
    "hearsight_tasks_waiting": {},
    "hearsight_tasks_in_work": {},
    "hearsight_task_slots": {},
    "hearsight_dispatcher_leads": {},
}


def _told() -> dict[str, dict[tuple[str, ...], float]]:
    """What this process says of the whole deployment, by labels; what there is none of left out."""
    return {
        family.name: {
            tuple(sample.labels.values()): sample.value for sample in family.samples if sample.value
        }
        for gauge in (JOBS, TASKS_WAITING, TASKS_IN_WORK, TASK_SLOTS, DISPATCHER_LEADS)
        for family in gauge.collect()
    }
