"""The application: routes, errors, and what lives as long as it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from hearsight_api import document, problems
from hearsight_api.access import Access
from hearsight_api.body import BodyLimit
from hearsight_api.probes import Probes
from hearsight_api.requests_log import QUIET, RequestLog
from hearsight_api.routes import health, jobs, media, progress, transcripts, uploads
from hearsight_api.services import Services
from hearsight_core import __version__
from hearsight_core.settings import ApiSettings
from hearsight_core.telemetry.traces import API_SERVICE, tracing

_DESCRIPTION = """
Give it the address of a video or a recording, or the file itself; get back a timed transcript, with
live progress all the way.

Errors are problem documents (RFC 9457) with a stable `code`, a `detail` for people and the
`request_id` that stands in the logs.
"""


def create_app(settings: ApiSettings) -> FastAPI:
    """The API as the settings want it; stores are opened when it starts, not before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Ended here and not after the server, which on SIGTERM ends the process itself.
        with tracing(API_SERVICE, settings.otlp_endpoint):
            services = Services.build(settings)
            app.state.services = services
            services.start()
            probes = Probes(services, asyncio.get_running_loop())
            running = {
                asyncio.create_task(services.watchers.run(), name="watchers"),
                asyncio.create_task(services.keyring.run(), name="keyring"),
            }
            yield
            await asyncio.to_thread(probes.close)
            # Once is not always enough: a cancel that comes while Redis is being connected can be
            # lost.
            while running:
                for task in running:
                    task.cancel()
                _, running = await asyncio.wait(running, timeout=1)
            await services.limits.rates.close()
            await asyncio.to_thread(services.close)

    app = FastAPI(
        title="HearSight",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        separate_input_output_schemas=False,
        # One span a request, for the provider that the lifespan sets.
        telemetry={
            "operation_spans": False,
            "logs": False,
            "metrics": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in QUIET,
        },
    )
    # Looked through in this order: what is asked most often comes first.
    for module in (progress, jobs, uploads, transcripts, media, health):
        app.include_router(module.router)
    problems.install(app, settings.language)
    app.add_middleware(BodyLimit, settings.min_upload_bytes_per_s)
    app.add_middleware(Access, settings)
    app.add_middleware(problems.LastResort, settings.language)
    app.add_middleware(RequestLog)
    document.complete(app)
    return app
