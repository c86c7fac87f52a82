"""Health and readiness for whoever reaches the API: yes or no, and nothing of what is inside.

Machines ask on the port of the metrics (`HEARSIGHT_METRICS_PORT`), which tells what is wrong. Here
they stay for load balancers, which ask where they send requests, and for `hearsight doctor`.
"""

from fastapi import APIRouter

from hearsight_api.problems import responses
from hearsight_api.services import Injected
from hearsight_core.store import health

router = APIRouter(tags=["probes"])


@router.get("/healthz", summary="Does the process live?")
async def healthz() -> dict[str, str]:
    """Says nothing of the stores: a restart of the API would not mend them."""
    # On the event loop: when the database is away, every thread may be waiting for it.
    return {"status": "ok"}


@router.get("/readyz", responses=responses(), summary="Can it take jobs?")
def readyz(services: Injected) -> dict[str, str]:
    """Asks PostgreSQL. Redis is not asked: without it jobs are still taken and done.

    `keys`: `on`; `loopback`: not asked for, as only this machine can ask; `off`: not asked for.
    """
    health.server_version(services.database)
    return {"status": "ok", "keys": services.settings.keys}
