"""News is the newest or none; Redis may be away, work goes on."""

import json
import threading
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.client import PubSub

from hearsight.stack.ports import free_port
from hearsight_core.contract import (
    EVENTS_CHANNEL,
    NEWS_TTL_S,
    JobStatus,
    ProgressData,
    Stage,
    progress_key,
)
from hearsight_core.errors import RedisUnavailableError
from hearsight_core.progress import Event, News
from hearsight_core.store.rows import StoredSegment
from hearsight_core.telemetry.metrics import NEWS_LOST
from tests.store import said


def _progress(version: int, message: str = "") -> ProgressData:
    return ProgressData(
        job_id=7,
        status=JobStatus.PROCESSING,
        stage=Stage.DOWNLOAD,
        message=message,
        version=version,
    )


@pytest.fixture
def watcher(redis: Redis) -> Iterator[PubSub]:
    """Someone who listens to the channel of events."""
    listening = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listening.subscribe(EVENTS_CHANNEL)
    while listening.get_message(timeout=5) is not None:
        pass  # the confirmation
    yield listening
    listening.close()


def _heard(watcher: PubSub) -> list[Event]:
    events: list[Event] = []
    while message := watcher.get_message(timeout=0.2):
        events.append(Event.model_validate_json(message["data"]))
    return events


def test_what_is_published_can_be_read(news: News) -> None:
    assert news.snapshot(7) is None
    news.publish(_progress(1, "正在下载"))
    assert news.snapshot(7) == _progress(1, "正在下载")


def test_the_snapshot_lies_where_scripts_look_for_it(news: News, redis: Redis) -> None:
    news.publish(_progress(1))
    assert json.loads(str(redis.get("task_progress:7")))["status"] == "processing"
    assert redis.ttl("task_progress:7") in range(NEWS_TTL_S - 60, NEWS_TTL_S + 1)


def test_what_is_older_never_replaces_what_is_newer(news: News, watcher: PubSub) -> None:
    news.publish(_progress(5, "newer"))
    news.publish(_progress(4, "older"))
    snapshot = news.snapshot(7)
    assert snapshot is not None
    assert snapshot.message == "newer"
    assert [event.progress.message for event in _heard(watcher)] == ["newer"]


def test_several_news_of_one_version_replace_each_other(news: News) -> None:
    for message in ("10 %", "20 %"):
        news.publish(_progress(5, message))
    snapshot = news.snapshot(7)
    assert snapshot is not None
    assert snapshot.message == "20 %"


def test_publishers_at_the_same_time_leave_the_newest(news: News) -> None:
    threads = [
        threading.Thread(target=news.publish, args=(_progress(version),)) for version in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = news.snapshot(7)
    assert snapshot is not None
    assert snapshot.version == 29


def test_watchers_hear_of_a_change_with_its_segments(news: News, watcher: PubSub) -> None:
    stored = tuple(
        StoredSegment(seq=11 + place, part_index=0, segment=segment)
        for place, segment in enumerate(said("hello", "world"))
    )
    news.publish(_progress(12), segments_after=10, segments=stored)
    [event] = _heard(watcher)
    assert event.segments_after == 10
    assert [(one.seq, one.segment.text) for one in event.segments] == [(11, "hello"), (12, "world")]


def test_a_change_without_segments_follows_the_version_before(news: News, watcher: PubSub) -> None:
    news.publish(_progress(12))
    [event] = _heard(watcher)
    assert (event.segments_after, event.segments) == (11, [])


def test_the_largest_job_id_and_a_long_life_are_no_trouble(news: News, redis: Redis) -> None:
    job_id = 2**63 - 1
    news.publish(ProgressData(job_id=job_id, status=JobStatus.PENDING, version=2**40), ttl_s=60)
    found = news.snapshot(job_id)
    assert found is not None
    assert (found.job_id, found.version) == (job_id, 2**40)
    assert redis.ttl(progress_key(job_id)) in range(1, 61)


def test_a_deleted_job_is_forgotten(news: News) -> None:
    news.publish(_progress(1))
    news.forget(7)
    assert news.snapshot(7) is None


def test_news_goes_on_after_redis_lost_its_scripts(news: News, redis: Redis) -> None:
    news.publish(_progress(1))
    redis.script_flush()
    news.publish(_progress(2))
    snapshot = news.snapshot(7)
    assert snapshot is not None
    assert snapshot.version == 2


def test_news_goes_on_after_redis_cut_the_connections(news: News, redis: Redis) -> None:
    news.publish(_progress(1))
    redis.client_kill_filter(_type="normal", skipme=True)
    news.publish(_progress(2))
    snapshot = news.snapshot(7)
    assert snapshot is not None
    assert snapshot.version == 2
    news.ping()


@pytest.mark.timeout(20)
def test_redis_away_loses_news_and_nothing_else() -> None:
    away = News(f"redis://127.0.0.1:{free_port()}/1")
    before = NEWS_LOST._value.get()
    away.publish(_progress(1))
    assert NEWS_LOST._value.get() == before + 1
    assert away.snapshot(7) is None
    away.forget(7)
    with pytest.raises(RedisUnavailableError):
        away.ping()
    away.close()


def test_redis_that_takes_no_writes_loses_news_and_nothing_else(news: News, redis: Redis) -> None:
    redis.set(progress_key(7), "no json at all")
    news.publish(_progress(1))
    redis.delete(progress_key(7))
    news.publish(_progress(1))
    assert news.snapshot(7) is not None


def test_a_snapshot_that_cannot_be_read_counts_as_none(news: News, redis: Redis) -> None:
    redis.set(progress_key(7), "rubbish")
    assert news.snapshot(7) is None
