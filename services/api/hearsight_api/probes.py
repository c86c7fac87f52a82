"""Health and metrics of the API, on a port of their own that clients don't reach."""

import asyncio

import structlog

from hearsight_api.services import Services
from hearsight_core.errors import DatabaseError
from hearsight_core.store import health
from hearsight_core.telemetry.probes import ProbeServer

log = structlog.get_logger(__name__)

LOOP_S = 5.0
"""An event loop that does nothing for so long is stuck."""


class Probes:
    """Answers for the API, from a thread: so a stuck event loop is told, too."""

    def __init__(self, services: Services, loop: asyncio.AbstractEventLoop) -> None:
        self._services = services
        self._loop = loop
        settings = services.settings
        self._server = ProbeServer(
            settings.metrics_host, settings.metrics_port, healthy=self._healthy, ready=self._ready
        )
        log.info(
            "health and metrics", address=f"http://{settings.metrics_host}:{self._server.port}"
        )

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _healthy(self) -> str | None:
        """Liveness: says nothing of the stores, as a restart would not mend them."""
        turn = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop)
        try:
            turn.result(LOOP_S)
        except TimeoutError:
            return f"the event loop is stuck for {LOOP_S:.0f} s"
        return None if self._services.dispatcher.alive() else "the dispatcher's thread has ended"

    def _ready(self) -> str | None:
        """Readiness: PostgreSQL answers. Redis is not asked: without it jobs are taken and done."""
        try:
            health.server_version(self._services.database)
        except DatabaseError as error:
            return str(error)
        if self._services.settings.keys == "off":
            log.warning("keys are off", setting="HEARSIGHT_AUTH=off")
        return None
