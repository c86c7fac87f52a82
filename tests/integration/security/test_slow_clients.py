"""Clients that are slow on purpose, or never end, hold nothing for long."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from hearsight_api.body import SILENCE_S
from hearsight_api.connections import HEADERS_BYTES, HEADERS_S, READ_S
from tests.servers import api
from tests.servers.api import Api, Served
from tests.servers.forms import BOUNDARY, file, objects, wav
from tests.servers.recogniser import Recogniser

SLACK_S = 15
"""A loaded machine may be so much later."""


@contextmanager
def connected(server: Api, *, receive_bytes: int | None = None) -> Iterator[socket.socket]:
    """A bare connection to the API."""
    address = urlsplit(server.url)
    with socket.socket() as raw:
        if receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.settimeout(120)
        raw.connect((address.hostname, address.port))
        yield raw


def ended(raw: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    said = b""
    try:
        while block := raw.recv(65_536):
            said += block
    except ConnectionResetError:
        pass
    return said


def cut_off(raw: socket.socket, piece: bytes, *, pause_s: float = 0, until: float) -> bool:
    """Sends `piece` again and again; whether the other side ends that in time."""
    try:
        while time.monotonic() < until:
            raw.sendall(piece)
            time.sleep(pause_s)
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def answered(raw: socket.socket, drop: bytes, *, until: float) -> bytes:
    """Sends a drop twice a second until the answer comes, and reads that to its end."""
    raw.settimeout(0.5)
    while time.monotonic() < until:
        raw.sendall(drop)
        try:
            said = raw.recv(65_536)
        except TimeoutError:
            continue
        raw.settimeout(30)
        return said + ended(raw)
    return b""


@pytest.mark.parametrize("begun", [b"", b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: "])
def test_a_head_that_is_not_finished_is_not_waited_for(served: Served, begun: bytes) -> None:
    with connected(served.api) as raw:
        began = time.monotonic()
        raw.sendall(begun)
        ended(raw)
        assert time.monotonic() - began < HEADERS_S + SLACK_S


def test_a_head_in_drops_is_not_waited_for(served: Served) -> None:
    with connected(served.api) as raw:
        began = time.monotonic()
        raw.sendall(b"GET /api/jobs HTTP/1.1\r\n")
        assert cut_off(raw, b"X-A: b\r\n", pause_s=0.5, until=began + HEADERS_S + SLACK_S)


def test_a_head_without_end_is_refused(served: Served) -> None:
    process = psutil.Process(served.api.process.pid)
    before = process.memory_info().rss
    with connected(served.api) as raw:
        raw.sendall(b"GET /api/jobs HTTP/1.1\r\n")
        line = b"X-A: " + b"b" * HEADERS_BYTES + b"\r\n"
        assert cut_off(raw, line, until=time.monotonic() + SLACK_S)
    assert process.memory_info().rss - before < 32 * 1024 * 1024


def test_a_body_that_comes_in_drops_is_not_waited_for(served: Served) -> None:
    with connected(served.api) as raw:
        began = time.monotonic()
        raw.sendall(
            b"POST /api/tasks/process HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        said = answered(raw, b" ", until=began + SILENCE_S + SLACK_S)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"http.too_slow" in said


def test_an_upload_in_drops_is_ended_and_leaves_nothing(served: Served) -> None:
    before = objects(served.storage)
    with connected(served.api) as raw:
        began = time.monotonic()
        head = (
            "POST /api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        raw.sendall(head.encode() + file(wav()[:30_000])[2:])
        said = answered(raw, b"x", until=began + SILENCE_S + SLACK_S)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert objects(served.storage) == before


def test_who_goes_on_sending_after_the_answer_is_cut_off(served: Served) -> None:
    with connected(served.api) as raw:
        raw.sendall(
            b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
        )
        began = time.monotonic()
        assert cut_off(raw, b"x" * 1000, pause_s=0.01, until=began + HEADERS_S + SLACK_S)


def test_the_rest_of_a_body_that_was_answered_early_is_not_taken_for_a_head(
    served: Served,
) -> None:
    size = 5 * HEADERS_BYTES
    head = f"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    with connected(served.api) as raw:
        raw.sendall(head.encode())
        assert raw.recv(65_536).startswith(b"HTTP/1.1 404 ")
        for _ in range(5):
            raw.sendall(b"x" * HEADERS_BYTES)
            time.sleep(0.05)
        raw.sendall(b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = ended(raw)
    assert said.count(b"HTTP/1.1 ") == 1, said
    assert b"HTTP/1.1 200 " in said


def test_who_does_not_read_is_cut_off(served: Served, tmp_path: Path) -> None:
    """A transcript of many megabytes, asked for and never read, is not kept for its reader."""
    worker = Recogniser(served, chunks=200)
    for _ in range(200):
        worker.say("x" * 100_000)
    with api.running(tmp_path / "api.log", served.env) as server:
        process = psutil.Process(server.process.pid)
        with connected(server, receive_bytes=4096) as raw:
            path = f"/api/jobs/{worker.job_id}/transcript"
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            until = time.monotonic() + READ_S + SLACK_S
            while not process.net_connections("tcp") or any(
                found.raddr and found.raddr.port == raw.getsockname()[1]
                for found in process.net_connections("tcp")
            ):
                assert time.monotonic() < until
                time.sleep(0.5)
