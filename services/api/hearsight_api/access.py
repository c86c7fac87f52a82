"""The door: no route under /api/ is reached, nor its body read, before it is known who asks.

Where keys are asked for, that is whoever the bearer's key belongs to. Where they are not, because
the API listens on a loopback address only, it is anybody on this machine, and nobody else: a page
of another site that a browser here has open could send requests too, and a proxy on this machine
could pass the Internet's on. Both give themselves away by the name they ask for, or come from.
"""

from contextlib import ExitStack
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hearsight_api.keyring import EVERYBODY, Caller
from hearsight_api.problems import answer
from hearsight_api.services import Services
from hearsight_core import keys
from hearsight_core.errors import ForeignRequestError, HearSightError
from hearsight_core.settings import ApiSettings, is_loopback

GUARDED = "/api/"

ENDLESS = "/events"
"""These last as long as a job does, and have a limit of their own."""

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    description="An API key: `hs_...`. Made with `hearsight keys create`.",
)


class Access:
    """ASGI middleware: puts who asks into the request's state, or refuses it."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._language = settings.language
        self._keys = settings.keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            await self._app(scope, receive, send)
            return
        services = scope["app"].state.services
        assert isinstance(services, Services)  # noqa: S101  set by the app's lifespan
        with ExitStack() as held:
            try:
                caller = await self._who(services, Headers(scope=scope))
                await services.limits.count(caller)
                if not scope["path"].endswith(ENDLESS):
                    held.enter_context(services.limits.requests.taken())
            except HearSightError as error:
                response = answer(Request(scope), error, self._language)
                await response(scope, receive, send)
                return
            scope["state"]["caller"] = caller
            with structlog.contextvars.bound_contextvars(
                **({"key": caller.key_id, "owner": caller.owner} if caller.key_id else {})
            ):
                await self._app(scope, receive, send)

    async def _who(self, services: Services, headers: Headers) -> Caller:
        if self._keys == "on":
            return await services.keyring.caller(headers.get("authorization"))
        # Whoever turned keys off by name has been warned, and may have a proxy that asks for more.
        if self._keys == "loopback" and is_foreign(headers):
            raise ForeignRequestError
        return EVERYBODY


def is_foreign(headers: Headers) -> bool:
    """Whether a request to a loopback address was meant for another name, or is another site's.

    One that names no host comes from no browser and no proxy.
    """
    host = headers.get("host")
    origin = headers.get("origin")
    meant_for_another = host is not None and not is_loopback(_name(host))
    return meant_for_another or (origin is not None and _place(origin) != host)


def _place(origin: str) -> str:
    """Host and port of an origin; nothing for one that is hidden (`null`) or none."""
    return origin.partition("://")[2]


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def _caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)  # noqa: S101  set by the middleware
    return caller


class _May:
    """A dependency: who asks, if they have the scope."""

    def __init__(self, scope: keys.Scope) -> None:
        self._scope = scope

    async def __call__(self, caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        caller.require(self._scope)
        return caller


MayRead = Annotated[Caller, Depends(_May(keys.Scope.READ))]
"""Who asks, as a parameter of a route that reads."""

MaySubmit = Annotated[Caller, Depends(_May(keys.Scope.SUBMIT))]
"""Who asks, as a parameter of a route that changes something."""
