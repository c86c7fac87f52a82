"""A TCP proxy that fails as networks do: it cuts, refuses, stalls, delays, loses answers.

One thread and one event loop serve a proxy; what it does to connections is changed from any other
thread, while they are open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from hearsight.stack.ports import HOST
from tests.chaos.loop_thread import LoopThread

BLOCK = 64 * 1024


class Proxy(LoopThread):
    """Between a client and the server on `target`; `port` is where clients come."""

    def __init__(self, target: int) -> None:
        super().__init__("proxy")
        self._target = target
        self._refusing = False
        self._delay_s = 0.0
        self._answers_to_lose = 0
        self._lose_after = b""
        self._hold: tuple[bytes, Callable[[int], bool]] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()

    def cut(self) -> None:
        """Resets every open connection."""
        self._do(self._cut)

    def refuse(self, *, on: bool) -> None:
        """Takes no new connection while on; those that are open stay."""
        self._refusing = on

    def stall(self, *, on: bool) -> None:
        """Half-open: connections stay and are taken, and nothing passes while on."""
        self._do(self._flowing.clear if on else self._flowing.set)

    def delay(self, seconds: float) -> None:
        """Each block waits so long before it passes, in both directions."""
        self._delay_s = seconds

    def lose_answers(self, count: int, *, after: bytes = b"") -> None:
        """The next `count` connections that ask something with `after` in it are cut when answered.

        What was asked has happened, and whoever asked can't know.
        """
        self._lose_after = after
        self._answers_to_lose = count

    def hold(self, asks: bytes, strike: Callable[[int], bool] | None) -> None:
        """Before anything with `asks` in it passes, `strike` is told the port that it comes from.

        It is called in a thread of its own. If it answers True, that never comes to the server.
        """
        self._hold = (asks, strike) if strike else None

    def aim(self, target: int) -> None:
        """Sends new connections to another port."""
        self._target = target

    def _do(self, what: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _cut(self) -> None:
        for link in list(self._links):
            link.client.transport.abort()
            link.server.transport.abort()

    async def _close(self) -> None:
        self._cut()
        self._flowing.set()
        await asyncio.gather(*(link.done.wait() for link in list(self._links)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            answers, asks = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, asks)
        self._links.add(link)
        try:
            await asyncio.gather(self._ask(reader, link), self._answer(answers, link))
        finally:
            self._links.discard(link)
            link.done.set()

    async def _ask(self, reader: asyncio.StreamReader, link: "_Link") -> None:
        async for block in self._passing(reader):
            hold = self._hold
            if hold and hold[0] in block and await asyncio.to_thread(hold[1], link.port):
                link.client.transport.abort()
                break
            if self._answers_to_lose > 0 and self._lose_after in block:
                self._answers_to_lose -= 1
                link.doomed = True
            link.server.write(block)
        link.server.close()

    async def _answer(self, reader: asyncio.StreamReader, link: "_Link") -> None:
        async for block in self._passing(reader):
            if link.doomed:
                link.client.transport.abort()
                break
            link.client.write(block)
        link.client.close()

    async def _passing(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        with contextlib.suppress(ConnectionError):
            while block := await reader.read(BLOCK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                yield block


@dataclass(eq=False)
class _Link:
    """One client's connection, and the one to the server that belongs to it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    doomed: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def port(self) -> int:
        """The client's own port."""
        return int(self.client.get_extra_info("peername")[1])
