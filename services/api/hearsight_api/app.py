"""The application: routes, errors, and what lives as long as it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from hearsight_api import problems
from hearsight_api.access import Access
from hearsight_api.body import BodyLimit
from hearsight_api.probes import Probes
from hearsight_api.problems import FieldProblem, Problem
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
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put what FastAPI does not know of into the OpenAPI document, and keep it to OpenAPI 3.1."""
    plain = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document["components"]["schemas"]
            for model in (Problem, FieldProblem):
                schemas[model.__name__] = model.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
                schemas[model.__name__].pop("$defs", None)
            events = document["paths"]["/api/progress/task/{job_id}/events"]["get"]["responses"]
            # FastAPI describes streams in the words of OpenAPI 3.2, under the number of 3.1.
            events["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        return app.openapi_schema or document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way to extend it
