"""What every proxy of the driver stands on: a server in a thread with an event loop of its own."""

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from hearsight.stack.ports import HOST


class LoopThread(ABC):
    """Serves connections on `port` for the length of a block; no more is heard of it after that."""

    def __init__(self, name: str) -> None:
        self.port = 0
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        await self._end.wait()
        server.close()
        await self._close()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""

    @abstractmethod
    async def _close(self) -> None:
        """Ends the connections that are open, and waits until they are served."""
