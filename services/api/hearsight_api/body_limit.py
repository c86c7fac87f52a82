"""Bodies are small, but for uploads, which count their bytes themselves."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
"""Several times what the largest request can hold; the framework reads all of it into memory."""

UNLIMITED = frozenset({"/api/upload"})


class BodyLimit:
    """ASGI middleware: reading beyond `MAX_BODY_BYTES` of a body answers 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        left = MAX_BODY_BYTES

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        limited = scope["type"] == "http" and scope["path"] not in UNLIMITED
        await self._app(scope, counted if limited else receive, send)
