"""The stores under the driver's hands: a Valkey for each Redis db, a PostgreSQL that can move."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hearsight.stack import ports, system_user
from hearsight.stack.ports import HOST
from hearsight.stack.postgres import Postgres, binary
from hearsight.stack.program import StartError
from hearsight.stack.valkey import Valkey
from hearsight_core.errors import DatabaseError
from hearsight_core.store.database import Database
from tests.chaos.places import in_memory
from tests.chaos.processes import Keeper, Process, until
from tests.chaos.proxy import Proxy

DISK_MIB = 640
"""The disk that PostgreSQL lives on, where one can be made: two servers while one takes over."""
TAKEN_OVER_S = 120.0


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own in `folder`, in memory; yields False if nothing can be mounted here."""
    with ExitStack() as stack:
        try:
            stack.enter_context(in_memory(folder, DISK_MIB))
        except RuntimeError:
            yield False
        else:
            yield True


@dataclass
class RedisServer:
    """One Valkey server, and the proxy that its clients go through."""

    valkey: Valkey
    process: Process
    proxy: Proxy

    @classmethod
    def start(cls, name: str, home: Path, keeper: Keeper, proxy: Proxy) -> "RedisServer":
        """Starts a server and waits for it."""
        valkey = Valkey(home / name, ports.free_port())
        valkey.prepare()
        process = keeper.keep(replace(valkey.program(), name=f"valkey-{name}"))
        process.await_ready()
        proxy.aim(valkey.port)
        return cls(valkey, process, proxy)


class MovingPostgres:
    """A PostgreSQL server that a standby can take over from, at the other of two addresses."""

    def __init__(self, folder: Path, keeper: Keeper, proxies: tuple[Proxy, Proxy]) -> None:
        self._folder = folder
        self._keeper = keeper
        self._moves = 0
        self.proxy, self._spare = proxies
        self.server = Postgres(folder / "0", ports.free_port())
        self.server.prepare()
        self.process = self._keep(self.server)
        self.process.await_ready()
        self.server.create_database()
        self.proxy.aim(self.server.port)
        # So that its log of writes leaves room on a small disk.
        for name, value in (("max_wal_size", "96MB"), ("min_wal_size", "32MB")):
            self.configure(name, value)

    def configure(self, name: str, value: str) -> None:
        """Sets a setting of the server and has all its sessions take it up."""
        self._do(self.server, f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()")

    def url(self) -> str:
        """The address of the database, with both places where it may be."""
        here = f"{HOST}:{self.server.port}/"
        both = f"{HOST}:{self.proxy.port},{HOST}:{self._spare.port}/"
        return f"{self.server.url.replace(here, both)}?target_session_attrs=read-write"

    def fail_over(self, meanwhile: Callable[[], None]) -> None:
        """Gives the server a synchronous standby, does `meanwhile`, kills the one for the other.

        What was committed is on both; the standby answers at the other address.
        """
        self._moves += 1
        old, old_process = self.server, self.process
        new = Postgres(self._folder / str(self._moves), ports.free_port())
        self._copy(old, new)
        process = self._keep(new)
        process.await_ready()
        self.configure("synchronous_standby_names", "*")
        until(
            lambda: self._asked(old, "SELECT sync_state FROM pg_stat_replication") == "sync",
            TAKEN_OVER_S,
            lambda: f"the standby does not follow:\n{process.last_words()}",
        )
        meanwhile()
        old_process.wanted = False
        old_process.kill()
        until(lambda: old_process.pid is None, TAKEN_OVER_S, lambda: "the old server stays")
        assert self._asked(new, "SELECT pg_promote()") is True
        self._spare.aim(new.port)
        self.proxy.cut()
        self.proxy, self._spare = self._spare, self.proxy
        self.server, self.process = new, process
        shutil.rmtree(old.home)

    def _keep(self, server: Postgres) -> Process:
        return self._keeper.keep(replace(server.program(), name=f"postgres-{self._moves}"))

    @staticmethod
    def _copy(old: Postgres, new: Postgres) -> None:
        """Makes the folder of a standby that follows `old`."""
        new.folder.mkdir(parents=True)
        shutil.copy(old.home / "postgres.password", new.home)
        user = system_user.to_run_as(old.data)
        if user:
            os.chown(new.folder, user.uid, user.gid)
        done = subprocess.run(
            [
                *(str(binary("pg_basebackup")), f"--dbname={old.url}", f"--pgdata={new.data}"),
                *("--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf"),
            ],
            cwd=new.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartError(f"no standby: {done.stderr}")

    def _asked(self, server: Postgres, question: str) -> object:
        found = self._do(server, question)
        return found[0] if found else None

    @staticmethod
    def _do(server: Postgres, *statements: str) -> tuple[object, ...] | None:
        """Runs statements past the proxies; returns the first row of the last."""
        database = Database(server.url, pool_size=1, application="chaos")
        try:
            with database.connect() as connection:
                for statement in statements:
                    answer = connection.execute(statement.encode())
                return answer.fetchone() if answer.description else None
        finally:
            database.close()


def settled(do: Callable[[], None], timeout_s: float) -> None:
    """Does something to PostgreSQL, again and again while it is away.

    Raises:
        AssertionError: it can't be done in time.
    """

    def done() -> bool:
        try:
            do()
        except DatabaseError:
            return False
        return True

    until(done, timeout_s, lambda: "PostgreSQL stays away")
