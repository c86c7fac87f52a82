"""The recording is handed out as it is, whole or in ranges, and never runs as a page of ours."""

import random

import httpx
import pytest

from hearsight_core.contract import RecognitionOptions
from hearsight_core.store.submission import Submission, Upload, accept
from hearsight_core.store.work import Media, set_media
from tests.servers.api import Served, problem
from tests.store import EN, accepted, downloading

CONTENT = random.Random(7).randbytes(9 * 1024 * 1024 + 7)  # noqa: S311  a test's content
"""More than one block of the store."""
SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def path(served: Served) -> str:
    served.storage.put_bytes("uploads/recording", CONTENT)
    upload = Upload(
        key="uploads/recording",
        filename='\u8bb2\u5ea7 "1"; a=b.webm',
        size_bytes=SIZE,
        media_type="video/webm",
        sha256="0" * 64,
    )
    wanted = Submission(url=None, upload=upload, options=RecognitionOptions(), priority="normal")
    return f"/api/jobs/{accept(served.database, wanted, EN).job.id}/media"


def test_a_recording_comes_whole(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "video/webm"
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=4194303-4194304", 4_194_303, 4_194_305),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=1000000-", 1_000_000, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-5000000", SIZE - 5_000_000, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes=100-{SIZE * 2}", 100, SIZE),
    ],
)
def test_a_range_comes_alone(
    http: httpx.Client, path: str, asked: str, start: int, end: int
) -> None:
    answer = http.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(http: httpx.Client, path: str, asked: str) -> None:
    answer = http.get(path, headers={"Range": asked})
    problem(answer, 416, "http.range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=5-1", "bytes=-", "seconds=1-2", f"bytes={'9' * 5000}-"]
)
def test_what_is_no_single_range_means_the_whole(http: httpx.Client, path: str, asked: str) -> None:
    with http.stream("GET", path, headers={"Range": asked}) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Length"] == str(SIZE)


def test_a_recording_never_runs_as_a_page(http: httpx.Client, path: str) -> None:
    headers = http.get(path, headers={"Range": "bytes=0-0"}).headers
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == (
        "inline; filename*=UTF-8''%E8%AE%B2%E5%BA%A7%20%221%22%3B%20a%3Db.webm"
    )


def test_a_download_is_handed_out_as_soon_as_it_is_stored(
    served: Served, http: httpx.Client
) -> None:
    claim = downloading(served.database)
    path = f"/api/jobs/{claim.job.id}/media"
    problem(http.get(path), 409, "job.state")
    key = f"jobs/{claim.job.id}/media"
    served.storage.put_bytes(key, b"fetched")
    media = Media(key=key, filename="talk", size_bytes=7, media_type=None)
    set_media(served.database, claim.task, media, "stored")
    answer = http.get(path)
    assert answer.content == b"fetched"
    assert answer.headers["Content-Type"] == "application/octet-stream"


def test_a_recording_that_is_not_there_yet_is_said_to_be_so(
    served: Served, http: httpx.Client
) -> None:
    job_id = accepted(served.database).job.id
    said = problem(http.get(f"/api/jobs/{job_id}/media"), 409, "job.state")
    assert str(job_id) in said["detail"]


def test_a_recording_that_the_store_lost_is_our_fault(served: Served, http: httpx.Client) -> None:
    claim = downloading(served.database)
    media = Media(key="jobs/lost", filename="talk", size_bytes=7, media_type="audio/mpeg")
    set_media(served.database, claim.task, media, "stored")
    problem(http.get(f"/api/jobs/{claim.job.id}/media"), 503, "storage.object_store")
