"""Health, readiness, metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

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


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Every metric.", "content": {CONTENT_TYPE_LATEST: {}}}},
    summary="Prometheus metrics",
)
async def metrics() -> Response:
    """In Prometheus's text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
