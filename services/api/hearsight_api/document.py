"""What FastAPI does not know of for the OpenAPI document, and keeping that to OpenAPI 3.1."""

from typing import Any, Final

from fastapi import FastAPI

from hearsight_api.problems import FieldProblem, Problem

Document = dict[str, Any]  # Any: JSON as it goes out

_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"enum": ["progress", "segment", "end"]},
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "id", "data"],
}
"""One event of a stream; its data is ProgressData, or TranscriptSegment in the event `segment`."""

_NAME_A_JOB: Final = ("/api/tasks/process", "/api/upload")
"""What answers with the number of a job."""


def complete(app: FastAPI) -> None:
    """Makes `app.openapi` give the whole document."""
    plain = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is None:
            document = plain()
            _describe_problems(document)
            _describe_events(document)
            _link(document)
        return app.openapi_schema or document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this way to extend it


def _describe_problems(document: Document) -> None:
    schemas = document["components"]["schemas"]
    for model in (Problem, FieldProblem):
        schemas[model.__name__] = model.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        schemas[model.__name__].pop("$defs", None)


def _describe_events(document: Document) -> None:
    responses = document["paths"]["/api/progress/task/{job_id}/events"]["get"]["responses"]
    # FastAPI describes streams in the words of OpenAPI 3.2, under the number of 3.1.
    responses["200"]["content"] = {"text/event-stream": {"schema": _EVENT}}


def _link(document: Document) -> None:
    """Says what can be done with a job once an answer has named it, and how a list goes on."""
    paths: dict[str, Document] = document["paths"]
    on_a_job = [
        operation["operationId"]
        for path, methods in paths.items()
        if "{job_id}" in path
        for operation in methods.values()
    ]
    links = {
        name: {"operationId": name, "parameters": {"job_id": "$response.body#/job_id"}}
        for name in on_a_job
    }
    for path in _NAME_A_JOB:
        for status in ("200", "202"):
            paths[path]["post"]["responses"][status]["links"] = links
    listing = paths["/api/jobs"]["get"]
    listing["responses"]["200"]["links"] = {
        "next_page": {
            "operationId": listing["operationId"],
            "parameters": {"cursor": "$response.body#/next_cursor"},
        }
    }
