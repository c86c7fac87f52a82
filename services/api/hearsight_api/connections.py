"""Connections that are slow on purpose, or endless, end: they hold memory and file descriptors.

uvicorn bears with a client that never finishes its headers, that sends them without end, that goes
on sending after it was answered, and that never reads. Here each of these has a limit. How fast a
body must come is `body.py`'s.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_S: Final = 15.0
"""How long the head of a request may take, from the connection or from the answer before."""

HEADERS_BYTES: Final = 64 * 1024
"""What a head may hold; the parser itself has no limit."""

READ_S: Final = 30.0
READ_BYTES_PER_S: Final = 1024
"""Who takes less than this of what is ready for them, over `READ_S`, is taken for gone."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits of patience."""

    _head_due: asyncio.TimerHandle | None = None
    _read_due: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _whole = True
    """All of the last request is here: what comes next is another's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """A client is there, and has said nothing yet."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came; of a head, not more than `HEADERS_BYTES`."""
        if self._in_head and self._whole:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEADERS_BYTES and not self.transport.is_closing():
            self.logger.warning("A request's head is too large.")
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._in_head = False
        self._whole = False
        self._head_bytes = 0
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole, its body too."""
        self._whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is given; what still comes of its request is thrown away, but not for ever."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def pause_writing(self) -> None:
        """More is ready than the client takes."""
        super().pause_writing()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has taken what was ready."""
        super().resume_writing()
        if self._read_due is not None:
            self._read_due.cancel()
            self._read_due = None

    def _await_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        if self._head_due is not None:
            self._head_due.cancel()
        self._head_due = self.loop.call_later(HEADERS_S, self._give_up)

    def _look_again(self, ready: int) -> None:
        """Ends the connection unless some of the `ready` bytes are taken by then."""

        def look() -> None:
            left = self.transport.get_write_buffer_size()
            if ready - left < READ_S * READ_BYTES_PER_S:
                self._give_up()
            else:
                self._look_again(left)

        if self._read_due is not None:
            self._read_due.cancel()
        self._read_due = self.loop.call_later(READ_S, look)

    def _give_up(self) -> None:
        # Not close(): that waits until the client has read what is ready for it.
        self._cancel()
        self.transport.abort()

    def _cancel(self) -> None:
        for timer in (self._head_due, self._read_due):
            if timer is not None:
                timer.cancel()
        self._head_due = self._read_due = None
