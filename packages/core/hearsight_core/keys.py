"""API keys: what one looks like, what it may do, and what is kept of it. Pure: no I/O.

A key is `hs_` and 256 random bits. Only its SHA-256 is stored. A slow, salted hash, as passwords
need, would add nothing: it makes each guess dear where secrets are few, and nobody guesses one of
2^256. A fast one lets every request be checked, by one look into an index.
"""

import hashlib
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

TOKEN_PREFIX = "hs_"  # noqa: S105  no secret: how all of them begin
TOKEN_BYTES = 32
TOKEN_PATTERN = "hs_[A-Za-z0-9_-]{32,200}"  # noqa: S105  the form, no secret
"""Longer than ours and of any letters is allowed: an operator's own generator may make it."""

OWNER_PATTERN = "[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?"
Owner = Annotated[str, Field(pattern=f"^{OWNER_PATTERN}$")]
"""Whose a job is: a person, a team, a program."""

DEFAULT_OWNER = "default"
"""Owner of what is done without a key, where none is asked for."""

_TOKEN = re.compile(TOKEN_PATTERN)
_OWNER = re.compile(OWNER_PATTERN)
_ID_LENGTH = 12


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    """Hand jobs in; cancel, retry and delete its owner's."""
    READ = "read"
    """List, follow and read its owner's jobs."""
    ADMIN = "admin"
    """Both, and for the jobs of every owner."""


EVERY_SCOPE = frozenset(Scope)
USUAL_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})
"""Of a key that is made without a word about them."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be asked for; 0: as much as one likes, None: what the deployment says."""

    requests_per_minute: int | None = None
    queued_jobs: int | None = None
    audio_minutes_per_day: int | None = None


NO_LIMITS = Limits()
"""None of a key's own: the deployment's."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What an owner may have; 0: as much as it likes."""

    queued_jobs: int = 0
    """Jobs that are not done yet."""
    audio_minutes_per_day: int = 0
    """Minutes of recordings cut into parts since midnight, UTC."""


NO_QUOTA = Quota()


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key as it is stored. `id` names it to people and in logs; it opens nothing."""

    id: str
    owner: str
    scopes: frozenset[Scope]
    limits: Limits
    note: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    def document(self) -> dict[str, object]:
        """The key as JSON has it, for scripts; times in ISO 8601."""
        return {
            "id": self.id,
            "owner": self.owner,
            "scopes": sorted(self.scopes),
            "limits": asdict(self.limits),
            "note": self.note,
            "created_at": self.created_at.isoformat(),
            "last_used_at": self.last_used_at and self.last_used_at.isoformat(),
            "revoked_at": self.revoked_at and self.revoked_at.isoformat(),
        }


def new_token() -> str:
    """A key that nobody has seen before."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def is_token(text: str) -> bool:
    """Whether `text` has the form of a key."""
    return _TOKEN.fullmatch(text) is not None


def is_owner(text: str) -> bool:
    """Whether an owner can be called so."""
    return _OWNER.fullmatch(text) is not None


def digest_of(token: str) -> str:
    """What is stored of a key, and found by: its SHA-256, in hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(digest: str) -> str:
    """The name of a key: the beginning of its digest, so that a key found anywhere can be named."""
    return digest[:_ID_LENGTH]
