"""Bodies are small, but for uploads, which count their bytes themselves; none comes too slowly."""

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
"""Several times what the largest request can hold; the framework reads all of it into memory."""

UNLIMITED = frozenset({"/api/upload"})

SILENCE_S = 20.0
"""How long a sender of a body may be silent, having been fast enough before."""


class BodyLimit:
    """ASGI middleware: a body beyond `MAX_BODY_BYTES` answers 413, one that comes too slowly 408.

    `least_bytes_per_s` is the slowest pace borne with; 0: any, as long as something comes.
    """

    def __init__(self, app: ASGIApp, least_bytes_per_s: int) -> None:
        self._app = app
        self._least_bytes_per_s = least_bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = None if scope["path"] in UNLIMITED else MAX_BODY_BYTES
        body = _Body(receive, limit, self._least_bytes_per_s)
        await self._app(scope, body.receive, send)


class _Body:
    """One request's body as it comes."""

    def __init__(self, receive: Receive, limit: int | None, least_bytes_per_s: int) -> None:
        self._receive = receive
        self._left = limit
        self._least_bytes_per_s = least_bytes_per_s
        self._patience_s = SILENCE_S
        self._whole = False

    async def receive(self) -> Message:
        """The next piece; waiting for it costs patience, and what comes earns some.

        Only time spent waiting for the sender counts, not that in which we store what came.

        Raises:
            HTTPException: 408, no patience is left; 413, it is too much.
        """
        if self._whole:
            return await self._receive()  # nothing comes any more but the end of the connection
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience_s):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"}
            ) from error
        size = len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        earned_s = size / self._least_bytes_per_s if self._least_bytes_per_s else SILENCE_S
        spent_s = loop.time() - began
        self._patience_s = min(SILENCE_S, self._patience_s - spent_s + earned_s)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message
