"""What is no recording, too large or broken off is refused, and nothing of it stays."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from hearsight_api.routes.uploads import MAX_FIELDS
from tests.servers import api
from tests.servers.api import Api, Served, problem
from tests.servers.forms import (
    BOUNDARY,
    FORM,
    field,
    file,
    form,
    in_blocks,
    jobs_stored,
    post,
    send,
    wav,
)

MIB = 1024 * 1024
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture(autouse=True)
def nothing_stays(served: Served) -> Iterator[None]:
    """Whatever the test does leaves no job, and no file in the storage, not even a part of one."""

    def all_there_is() -> tuple[int, set[Path]]:
        folder = Path(urlsplit(served.env["HEARSIGHT_STORAGE_URL"]).path)
        return jobs_stored(served), {path for path in folder.rglob("*") if path.is_file()}

    before = all_there_is()
    yield
    deadline = time.monotonic() + 5  # files half-written go in the background
    while all_there_is() != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all_there_is() == before


@pytest.fixture(scope="module")
def small(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API beside the other one, on the same stores, that takes a megabyte at most."""
    env = {**served.env, "HEARSIGHT_MAX_UPLOAD_BYTES": str(MIB)}
    with api.running(tmp_path_factory.mktemp("small") / "api.log", env) as server:
        yield server


def connected(server: Api) -> socket.socket:
    """A connection of our own to the API, for requests that no client library would send."""
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port or 0), timeout=10)


def head(length: str) -> bytes:
    """The head of an upload's request."""
    kind = FORM["Content-Type"]
    lines = (
        "POST /api/upload HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        length,
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def answered(raw: socket.socket) -> bytes:
    """The answer as it comes, up to the problem's last member."""
    answer = b""
    while b"request_id" not in answer:
        block = raw.recv(65_536)
        assert block, answer
        answer += block
    return answer


# By what it is


def test_a_page_that_is_named_like_a_recording(http: httpx.Client) -> None:
    answer = send(http, file(HTML, "talk.mp3", "audio/mpeg"))
    assert "file" in problem(answer, 415, "upload.unsupported")
    answer = send(http, file(HTML * 1000, "talk.mp3", "audio/mpeg"))
    assert "file" in problem(answer, 415, "upload.unsupported")


def test_an_empty_file(http: httpx.Client) -> None:
    assert "file" in problem(send(http, file(b"")), 415, "upload.unsupported")


def test_no_file(http: httpx.Client) -> None:
    assert "file" in problem(send(http, field("language", "en")), 422, "request.invalid")


def test_a_file_under_another_name(http: httpx.Client) -> None:
    answer = http.post("/api/upload", files={"audio": ("talk.wav", wav()[:4000])})
    problem(answer, 422, "request.invalid")


def test_two_files(http: httpx.Client) -> None:
    answer = send(http, file(wav()), file(wav()))
    assert "file" in problem(answer, 422, "request.invalid")


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("langauge", "en"),
        ("language", "english"),
        ("job_id", "0"),
        ("job_id", "9" * 5000),
        ("job_id", ""),
        ("word_timestamps", "perhaps"),
        ("hotwords", b"a\0b"),
        ("hotwords", b"\xff"),
        ("hotwords", "x" * 3000),
        ("hotwords", "x" * 20_000),
        ("url", "https://example.org/"),
    ],
)
def test_a_bad_field(http: httpx.Client, name: str, value: str | bytes, *, behind: bool) -> None:
    parts = [field(name, value), file(wav())]
    answer = send(http, *(parts[::-1] if behind else parts))
    assert name in problem(answer, 422, "request.invalid")


@pytest.mark.parametrize("behind", [False, True])
def test_a_pool_that_does_not_exist(http: httpx.Client, *, behind: bool) -> None:
    parts = [field("pool", "huge"), file(wav())]
    answer = send(http, *(parts[::-1] if behind else parts))
    assert "default" in problem(answer, 422, "request.unknown_pool")["pool"]


def test_a_field_given_twice(http: httpx.Client) -> None:
    answer = send(http, field("task", "translate"), field("task", "translate"), file(wav()))
    assert "task" in problem(answer, 422, "request.invalid")


