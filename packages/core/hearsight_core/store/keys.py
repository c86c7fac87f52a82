"""API keys: made, found, listed, revoked. What is stored of one can't be used as one."""

from dataclasses import asdict, fields
from datetime import timedelta

from sqlalchemy import Connection, Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from hearsight_core.errors import KeyNotFoundError
from hearsight_core.keys import (
    EVERY_SCOPE,
    NO_LIMITS,
    Key,
    Limits,
    Scope,
    digest_of,
    id_of,
    new_token,
)
from hearsight_core.store.database import Database
from hearsight_core.store.tables import api_keys

USED_EVERY = timedelta(minutes=1)
"""How coarse the time of last use is: a write for every request would cost more than it tells."""

BOOTSTRAP_OWNER = "admin"


def create(
    database: Database,
    *,
    owner: str,
    scopes: frozenset[Scope],
    note: str = "",
    limits: Limits = NO_LIMITS,
) -> tuple[Key, str]:
    """Makes a key; its token is returned here and can't be had again."""
    token = new_token()
    with database.begin() as connection:
        row = connection.execute(
            insert(api_keys)
            .values({**_values(token, owner=owner, scopes=scopes, note=note), **asdict(limits)})
            .returning(api_keys)
        ).one()
        return key_of(row), token


def find(database: Database, digest: str) -> Key | None:
    """Finds the key that is in force under a digest, and notes, to the minute, that it is used."""
    with database.begin() as connection:
        row = connection.execute(
            select(api_keys).where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
        ).first()
        if row is None:
            return None
        connection.execute(
            update(api_keys)
            .where(
                api_keys.c.digest == digest,
                or_(
                    api_keys.c.last_used_at.is_(None),
                    api_keys.c.last_used_at < func.now() - USED_EVERY,
                ),
            )
            .values(last_used_at=func.now())
        )
        return key_of(row)


def every(database: Database) -> list[Key]:
    """Lists all keys ever made, revoked ones too, the newest first."""
    with database.begin() as connection:
        rows = connection.execute(
            select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
        )
        return [key_of(row) for row in rows]


def revoke(database: Database, key_id: str) -> Key:
    """Ends a key for good; one that is revoked already stays as it is.

    Raises:
        KeyNotFoundError: there is none of this id.
    """
    with database.begin() as connection:
        row = connection.execute(
            update(api_keys)
            .where(api_keys.c.id == key_id)
            .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
            .returning(api_keys)
        ).first()
        if row is None:
            raise KeyNotFoundError(key_id=key_id)
        return key_of(row)


def admit_bootstrap(connection: Connection, token: str) -> Key:
    """Puts the key that the installation names in force, with every scope, and ends its forerunner.

    Twice is as once. A key that was revoked stays revoked: the answer tells.
    """
    digest = digest_of(token)
    connection.execute(
        insert(api_keys)
        .values(
            {
                **_values(token, owner=BOOTSTRAP_OWNER, scopes=EVERY_SCOPE, note="bootstrap"),
                "bootstrap": True,
            }
        )
        .on_conflict_do_nothing(index_elements=[api_keys.c.digest])
    )
    connection.execute(
        update(api_keys)
        .where(
            api_keys.c.bootstrap,
            api_keys.c.digest != digest,
            api_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=func.now())
    )
    return key_of(connection.execute(select(api_keys).where(api_keys.c.digest == digest)).one())


def _values(token: str, *, owner: str, scopes: frozenset[Scope], note: str) -> dict[str, object]:
    digest = digest_of(token)
    return {
        "id": id_of(digest),
        "digest": digest,
        "owner": owner,
        "scopes": sorted(scopes),
        "note": note,
    }


def key_of(row: Row[tuple[object, ...]]) -> Key:
    """The key that a row of `api_keys` holds; its digest stays in the database."""
    columns = row._asdict()
    return Key(
        id=columns["id"],
        owner=columns["owner"],
        scopes=frozenset(map(Scope, columns["scopes"])),
        limits=Limits(**{field.name: columns[field.name] for field in fields(Limits)}),
        note=columns["note"],
        created_at=columns["created_at"],
        last_used_at=columns["last_used_at"],
        revoked_at=columns["revoked_at"],
    )
