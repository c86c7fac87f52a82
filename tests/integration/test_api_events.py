"""Whoever watches a job is told everything, in order, once, whatever breaks meanwhile."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from httpx_sse import ServerSentEvent, connect_sse
from redis import Redis

from hearsight_core.contract import EVENTS_CHANNEL, ProgressData
from hearsight_core.errors import CorruptError
from hearsight_core.jobs import progress_of
from hearsight_core.store import control, outcomes
from tests.servers.api import Api, Served, problem
from tests.servers.recogniser import Recogniser
from tests.store import AT_ONCE, EN, accepted, downloading, said

SOON_S = 10.0
"""Less than a watcher waits before it looks into the database by itself (15 s)."""


def path(job_id: int) -> str:
    return f"/api/progress/task/{job_id}/events"


@contextmanager
def watching(
    server: Api, job_id: int, *, after: int | str | None = None, patience_s: float = SOON_S
) -> Iterator[Iterator[ServerSentEvent]]:
    """The events of a job, as a browser reads them."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with (
        httpx.Client(base_url=server.url, timeout=patience_s, trust_env=False) as client,
        connect_sse(client, "GET", path(job_id), headers=headers) as source,
    ):
        assert source.response.status_code == 200
        yield source.iter_sse()


def segments_of(events: Iterator[ServerSentEvent], *, last: int | None = None) -> list[int]:
    """The numbers of the segments told, up to the one numbered `last`, or to the end."""
    numbers: list[int] = []
    for event in events:
        if event.event == "segment":
            numbers.append(json.loads(event.data)["seq"])
            assert event.id == str(numbers[-1])
            if numbers[-1] == last:
                break
    return numbers


def redis_of(served: Served) -> Redis:
    return Redis.from_url(served.redis_url, decode_responses=True)


def subscriptions(redis: Redis) -> int:
    return len(redis.client_list(_type="pubsub"))


# The order of things


def test_everything_is_told_in_order_and_once(served: Served) -> None:
    worker = Recogniser(served)
    told = worker.say("before", "anyone watched")
    with watching(served.api, worker.job_id) as events:
        kinds = [next(events).event for _ in range(3)]
        assert kinds == ["segment", "segment", "progress"]
        told += worker.say("one", "two") + worker.say() + worker.say("three")
        worker.finish()
        rest = list(events)
    assert [event.event for event in rest] == [
        *("segment", "segment", "progress", "progress", "segment", "progress", "end")
    ]
    numbers = [int(event.id) for event in rest]
    assert numbers == sorted(numbers)
    texts = [json.loads(event.data)["text"] for event in rest if event.event == "segment"]
    assert texts == ["one", "two", "three"]
    with watching(served.api, worker.job_id) as events:
        assert segments_of(events) == told


