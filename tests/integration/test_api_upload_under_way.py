"""While an upload is under way it takes no memory, and its progress is told."""

import threading
import time
from collections.abc import Iterator
from itertools import count

import httpx
import psutil
import pytest
from redis import Redis

from hearsight_core.store import listing
from tests.servers.api import Served
from tests.servers.forms import (
    END,
    field,
    file,
    post,
    send,
    wav,
)
from tests.store import claimed

MIB = 1024 * 1024

_NUMBERS = count(31_001)


@pytest.fixture
def job_id() -> int:
    return next(_NUMBERS)


def test_an_upload_is_never_held_in_memory(served: Served, http: httpx.Client) -> None:
    size = 200 * MIB
    block = bytes(MIB)
    process = psutil.Process(served.api.process.pid)
    send(http, file(wav()))  # what the first upload loads stays
    before = process.memory_info().rss
    peak = before

    def body() -> Iterator[bytes]:
        nonlocal peak
        yield file(b"")[2:]
        for content in (wav()[:44], *([block] * (size // MIB))):
            peak = max(peak, process.memory_info().rss)
            yield content
        yield END

    answer = post(http, body())
    peak = max(peak, process.memory_info().rss)
    assert answer.status_code == 202, answer.text
    assert peak - before < 64 * MIB
    key = listing.get(served.database, answer.json()["job_id"]).media_key
    assert key is not None
    assert served.storage.size(key) == size + 44
    assert http.delete(answer.headers["Location"]).status_code == 204


def slowly(job_id: int, seen: threading.Event) -> Iterator[bytes]:
    """An upload that holds in the middle of its file until `seen` is set."""
    yield field("job_id", str(job_id))[2:] + file(wav()[:10_000])
    seen.wait(20)
    yield wav()[10_000:]
    yield END


def test_an_upload_under_way_is_shown_under_the_id_its_client_chose(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    seen = threading.Event()
    answers: list[httpx.Response] = []

    def upload() -> None:
        with served.api.client() as client:
            answers.append(post(client, slowly(job_id, seen)))

    sender = threading.Thread(target=upload)
    sender.start()
    try:
        while (shown := http.get(f"/api/progress/task/{job_id}")).status_code == 404:
            assert sender.is_alive(), answers
            time.sleep(0.02)
    finally:
        seen.set()
        sender.join()
    told = shown.json()
    assert (told["status"], told["stage"]) == ("pending", "upload_processing")
    assert told["progress_percent"] == 10
    assert told["filename"] == "talk.wav"
    assert 0 < told["current_bytes"] <= 10_000
    assert answers[0].status_code == 202
    assert http.get(f"/api/progress/task/{job_id}").json()["stage"] == "upload"


def test_an_upload_under_way_never_hides_a_job_that_has_its_id(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    taken = send(http, field("job_id", str(job_id)), file(wav())).json()
    claimed(served.database, taken["task_id"])
    with Redis.from_url(served.redis_url) as redis:
        redis.flushdb()
        seen = threading.Event()
        with served.api.client() as client:
            sender = threading.Thread(target=lambda: post(client, slowly(job_id, seen)).read())
            sender.start()
            try:
                while not redis.exists(f"task_progress:{job_id}"):
                    assert sender.is_alive()
                    time.sleep(0.02)
                shown = http.get(f"/api/progress/task/{job_id}").json()
            finally:
                seen.set()
                sender.join()
    assert (shown["status"], shown["stage"]) == ("processing", "upload")
