"""The OpenAPI document is valid, whole and true."""

import json
import re
from typing import Any

import httpx
import jsonschema
import openapi_spec_validator
import pytest

from hearsight_api.problems import Problem
from hearsight_core.jobs import progress_of
from hearsight_core.store import listing
from tests.servers.api import Served
from tests.servers.recogniser import Recogniser

Document = dict[str, Any]  # Any: JSON as it comes


@pytest.fixture(scope="module")
def document(served: Served) -> Document:
    with served.api.client() as http:
        found: Document = http.get("/openapi.json").json()
    return found


def operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def validate(document: Document, schema: str, found: object) -> None:
    """Whether `found` is what the document says that `schema` is."""
    jsonschema.validate(
        found, {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    )


def test_the_document_is_valid(document: Document) -> None:
    openapi_spec_validator.validate(document)


def test_the_document_names_every_route(document: Document) -> None:
    assert set(operations(document)) == {
        "POST /api/tasks/process",
        "POST /api/upload",
        "GET /api/progress/task/{job_id}",
        "GET /api/progress/task/{job_id}/events",
        "GET /api/jobs",
        "GET /api/jobs/{job_id}",
        "DELETE /api/jobs/{job_id}",
        "POST /api/jobs/{job_id}/cancel",
        "POST /api/jobs/{job_id}/retry",
        "GET /api/jobs/{job_id}/transcript",
        "GET /api/jobs/{job_id}/media",
        "GET /healthz",
        "GET /readyz",
    }


def test_every_route_is_described(document: Document) -> None:
    for name, operation in operations(document).items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name


def test_every_error_is_documented_as_a_problem(document: Document) -> None:
    for name, operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            if int(status) < 400 or (name, status) == ("GET /api/progress/task/{job_id}", "404"):
                continue
            assert response["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }, (name, status)


def test_nothing_is_left_of_the_frameworks_own_errors(document: Document) -> None:
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_route_on_a_job_says_how_it_fails(document: Document) -> None:
    for name, operation in operations(document).items():
        if "{job_id}" in name:
            assert {"404", "422", "503"} <= operation["responses"].keys(), name


def test_there_are_examples_of_what_is_sent_and_answered(document: Document) -> None:
    schemas = document["components"]["schemas"]
    for example in schemas["ProcessRequest"]["examples"]:
        validate(document, "ProcessRequest", example)
    for name in ("Accepted", "Problem"):
        shown = {
            field: about["examples"][0]
            for field, about in schemas[name]["properties"].items()
            if "examples" in about
        }
        assert set(schemas[name]["required"]) <= set(shown)
        validate(document, name, shown)


def test_an_uploads_fields_are_those_of_a_urls_request(document: Document) -> None:
    form = operations(document)["POST /api/upload"]["requestBody"]["content"]
    fields = form["multipart/form-data"]["schema"]["properties"].keys()
    request = document["components"]["schemas"]["ProcessRequest"]["properties"].keys()
    assert fields - {"file"} == request - {"url"}


def test_answers_are_what_the_document_says(
    served: Served, http: httpx.Client, document: Document
) -> None:
    worker = Recogniser(served)
    worker.name_language()
    worker.say("hello")
    worker.finish()
    job = f"/api/jobs/{worker.job_id}"
    for path, schema in (
        (job, "JobView"),
        ("/api/jobs?limit=3", "JobPage"),
        (f"{job}/transcript", "Transcript"),
        (f"/api/progress/task/{worker.job_id}", "ProgressData"),
        ("/api/progress/task/59995", "ProgressData"),
        ("/api/jobs/59995", "Problem"),
        ("/api/jobs/x", "Problem"),
    ):
        validate(document, schema, http.get(path).json())
    stored = listing.get(served.database, worker.job_id)
    validate(document, "ProgressData", progress_of(stored).model_dump(mode="json"))


def test_the_schema_of_problems_stands_alone() -> None:
    assert not re.search(r"#/\$defs", json.dumps(Problem.model_json_schema(ref_template="{model}")))


def test_the_page_of_the_document_is_there(http: httpx.Client) -> None:
    assert http.get("/docs").status_code == 200
