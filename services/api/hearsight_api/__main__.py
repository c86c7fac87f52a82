"""`python -m hearsight_api`: the API as a process."""

import sys

import structlog
import uvicorn

from hearsight_api.app import create_app
from hearsight_api.connections import Connection
from hearsight_core import environment
from hearsight_core.settings import ApiSettings, masked
from hearsight_core.telemetry import logs

log = structlog.get_logger(__name__)

GRACE_S = 10
"""How long open requests, event streams among them, may go on after SIGTERM."""


def main() -> int:
    """Serves until told to end; returns the exit code."""
    settings = environment.read(ApiSettings)
    logs.configure(
        log_format=settings.log_format, level=settings.log_level, colors=sys.stdout.isatty()
    )
    log.info(
        "starting",
        address=f"http://{settings.host}:{settings.port}",
        database=masked(settings.database_url),
        broker=masked(settings.broker_url),
        redis=masked(settings.redis_url),
        storage=masked(settings.storage_url),
        keys=settings.keys,
    )
    if settings.keys == "off":
        log.warning(
            "keys are off: whoever reaches this address may read and delete every job",
            address=f"http://{settings.host}:{settings.port}",
            setting="HEARSIGHT_AUTH=off",
        )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            http=Connection,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
