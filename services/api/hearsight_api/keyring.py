"""Who asks: API keys as they stood a few seconds ago at most."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from starlette.concurrency import run_in_threadpool

from hearsight_core.errors import (
    DatabaseError,
    KeyInvalidError,
    KeyMissingError,
    ScopeMissingError,
)
from hearsight_core.keys import (
    DEFAULT_OWNER,
    EVERY_SCOPE,
    NO_LIMITS,
    Key,
    Limits,
    Scope,
    digest_of,
    is_token,
)
from hearsight_core.store import keys
from hearsight_core.store.database import Database

log = structlog.get_logger(__name__)

FRESH_S = 3.0
"""A key that was looked up is good for so long; so a revoked one opens nothing after that."""

KEPT = 10_000
"""Keys held in memory at most; the one used longest ago makes room."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks, and what they may do. Without keys everybody is the same caller, who may all."""

    owner: str = DEFAULT_OWNER
    scopes: frozenset[Scope] = EVERY_SCOPE
    key_id: str | None = None
    digest: str | None = None
    limits: Limits = NO_LIMITS

    @property
    def sees(self) -> str | None:
        """Whose jobs count for this caller; None: everybody's."""
        return None if Scope.ADMIN in self.scopes else self.owner

    def require(self, scope: Scope) -> None:
        """Lets pass who has `scope`.

        Raises:
            ScopeMissingError: this caller has not.
        """
        if self.scopes.isdisjoint({scope, Scope.ADMIN}):
            raise ScopeMissingError(scope=scope)


EVERYBODY = Caller()


class Keyring:
    """Looks keys up, and remembers what it found for `FRESH_S`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        self._told: dict[str, set[Callable[[], None]]] = {}

    async def caller(self, authorization: str | None) -> Caller:
        """Tells who sends the header `Authorization`.

        Raises:
            KeyMissingError: there is none, or it is no bearer's.
            KeyInvalidError: the key is unknown or revoked.
            DatabaseError: PostgreSQL can't be asked.
        """
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer":
            raise KeyMissingError
        token = token.strip()
        if not is_token(token):
            raise KeyInvalidError
        return await self._caller(digest_of(token))

    async def confirm(self, caller: Caller) -> None:
        """Makes sure that the caller's key is still in force; for answers that take long.

        Raises:
            KeyInvalidError, DatabaseError: as `caller`.
        """
        if caller.digest is not None:
            await self._caller(caller.digest)

    @contextmanager
    def told(self, caller: Caller, revoked: Callable[[], None]) -> Iterator[None]:
        """Calls `revoked` if the caller's key is revoked while the block lasts."""
        if caller.digest is None:
            yield
            return
        watchers = self._told.setdefault(caller.digest, set())
        watchers.add(revoked)
        try:
            yield
        finally:
            watchers.discard(revoked)
            if not watchers:
                self._told.pop(caller.digest, None)

    async def run(self) -> None:
        """Looks after the keys of those who follow something, until cancelled."""
        while True:
            await asyncio.sleep(FRESH_S)
            for digest in list(self._told):
                try:
                    await self._caller(digest)
                except KeyInvalidError:
                    for revoked in list(self._told.get(digest, ())):
                        revoked()
                except DatabaseError as error:
                    log.warning("keys can't be looked after", error=str(error))

    async def _caller(self, digest: str) -> Caller:
        now = time.monotonic()
        if (remembered := self._found.get(digest)) and remembered[1] > now:
            return remembered[0]
        key = await run_in_threadpool(keys.find, self._database, digest)
        if key is None:
            self._found.pop(digest, None)
            raise KeyInvalidError
        caller = _caller_of(key, digest)
        self._found[digest] = caller, now + FRESH_S
        self._found.move_to_end(digest)
        if len(self._found) > KEPT:
            self._found.popitem(last=False)
        return caller


def _caller_of(key: Key, digest: str) -> Caller:
    return Caller(
        owner=key.owner, scopes=key.scopes, key_id=key.id, digest=digest, limits=key.limits
    )
