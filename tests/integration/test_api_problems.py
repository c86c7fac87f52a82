"""Every error is a problem document that can be found again in the log."""

import asyncio
import re
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from hearsight_api.app import create_app
from hearsight_core.settings import ApiSettings
from tests.servers import api
from tests.servers.api import Api, Served, problem

CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def chinese(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that speaks Chinese, on the same stores."""
    log = tmp_path_factory.mktemp("chinese") / "api.log"
    with api.running(log, {**served.env, "HEARSIGHT_LANGUAGE": "zh"}) as server:
        yield server


class Wrong(NamedTuple):
    """A request and how it is refused."""

    method: str
    path: str
    body: object
    status: int
    code: str


ERRORS = [
    Wrong("GET", "/nowhere", None, 404, "http.not_found"),
    Wrong("GET", "/api/nowhere", None, 404, "http.not_found"),
    Wrong("PUT", "/api/jobs", None, 405, "http.method_not_allowed"),
    Wrong("GET", "/api/tasks/process", None, 405, "http.method_not_allowed"),
    Wrong("GET", "/api/jobs/59999", None, 404, "job.not_found"),
    Wrong("GET", "/api/jobs/x", None, 422, "request.invalid"),
    Wrong(
        "POST", "/api/tasks/process", {"url": "ftp://example.org/"}, 422, "request.unsupported_url"
    ),
    Wrong("POST", "/api/tasks/process", {"url": "http://[::1]/"}, 422, "request.forbidden_address"),
    Wrong("POST", "/api/upload", {}, 422, "request.invalid"),
]


@pytest.mark.parametrize("wrong", ERRORS)
def test_every_error_is_a_problem_document(http: httpx.Client, wrong: Wrong) -> None:
    answer = http.request(wrong.method, wrong.path, json=wrong.body)
    assert not CHINESE.search(problem(answer, wrong.status, wrong.code)["detail"])


@pytest.mark.parametrize("wrong", ERRORS)
def test_the_same_error_speaks_chinese_under_the_same_code(chinese: Api, wrong: Wrong) -> None:
    with chinese.client() as http:
        answer = http.request(wrong.method, wrong.path, json=wrong.body)
    assert CHINESE.search(problem(answer, wrong.status, wrong.code)["detail"])


def test_messages_of_progress_speak_chinese_too(chinese: Api) -> None:
    with chinese.client() as http:
        request = {"url": "https://example.org/talk.mp4"}
        job_id = http.post("/api/tasks/process", json=request).json()["job_id"]
        told = http.get(f"/api/progress/task/{job_id}").json()
    assert CHINESE.search(told["message"])
    assert (told["status"], told["stage"]) == ("pending", "download_start")


def test_a_wrong_method_is_told_the_right_ones(http: httpx.Client) -> None:
    assert http.put("/api/jobs").headers["Allow"] == "GET"


@pytest.mark.parametrize("own", ["abc-123", "a.b_c", "0" * 64])
def test_a_clients_own_request_id_is_kept(served: Served, http: httpx.Client, own: str) -> None:
    answer = http.get("/api/jobs/59999", headers={"X-Request-Id": own})
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == own
    assert f"request_id={own}" in served.api.log.read_text()


@pytest.mark.parametrize("own", ["", "0" * 65, "two words", "<script>", "\N{SNOWMAN}"])
def test_an_id_that_is_no_plain_word_is_replaced(http: httpx.Client, own: str) -> None:
    answer = http.get("/healthz", headers=[(b"X-Request-Id", own.encode())])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_every_answer_has_an_id_of_its_own(http: httpx.Client) -> None:
    ids = {http.get("/healthz").headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5


def test_what_nobody_foresaw_is_a_problem_too() -> None:
    app = create_app(ApiSettings())

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError("secrets of ours")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.get("/broken")

    answer = asyncio.run(ask())
    problem(answer, 500, "internal.unexpected")
    assert "secrets" not in answer.text
