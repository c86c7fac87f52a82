"""What every command begins with: the options all of them take, and what follows from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from hearsight.client import Client
from hearsight.output import Output
from hearsight.surroundings import Surroundings

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Address of the API.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for scripts, nothing else.")]
JobNumber = Annotated[int, typer.Argument(metavar="JOB", min=1, help="The job's number.")]


@dataclass(frozen=True)
class Globals:
    """The options given before the command's name."""

    url: str | None = None
    as_json: bool = False


@dataclass(frozen=True)
class Session:
    """Where a command writes, and where it stands."""

    output: Output
    surroundings: Surroundings

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of the API that was named."""
        where = self.surroundings
        with Client(where.url.value, api_key=where.api_key) as client:
            yield client


def begin(context: typer.Context, url: str | None = None, *, as_json: bool = False) -> Session:
    """The session of a command: its own options first, then those before its name."""
    given = context.find_object(Globals) or Globals()
    return Session(
        output=Output(as_json=as_json or given.as_json),
        surroundings=Surroundings(url or given.url),
    )
