"""A small connection pooler for PostgreSQL that lends a session for one transaction at a time.

What counts here is what such poolers have in common: a client talks to another session with every
transaction, sessions outlive their clients, and the greeting names a process id of the pooler's own
making. Clients sign on as themselves, at PostgreSQL; their session goes into the pool after that.
"""

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hearsight.stack.ports import HOST

_KEY_DATA, _READY, _TERMINATE = b"K", b"Z", b"X"
_IDLE = b"I"
_MADE_UP_PID = 999_999

_Session = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def running(port: int) -> Iterator[int]:
    """A pooler before the PostgreSQL server on `port`; yields the port it listens on."""
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = []
    up = threading.Event()

    async def main() -> None:
        pool: asyncio.Queue[_Session] = asyncio.Queue()
        end = asyncio.Event()
        server = await asyncio.start_server(
            lambda reader, writer: _serve(reader, writer, port, pool), HOST, 0
        )
        started.append((asyncio.get_running_loop(), end, server.sockets[0].getsockname()[1]))
        up.set()
        await end.wait()
        server.close()
        while not pool.empty():
            pool.get_nowait()[1].close()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="pooler")
    thread.start()
    up.wait()
    loop, end, own_port = started[0]
    try:
        yield own_port
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    pool: "asyncio.Queue[_Session]",
) -> None:
    try:
        await pool.put(await _signed_on(reader, writer, port))
        while True:
            first = await _message(reader)
            if first[:1] == _TERMINATE:
                return
            session = await pool.get()
            await _transaction(first, reader, writer, session)
            await pool.put(session)
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


async def _signed_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> _Session:
    """Lets the client sign on at PostgreSQL; the session it gets is the pool's from then on."""
    session = await asyncio.open_connection(HOST, port)
    size = await reader.readexactly(4)
    start = size + await reader.readexactly(struct.unpack("!I", size)[0] - 4)
    session[1].write(start)
    if len(start) == 8:  # the client asks for TLS, and is told that there is none
        writer.write(await session[0].readexactly(1))
        size = await reader.readexactly(4)
        session[1].write(size + await reader.readexactly(struct.unpack("!I", size)[0] - 4))
    asking = asyncio.create_task(_forward(reader, session[1]))
    while True:
        said = await _message(session[0])
        if said[:1] == _KEY_DATA:
            said = said[:5] + struct.pack("!I", _MADE_UP_PID) + said[9:]
        if said[:1] == _READY:
            asking.cancel()
            await asyncio.wait({asking})
        writer.write(said)
        if said[:1] == _READY:
            return session


async def _transaction(
    first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: _Session
) -> None:
    """Lends the session until PostgreSQL says that no transaction is open."""
    session[1].write(first)
    asking = asyncio.create_task(_forward(reader, session[1]))
    try:
        while True:
            said = await _message(session[0])
            ended = said[:1] == _READY and said[5:6] == _IDLE
            if ended:
                asking.cancel()
                await asyncio.wait({asking})
            writer.write(said)
            if ended:
                return
    finally:
        asking.cancel()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(await _message(reader))


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One message of the protocol: a letter, its length, what it holds."""
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