def test_more_fields_than_there_are(http: httpx.Client) -> None:
    many = [field(f"field{number}", "x") for number in range(MAX_FIELDS + 1)]
    assert "body" in problem(send(http, file(wav()), *many), 422, "request.invalid")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "audio/wav", ""])
def test_a_body_that_is_no_form(http: httpx.Client, kind: str) -> None:
    answer = http.post("/api/upload", content=wav(), headers={"Content-Type": kind})
    assert "content-type" in problem(answer, 422, "request.invalid")


@pytest.mark.parametrize(
    "body", [b"", b"no form at all", f"--{BOUNDARY}--".encode(), file(b"RIFF")[2:]]
)
def test_a_form_that_is_not_whole(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/api/upload", content=body, headers=FORM)
    assert problem(answer, 422, "request.invalid").keys() & {"body", "file"}


def test_bad_fields_are_refused_before_the_file_is_there(served: Served) -> None:
    with connected(served.api) as raw:
        begun = (field("langauge", "en") + file(wav()[:100])).removeprefix(b"\r\n")
        raw.sendall(head("Content-Length: 1000000") + begun)
        answer = answered(raw)
    assert answer.startswith(b"HTTP/1.1 422 ")
    assert b"langauge" in answer


# By how much it is


def test_an_upload_announced_as_too_large_is_refused_unread(small: Api) -> None:
    with connected(small) as raw:
        raw.sendall(head("Content-Length: 999999999999"))
        answer = answered(raw)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"upload.too_large" in answer


def test_an_upload_too_large_is_refused_however_it_comes(small: Api) -> None:
    content = wav() + bytes(2 * MIB)
    body = form(file(content))
    with small.client() as http:
        for answer in (post(http, body), post(http, in_blocks(body, 64 * 1024))):
            said = problem(answer, 413, "upload.too_large")
            assert str(MIB) in said["detail"]
            assert "file" in said


def test_an_upload_of_the_very_limit_is_taken_and_one_byte_more_is_not(small: Api) -> None:
    content = wav().ljust(MIB, b"\0")
    with small.client() as http:
        taken = send(http, file(content))
        assert taken.status_code == 202, taken.text
        problem(send(http, file(content + b"\0")), 413, "upload.too_large")
        http.delete(taken.headers["Location"])


@pytest.mark.parametrize("start", [b"", form(file(b"RIFF\0\0\0\0WAVEfmt "))])
def test_a_body_that_never_ends_is_refused(small: Api, start: bytes) -> None:
    def body() -> Iterator[bytes]:
        yield start
        for _ in range(4 * MIB // 65_536):
            yield b"." * 65_536

    with small.client() as http:
        problem(post(http, body()), 413, "upload.too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_broken_off_is_no_fault_of_ours(small: Api, *, chunked: bool) -> None:
    ended = uploads_ended(small)
    begun = file(wav().ljust(MIB // 2, b"\0")).removeprefix(b"\r\n")
    with connected(small) as raw:
        if chunked:
            raw.sendall(head("Transfer-Encoding: chunked") + f"{len(begun):x}\r\n".encode() + begun)
        else:
            raw.sendall(head(f"Content-Length: {MIB}") + begun)
    while uploads_ended(small) == ended:
        time.sleep(0.02)
    assert "Traceback" not in small.log.read_text()


def uploads_ended(server: Api) -> float:
    lines = server.metrics().splitlines()
    name = "hearsight_http_request_seconds_count"
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(name) and 'route="/api/upload"' in line
    )


def test_a_store_that_fails_leaves_no_job(served: Served, tmp_path: Path) -> None:
    media = tmp_path / "media"
    env = {**served.env, "HEARSIGHT_STORAGE_URL": media.as_uri()}
    with api.running(tmp_path / "api.log", env) as server, server.client() as http:
        media.rmdir()
        media.write_text("a file where the folder should be")
        answer = send(http, file(wav()))
        problem(answer, 503, "storage.object_store")
        assert answer.headers["Retry-After"]
