"""What a benchmark stands on: stores of its own, and API processes beside them."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from redis import Redis

from hearsight.stack import postgres, valkey
from hearsight.stack.plan import answers_well
from hearsight.stack.ports import HOST, free_port
from hearsight.stack.program import Program, running
from hearsight_core.store import migrate
from hearsight_core.store.database import Database
from tests.servers import api
from tests.servers.api import Api
from tests.store import rows

ROOT = Path(__file__).parents[2]

NOWHERE = "http://127.0.0.1:9/talk.mp4"
"""An address that may be fetched, for jobs that no worker takes."""

POOL = 24
"""Connections that the benchmark itself may have."""


@dataclass(frozen=True)
class Stand:
    """PostgreSQL, Valkey and a folder, empty when the block begins.

    The stores have the settings that the local stack gives them: what is committed is on the disk.
    """

    folder: Path
    database: Database
    environment: Mapping[str, str]

    @contextmanager
    def apis(self, count: int = 1, **settings: str) -> Iterator[list[Api]]:
        """API processes on these stores, for the length of the block."""
        environment = {**self.environment, **settings}
        with ExitStack() as stack:
            yield [
                stack.enter_context(api.running(self.folder / f"api-{n}.log", environment))
                for n in range(count)
            ]

    @contextmanager
    def workers(self, count: int, module: str, **settings: str) -> Iterator[list[int]]:
        """Worker processes; yields their process ids once they are ready."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self._worker(module, f"{module}-{n}", settings))
                for n in range(count)
            ]

    @contextmanager
    def _worker(self, module: str, name: str, settings: Mapping[str, str]) -> Iterator[int]:
        port = settings.get("HEARSIGHT_METRICS_PORT") or str(free_port())
        url = f"http://{HOST}:{port}/readyz"
        worker = Program(
            name=name,
            argv=(sys.executable, "-P", "-m", module),
            ready=lambda: answers_well(url),
            environment={
                **os.environ,
                **self.environment,
                "PYTHONPATH": os.pathsep.join(
                    filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
                ),
                "HEARSIGHT_METRICS_HOST": HOST,
                "HEARSIGHT_METRICS_PORT": port,
                "HEARSIGHT_SCRATCH_DIR": str(self.folder / "scratch"),
                **settings,
            },
        )
        with running(worker, self.folder / f"{name}.log") as pid:
            yield pid

    def servers(self) -> str:
        """The stores' versions."""
        with Redis.from_url(self.environment["HEARSIGHT_REDIS_URL"]) as redis:
            told = redis.info("server")
        [postgres] = rows(self.database, "SHOW server_version")
        return f"PostgreSQL {postgres['server_version']}, Valkey {told['valkey_version']}"

    def empty(self) -> None:
        """Removes every job."""
        with self.database.begin() as connection:
            connection.exec_driver_sql("TRUNCATE jobs CASCADE")


@contextmanager
def standing() -> Iterator[Stand]:
    """Starts the stores; stops them, and removes everything, at the end of the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hearsight-load-")))
        # As root, PostgreSQL runs as another user, who has to be let through.
        folder.chmod(0o755)
        url = stack.enter_context(postgres.running(folder))
        redis = stack.enter_context(valkey.running(folder))
        migrate.upgrade(url)
        database = Database(url, pool_size=POOL, application="benchmark")
        stack.callback(database.close)
        yield Stand(
            folder=folder,
            database=database,
            environment={
                "HEARSIGHT_DATABASE_URL": url,
                "HEARSIGHT_BROKER_URL": f"{redis}/0",
                "HEARSIGHT_REDIS_URL": f"{redis}/1",
                "HEARSIGHT_STORAGE_URL": (folder / "media").as_uri(),
                "HEARSIGHT_LOG_FORMAT": "json",
                "HEARSIGHT_DOWNLOAD_ALLOW_HOSTS": "127.0.0.1:9",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )


class Used:
    """Processor time that each kind of process has used since this was made.

    On a machine that others use as well this tells more than how long something took.
    """

    def __init__(self, apis: Sequence[Api]) -> None:
        self._apis = {server.process.pid for server in apis}
        self._before = self._seconds()

    def told(self, count: int) -> str:
        """Milliseconds for each of `count`."""
        parts = (
            f"{kind} {(now - self._before[kind]) / count * 1000:.2f}"
            for kind, now in self._seconds().items()
        )
        return f"CPU ms each: {', '.join(parts)}"

    def _seconds(self) -> dict[str, float]:
        own = psutil.Process()
        found = {"API": 0.0, "workers": 0.0, "PostgreSQL": 0.0, "Valkey": 0.0, "client": 0.0}
        found["client"] = _cpu_s(own)
        for process in own.children(recursive=True):
            try:
                name, spent = process.name(), _cpu_s(process)
            except psutil.NoSuchProcess:
                continue
            if process.pid in self._apis:
                found["API"] += spent
            elif "postgres" in name:
                found["PostgreSQL"] += spent
            elif "valkey" in name:
                found["Valkey"] += spent
            else:
                found["workers"] += spent
        return found


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def resident_bytes(pid: int) -> int:
    """The memory that a process holds, without what it shares with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
