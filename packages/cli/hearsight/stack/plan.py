"""What a stack consists of: which programs, on which ports, with which settings."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from hearsight.stack import ports
from hearsight.stack.home import Home
from hearsight.stack.postgres import Postgres
from hearsight.stack.program import Program
from hearsight.stack.valkey import Valkey
from hearsight_core.contract import BROKER_DB, NEWS_DB
from hearsight_core.settings import is_loopback

API = "api"
API_METRICS = "api metrics"
BOOTSTRAP = "HEARSIGHT_BOOTSTRAP_API_KEY"
WORKERS = {"download": "hearsight_download_worker", "asr": "hearsight_asr_worker"}


@dataclass(frozen=True)
class Plan:
    """The stack to be, before anything runs."""

    home: Home
    ports: Mapping[str, int]
    given: Mapping[str, str]
    """The person's environment, whose HEARSIGHT_ variables come before the stack's own."""

    @property
    def url(self) -> str:
        """Address of the API, as seen from this machine."""
        return f"http://{ports.HOST}:{self.ports[API]}"

    @property
    def api_key(self) -> str | None:
        """The key the stack's own commands send: the person's, else one of its own; None: no need.

        On a loopback address the API asks for none, unless HEARSIGHT_AUTH says so.
        """
        auth = self.given.get("HEARSIGHT_AUTH", "auto")
        this_machine_only = is_loopback(self.given.get("HEARSIGHT_HOST", ports.HOST))
        if auth in {"off", "loopback"} or (auth != "on" and this_machine_only):
            return None
        named = (self.given.get(name) for name in ("HEARSIGHT_API_KEY", BOOTSTRAP))
        return next(filter(None, named), None) or self.home.api_key()

    @property
    def postgres(self) -> Postgres | None:
        """The embedded server; None: the person named a database."""
        if "HEARSIGHT_DATABASE_URL" in self.given:
            return None
        return Postgres(self.home.path, self.ports["postgres"])

    @property
    def valkey(self) -> Valkey | None:
        """The embedded server; None: the person named both Redis databases."""
        if {"HEARSIGHT_BROKER_URL", "HEARSIGHT_REDIS_URL"} <= set(self.given):
            return None
        return Valkey(self.home.path, self.ports["valkey"])

    def environment(self) -> dict[str, str]:
        """The HEARSIGHT_ variables that the stack sets because the person did not.

        Raises:
            FileNotFoundError: PostgreSQL is ours and was not prepared.
        """
        own = {
            "HEARSIGHT_HOST": ports.HOST,
            "HEARSIGHT_STORAGE_URL": f"file://{quote(str(self.home.media))}",
            "HEARSIGHT_METRICS_HOST": ports.HOST,
            "HEARSIGHT_SCRATCH_DIR": str(self.home.scratch),
        }
        if self.postgres:
            own["HEARSIGHT_DATABASE_URL"] = self.postgres.url
        if self.valkey:
            own["HEARSIGHT_BROKER_URL"] = self.valkey.url(BROKER_DB)
            own["HEARSIGHT_REDIS_URL"] = self.valkey.url(NEWS_DB)
        return {name: value for name, value in own.items() if name not in self.given}

    def migration(self) -> Program:
        """Brings the database to this version's tables, and ends."""
        first = {BOOTSTRAP: self.api_key} if self.api_key and BOOTSTRAP not in self.given else {}
        return self._python("migrate", "hearsight_core.store.migrate", first, "")

    def services(self) -> list[Program]:
        """The API and the workers."""
        api_ports = {
            "HEARSIGHT_PORT": str(self.ports[API]),
            "HEARSIGHT_METRICS_PORT": str(self.ports[API_METRICS]),
        }
        return [
            self._python(API, "hearsight_api", api_ports, f"{self.url}/readyz"),
            *(
                self._python(
                    name,
                    module,
                    {"HEARSIGHT_METRICS_PORT": str(self.ports[name])},
                    f"http://{ports.HOST}:{self.ports[name]}/readyz",
                )
                for name, module in WORKERS.items()
            ),
        ]

    def _python(self, name: str, module: str, own: dict[str, str], ready_url: str) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-P", "-m", module),
            ready=lambda: answers_well(ready_url),
            environment={
                **self.given,
                **self.environment(),
                "PYTHONUNBUFFERED": "1",
                **own,
            },
        )


def answers_well(url: str) -> bool:
    """Whether a GET of `url` brings a success; proxies are not asked, this is for our own."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def choose_ports(wanted_api_port: int, before: Mapping[str, int]) -> dict[str, int]:
    """A port for every program: the one it had `before` where that is free.

    The API gets the port that is wanted, or the next free one.
    """
    chosen = {
        API: wanted_api_port if ports.is_free(wanted_api_port) else ports.next_free(wanted_api_port)
    }
    for name in ("postgres", "valkey", API_METRICS, *WORKERS):
        port = before.get(name)
        while port is None or port in chosen.values() or not ports.is_free(port):
            port = ports.free_port()
        chosen[name] = port
    return chosen