def test_an_event_holds_what_the_snapshot_holds(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    with watching(served.api, worker.job_id) as events:
        next(events)
        worker.say()
        told = ProgressData.model_validate_json(next(events).data)
    assert told == progress_of(worker.job)
    assert told.model_dump(mode="json") == http.get(path(worker.job_id)[:-7]).json()


def test_progress_within_a_version_is_told_too(served: Served) -> None:
    claim = downloading(served.database)
    standing = progress_of(claim.job)
    with watching(served.api, claim.job.id) as events:
        next(events)
        for current in (1000, 2000):
            served.news.publish(standing.model_copy(update={"current_bytes": current}))
        seen = [json.loads(next(events).data)["current_bytes"] for _ in range(2)]
    assert seen == [1000, 2000]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_stream_ends_with_the_job(served: Served, status: str) -> None:
    if status == "completed":
        worker = Recogniser(served)
        job_id = worker.job_id
        worker.finish()
    else:
        claim = downloading(served.database)
        job_id = claim.job.id
        if status == "failed":
            outcomes.fail(served.database, claim.task, CorruptError(), AT_ONCE, EN)
        else:
            control.cancel(served.database, job_id, EN)
            outcomes.let_go(served.database, claim.task, EN)
    with watching(served.api, job_id) as events:
        [end] = events
    assert end.event == "end"
    assert json.loads(end.data)["status"] == status


def test_more_than_a_page_is_replayed_whole(served: Served) -> None:
    worker = Recogniser(served)
    told = [number for _ in range(3) for number in worker.say(*map(str, range(700)))]
    worker.finish()
    with watching(served.api, worker.job_id) as events:
        assert segments_of(events) == told


# Coming back


def test_who_comes_back_is_told_just_the_rest(served: Served) -> None:
    worker = Recogniser(served)
    told = worker.say("one", "two", "three") + worker.say("four", "five")
    worker.finish()
    for place, number in enumerate(told):
        with watching(served.api, worker.job_id, after=number) as events:
            assert segments_of(events) == told[place + 1 :]


def test_who_has_seen_the_end_has_nothing_to_come_back_for(
    served: Served, http: httpx.Client
) -> None:
    worker = Recogniser(served)
    with watching(served.api, worker.job_id) as events:
        next(events)
        worker.finish()
        *_, end = events
    answer = http.get(path(worker.job_id), headers={"Last-Event-ID": end.id})
    assert (answer.status_code, answer.content) == (204, b"")


def test_who_has_seen_the_end_is_told_of_a_retry(served: Served, http: httpx.Client) -> None:
    job_id = accepted(served.database).job.id
    http.post(f"/api/jobs/{job_id}/cancel")
    with watching(served.api, job_id) as events:
        [end] = events
    http.post(f"/api/jobs/{job_id}/retry")
    with watching(served.api, job_id, after=end.id) as events:
        assert json.loads(next(events).data)["status"] == "pending"


@pytest.mark.parametrize("after", ["", "x", "-1", "1.5", "9" * 5000, str(2**63), "1000000"])
def test_an_id_that_is_none_of_the_jobs_replays_everything(served: Served, after: str) -> None:
    worker = Recogniser(served)
    told = worker.say("one", "two")
    worker.finish()
    with watching(served.api, worker.job_id, after=after) as events:
        assert segments_of(events) == told


# What breaks meanwhile


def test_news_that_is_lost_is_made_good_by_the_next(served: Served) -> None:
    worker = Recogniser(served)
    with watching(served.api, worker.job_id) as events:
        next(events)
        lost = [stored.seq for stored in worker.store(*said("lost", "too")).segments]
        told = worker.say("heard")
        assert segments_of(events, last=told[-1]) == lost + told


def test_a_broken_subscription_costs_no_segment(served: Served) -> None:
    worker = Recogniser(served)
    with redis_of(served) as redis, watching(served.api, worker.job_id) as events:
        next(events)
        told = worker.say("before")
        redis.client_kill_filter(_type="pubsub", skipme=False)
        told += [stored.seq for stored in worker.store(*said("told to nobody")).segments]
        assert segments_of(events, last=told[-1]) == told
        told = worker.say("after")
        assert segments_of(events, last=told[-1]) == told


@pytest.mark.parametrize("rubbish", [b"\xff\xfe", b"", b"{}", b"[1, 2", b'{"progress": null}'])
def test_rubbish_on_the_channel_silences_nobody(served: Served, rubbish: bytes) -> None:
    worker = Recogniser(served)
    with redis_of(served) as redis, watching(served.api, worker.job_id) as events:
        next(events)
        redis.publish(EVENTS_CHANNEL, rubbish)
        told = worker.say("still heard")
        assert segments_of(events, last=told[-1]) == told


def test_a_slow_reader_is_told_everything_in_the_end(served: Served) -> None:
    chunks, size = 200, 50_000  # beyond what the kernel and the backlog hold
    worker = Recogniser(served, chunks=chunks)
    address = urlsplit(served.api.url)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((address.hostname, address.port))
        raw.sendall(f"GET {path(worker.job_id)} HTTP/1.0\r\n\r\n".encode())
        told = [number for _ in range(chunks) for number in worker.say("x" * size)]
        worker.finish()
        with raw.makefile("rb") as stream:
            ids = [line for line in stream if line.startswith(b"id: ")]
    numbers = [int(line.removeprefix(b"id: ")) for line in ids]
    assert numbers == sorted(numbers)
    assert set(numbers) >= set(told)


def test_a_deleted_job_ends_its_streams(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    with watching(served.api, worker.job_id) as events:
        next(events)
        http.delete(f"/api/jobs/{worker.job_id}")
        assert "end" not in [event.event for event in events]
    problem(http.get(path(worker.job_id)), 404, "job.not_found")


# What it costs


def test_many_watchers_share_one_subscription(served: Served) -> None:
    worker = Recogniser(served)
    with redis_of(served) as redis, ExitStack() as stack:
        readers = [stack.enter_context(watching(served.api, worker.job_id)) for _ in range(20)]
        for events in readers:
            next(events)
        assert "hearsight_event_watchers 20.0" in served.api.metrics()
        assert subscriptions(redis) == 1
        told = worker.say("to all of you")
        assert [segments_of(events, last=told[-1]) for events in readers] == [told] * 20


def test_who_leaves_is_forgotten(served: Served) -> None:
    worker = Recogniser(served)
    with watching(served.api, worker.job_id) as events:
        next(events)
    while "hearsight_event_watchers 0.0" not in served.api.metrics():
        time.sleep(0.02)


def test_silence_is_broken_by_a_comment_and_nothing_is_told_twice(
    served: Served, http: httpx.Client
) -> None:
    job_id = accepted(served.database).job.id
    with http.stream("GET", path(job_id)) as response:
        lines = response.iter_lines()
        told = []
        while not (line := next(lines)).startswith(":"):
            told.append(line)
    assert [line for line in told if line.startswith("event: ")] == ["event: progress"]


def test_a_stream_is_kept_by_no_cache_and_no_proxy(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    worker.finish()
    headers = http.get(path(worker.job_id)).headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Accel-Buffering"] == "no"


def test_a_job_that_is_not_there_has_no_events(http: httpx.Client) -> None:
    problem(http.get(path(49_998)), 404, "job.not_found")
