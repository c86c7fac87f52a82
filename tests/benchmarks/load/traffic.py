"""Requests by the thousand: a client that costs the machine as little as possible.

Each connection sends its next request when the answer to the last is there. It reads what the API
answers to these requests, a head with a Content-Length and a body, and nothing else of HTTP.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

_LENGTH = b"\r\ncontent-length:"


@dataclass
class Heard:
    """What came back."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers of success a second."""
        good = sum(count for status, count in self.statuses.items() if 200 <= status < 300)
        return good / self.seconds

    def wait_ms(self, share: float) -> float:
        """The time within which this share of the answers came."""
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


def request(method: str, path: str, *, headers: Sequence[str] = (), body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def place_of(url: str) -> tuple[str, int]:
    """Host and port."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


class _Connection(asyncio.Protocol):
    def __init__(self, heard: Heard, following: Callable[[], bytes | None], *, keep: bool) -> None:
        self._heard = heard
        self._following = following
        self._keep = keep
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        following = self._following()
        if following is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(_LENGTH) + len(_LENGTH)
        length = int(head[at:].partition(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        heard = self._heard
        heard.statuses[int(self._buffer[9:12])] += 1
        heard.waits_s.append(time.perf_counter() - self._sent)
        if self._keep:
            heard.bodies.append(self._buffer[end + 4 :])
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the API closed the connection"))


def send(
    urls: Sequence[str],
    following: Callable[[], bytes | None],
    *,
    connections: int,
    keep: bool = False,
) -> Heard:
    """Sends requests over `connections`, spread over `urls`, until `following` has no more.

    Raises:
        ConnectionError: an API broke a connection off.
    """

    async def run() -> Heard:
        loop = asyncio.get_running_loop()
        heard = Heard()
        began = time.perf_counter()
        places = [place_of(urls[n % len(urls)]) for n in range(connections)]
        opened = await asyncio.gather(
            *(
                loop.create_connection(lambda: _Connection(heard, following, keep=keep), *place)
                for place in places
            )
        )
        await asyncio.gather(*(connection.done for _, connection in opened))
        heard.seconds = time.perf_counter() - began
        return heard

    return uvloop.run(run())


def for_seconds(seconds: float, make: Callable[[int], bytes]) -> Callable[[], bytes | None]:
    """Requests `make(0)`, `make(1)`, ... until that time has passed since the first."""
    state = {"number": 0, "until": 0.0}

    def following() -> bytes | None:
        now = time.perf_counter()
        if not state["number"]:
            state["until"] = now + seconds
        if now > state["until"]:
            return None
        state["number"] += 1
        return make(int(state["number"]) - 1)

    return following
