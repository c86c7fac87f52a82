"""An HTTP proxy before an S3 server that fails as object stores do.

It answers errors of its own, swallows requests, crawls, and cuts connections in the middle of what
is sent or answered. One thread and one event loop serve it; what it does is changed from any other.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from hearsight.stack.ports import HOST
from tests.chaos.loop_thread import LoopThread

BLOCK = 16 * 1024
GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)

CODES = {
    HTTPStatus.FORBIDDEN: "AccessDenied",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalError",
    HTTPStatus.SERVICE_UNAVAILABLE: "SlowDown",
}
"""S3's own words for a status (Amazon S3 API reference, "Error responses")."""

Way = Literal["answer", "swallow", "crawl", "cut"]


@dataclass(frozen=True)
class Trouble:
    """What becomes of requests.

    `answer` them with `status`, `swallow` them without a word, let them `crawl` at
    `bytes_a_second`, or `cut` them when half of their content has passed. `method` and `path` (a
    piece of it) choose which; of itself none is chosen.
    """

    way: Way
    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    bytes_a_second: int = 50_000
    method: str = ""
    path: str = ""

    def concerns(self, request: "_Request") -> bool:
        """Whether a request is chosen."""
        return self.method in {"", request.method} and self.path in request.path


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    head: bytes
    length: int


class StoreProxy(LoopThread):
    """Between clients and the S3 server on `target`; `port` is where clients come."""

    def __init__(self, target: int) -> None:
        super().__init__("store")
        self.met = 0
        """Requests that were given trouble."""
        self._target = target
        self._trouble: Trouble | None = None
        self._left = 0
        self._clients: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._lasting: list[Trouble] = []

    @contextlib.contextmanager
    def giving(self, trouble: Trouble, times: int = 10**9) -> Iterator[None]:
        """Gives `trouble` to requests that begin within the block, the first `times` of them.

        What is swallowed stays so.
        """
        self._left = times
        self._trouble = trouble
        try:
            yield
        finally:
            self.heal()

    def give_for_ever(self, trouble: Trouble) -> None:
        """As `giving`, without an end."""
        self._lasting.append(trouble)

    def heal(self) -> None:
        """Takes back what does not last for ever."""
        self._trouble = None

    async def _close(self) -> None:
        for writer in self._clients:
            writer.transport.abort()
        await asyncio.gather(*(done.wait() for done in list(self._clients.values())))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients[writer] = done = asyncio.Event()
        try:
            while (request := await _request(reader)) is not None:
                if not await self._handle(request, reader, writer):
                    break
        except GONE:
            pass  # the client, or the server, as happens here
        finally:
            writer.transport.abort()
            del self._clients[writer]
            done.set()

    async def _handle(
        self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Does one request; tells whether the connection can take another."""
        trouble = next((one for one in self._troubles() if one.concerns(request)), None)
        if trouble is not None:
            self.met += 1
            self._left -= trouble is self._trouble
        if trouble is None or trouble.way in {"crawl", "cut"}:
            return await self._pass(request, reader, writer, trouble)
        await _drop(reader, request.length)
        if trouble.way == "swallow":
            await reader.read()  # until the client has had enough
            return False
        writer.write(_refusal(trouble.status))
        await writer.drain()
        return True

    def _troubles(self) -> list[Trouble]:
        passing = self._trouble if self._left > 0 else None
        return [*self._lasting, *([passing] if passing is not None else [])]

    async def _pass(
        self,
        request: _Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        trouble: Trouble | None,
    ) -> bool:
        """Hands the request to the server and the answer back; what is cut stays cut."""
        answers, asks = await asyncio.open_connection(HOST, self._target)
        try:
            asks.write(request.head)
            if not await _copy(reader, asks, request.length, trouble):
                return False
            head = await answers.readuntil(b"\r\n\r\n")
            length = 0 if request.method == "HEAD" else _length(head)
            writer.write(head)
            return await _copy(answers, writer, length, trouble)
        finally:
            asks.transport.abort()


async def _request(reader: asyncio.StreamReader) -> _Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    # The server is to close its connection after each answer: ours to it serve one request.
    lines = [
        line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection")
    ]
    alone = b"\r\n".join([*lines, b"Connection: close", b"", b""])
    return _Request(method, path, alone, _length(head))


def _length(head: bytes) -> int:
    """How long the content after a head is; all that is spoken here says so."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        assert name.lower() != b"transfer-encoding", head
    return 0


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    length: int,
    trouble: Trouble | None,
) -> bool:
    """Copies `length` bytes, as far as `trouble` lets them; False if it did not let all."""
    left = length
    stop = length // 2 if trouble is not None and trouble.way == "cut" and length else 0
    while left > stop:
        block = await reader.read(min(BLOCK, left - stop))
        if not block:
            return False
        left -= len(block)
        if trouble is not None and trouble.way == "crawl":
            await asyncio.sleep(len(block) / trouble.bytes_a_second)
        writer.write(block)
        await writer.drain()
    await writer.drain()
    return left == 0


async def _drop(reader: asyncio.StreamReader, length: int) -> None:
    while length > 0:
        block = await reader.read(min(BLOCK, length))
        if not block:
            return
        length -= len(block)


def _refusal(status: HTTPStatus) -> bytes:
    body = f"<Error><Code>{CODES[status]}</Code><Message>as it is told</Message></Error>".encode()
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
