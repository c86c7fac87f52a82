"""Keys, and clients that send them."""

import httpx

from hearsight_core.keys import NO_LIMITS, Limits, Scope
from hearsight_core.store import keys
from hearsight_core.store.database import Database
from tests.servers.api import Api

BOTH = frozenset({Scope.SUBMIT, Scope.READ})


def made(database: Database, owner: str, *scopes: Scope, limits: Limits = NO_LIMITS) -> str:
    """A new key's token; with no scopes named it may submit and read."""
    _, token = keys.create(database, owner=owner, scopes=frozenset(scopes) or BOTH, limits=limits)
    return token


def client(api: Api, token: str | None) -> httpx.Client:
    """A client of the API that sends a key, or none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=api.url, timeout=30, trust_env=False, headers=headers)
