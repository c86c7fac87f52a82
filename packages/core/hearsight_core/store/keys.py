"""API keys: made, found, listed, revoked. What is stored of one can't be used as one.

`python -m hearsight_core.store.keys` does by hand what `hearsight keys` does, where that is not
installed: in the images of the services.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import timedelta

from sqlalchemy import Connection, Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from hearsight_core import environment
from hearsight_core.errors import HearSightError, KeyNotFoundError
from hearsight_core.keys import (
    EVERY_SCOPE,
    NO_LIMITS,
    OWNER_PATTERN,
    USUAL_SCOPES,
    Key,
    Limits,
    Scope,
    digest_of,
    id_of,
    is_owner,
    new_token,
)
from hearsight_core.settings import CoreSettings, masked
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes, lists or revokes keys in the database of `HEARSIGHT_DATABASE_URL`.

    A new key is all that `create` writes to standard output, so that a script can take it from
    there; `list` writes a JSON object a line, as `hearsight --json keys list` does.
    """
    asked = _parser().parse_args(arguments)
    url = environment.read(CoreSettings).database_url
    database = Database(url, pool_size=1, application="hearsight-keys")
    try:
        if asked.command == "create":
            key, token = create(
                database,
                owner=asked.owner,
                scopes=frozenset(asked.scope or USUAL_SCOPES),
                note=asked.note,
                limits=Limits(
                    **{field.name: getattr(asked, field.name) for field in fields(Limits)}
                ),
            )
            sys.stdout.write(f"{token}\n")
            _say(f"Key {key.id} of {key.owner}: {', '.join(sorted(key.scopes))}. It is shown once.")
        elif asked.command == "list":
            for key in every(database):
                sys.stdout.write(f"{json.dumps(key.document(), ensure_ascii=False)}\n")
        else:
            key = revoke(database, asked.id)
            _say(f"Key {key.id} of {key.owner} is revoked.")
    except HearSightError as error:
        _say(f"{masked(url)}: {error}")
        return 1
    finally:
        database.close()
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hearsight_core.store.keys",
        description="Make, list and revoke API keys in the database of HEARSIGHT_DATABASE_URL.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("create", help="make a key and show it, this once")
    making.add_argument("owner", type=_owner, help="whose jobs are made with it")
    making.add_argument(
        "--scope",
        action="append",
        type=Scope,
        metavar="{submit,read,admin}",
        help="what it may do, once for each; left out: submit and read",
    )
    making.add_argument("--note", default="", help="what it is for, for those who list keys")
    for field in fields(Limits):
        making.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_limit,
            metavar="NUMBER",
            help="left out: the deployment's; 0: any number",
        )
    commands.add_parser("list", help="show all keys ever made, the newest first, as JSON lines")
    ending = commands.add_parser("revoke", help="end a key for good")
    ending.add_argument("id", help="as `list` shows it")
    return parser


def _owner(text: str) -> str:
    if not is_owner(text):
        raise argparse.ArgumentTypeError(f"an owner's name is like {OWNER_PATTERN}")
    return text


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
