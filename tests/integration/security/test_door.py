"""There is one way in, however a request spells where it goes."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.servers import keyed
from tests.servers.api import Api, Served

END = b"Connection: close\r\n\r\n"


def answers(api: Api, request: bytes) -> list[int]:
    """The statuses of the answers to these bytes, until the server closes."""
    place = urlsplit(api.url)
    received = b""
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(request)
        while block := connection.recv(65_536):
            received += block
    heads = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return [int(head.split(b" ")[1]) for head in heads]


@pytest.mark.parametrize(
    "path",
    [
        *("//api/jobs", "/API/jobs", "/./api/jobs", "/x/../api/jobs", "/%61pi/jobs", "/api%2Fjobs"),
        *("/api;x/jobs", "/api/jobs/", "/\\api/jobs", "/docs/../api/jobs", "/%2e%2e/api/jobs"),
        *("/api/jobs%00", "/api/jobs?x#y", "http://a.example/api/jobs", "/api/../api/jobs"),
    ],
)
def test_no_spelling_of_a_path_leads_round_the_door(locked: Served, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: a.example\r\n".encode()
    assert answers(locked.api, head + END) in ([401], [404])


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PROPFIND", "CONNECT", "FOO"])
def test_no_method_leads_round_the_door(locked: Served, method: str) -> None:
    head = f"{method} /api/jobs HTTP/1.1\r\nHost: a.example\r\n".encode()
    assert answers(locked.api, head + END) in ([401], [400])


@pytest.mark.parametrize(
    "lengths",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: +5\r\n",
    ],
)
def test_no_request_hides_in_another(locked: Served, lengths: bytes) -> None:
    """Where one reader sees one request and another two, the second comes with nobody's consent."""
    token = keyed.made(locked.database, "alice")
    head = b"POST /api/tasks/process HTTP/1.1\r\nHost: x\r\n" + lengths
    key = f"Authorization: Bearer {token}\r\n\r\n".encode()
    hidden = b"0\r\n\r\nGET /api/jobs HTTP/1.1\r\nHost: x\r\n" + END
    assert answers(locked.api, head + key + hidden) == [400]
