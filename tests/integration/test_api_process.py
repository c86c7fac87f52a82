"""A URL is taken at once, once, and only if it may be fetched."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.integration.conftest import Together
from tests.servers import api
from tests.servers.api import Served, problem
from tests.store import claimed, rows

URL = "https://example.org/talk.mp4"
TASKS = "/api/tasks/process"


def tasks_of(served: Served, job_id: int) -> list[str]:
    found = rows(served.database, "SELECT id FROM tasks WHERE job_id = :id", id=job_id)
    return [str(row["id"]) for row in found]


def jobs_stored(served: Served) -> int:
    return len(rows(served.database, "SELECT id FROM jobs"))


def test_a_url_is_taken_at_once(served: Served, http: httpx.Client) -> None:
    answer = http.post(TASKS, json={"url": URL, "language": "en", "hotwords": "HearSight"})
    assert answer.status_code == 202
    taken = answer.json()
    assert taken["status"] == "pending"
    assert answer.headers["Location"] == f"/api/jobs/{taken['job_id']}"
    assert tasks_of(served, taken["job_id"]) == [taken["task_id"]]
    shown = http.get(answer.headers["Location"]).json()
    assert shown["source_url"] == URL
    assert shown["options"]["language"] == "en"
    assert shown["options"]["hotwords"] == "HearSight"


@pytest.fixture(scope="module")
def pooled(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of an API beside the other one, on the same stores, that knows two pools."""
    env = {**served.env, "HEARSIGHT_ASR_POOLS": "large,default"}
    log = tmp_path_factory.mktemp("pooled") / "api.log"
    with api.running(log, env) as server, server.client() as client:
        yield client


def test_a_job_goes_to_the_pool_it_names_else_to_the_first(pooled: httpx.Client) -> None:
    for named, pool in {"default": "default", "large": "large", None: "large"}.items():
        taken = pooled.post(TASKS, json={"url": URL, "pool": named}).json()
        assert pooled.get(f"/api/jobs/{taken['job_id']}").json()["pool"] == pool


def test_a_pool_that_does_not_exist_is_refused_and_the_others_are_named(
    pooled: httpx.Client,
) -> None:
    said = problem(
        pooled.post(TASKS, json={"url": URL, "pool": "huge"}), 422, "request.unknown_pool"
    )
    assert "large, default" in said["pool"]


def test_the_same_request_again_makes_no_second_job(served: Served, http: httpx.Client) -> None:
    request = {"url": URL, "job_id": 10_001, "task": "translate", "priority": "low"}
    first = http.post(TASKS, json=request)
    again = http.post(TASKS, json=request)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert tasks_of(served, 10_001) == [first.json()["task_id"]]


def test_the_same_address_written_otherwise_is_the_same_request(http: httpx.Client) -> None:
    assert http.post(TASKS, json={"url": URL, "job_id": 10_002}).status_code == 202
    other = {"url": "HTTPS://EXAMPLE.org:443/talk.mp4", "job_id": 10_002, "language": "auto"}
    assert http.post(TASKS, json=other).status_code == 200


def test_a_request_sent_many_times_at_once_makes_one_job(
    served: Served, http: httpx.Client, together: Together
) -> None:
    def send() -> int:
        return http.post(TASKS, json={"url": URL, "job_id": 10_003}).status_code

    senders: list[Callable[[], int]] = [send] * 8
    assert sorted(together(senders)) == [200] * 7 + [202]
    assert len(tasks_of(served, 10_003)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"url": "https://example.org/other.mp4"},
        {"url": URL, "language": "de"},
        {"url": URL, "priority": "high"},
    ],
)
def test_another_request_under_the_same_id_is_refused(
    http: httpx.Client, other: dict[str, str]
) -> None:
    http.post(TASKS, json={"url": URL, "job_id": 10_004})
    said = problem(http.post(TASKS, json={"job_id": 10_004, **other}), 409, "job.conflict")
    assert "job_id" in said


def test_the_same_request_again_tells_how_the_job_stands_now(
    served: Served, http: httpx.Client
) -> None:
    first = http.post(TASKS, json={"url": URL, "job_id": 10_005}).json()
    claimed(served.database, first["task_id"])
    again = http.post(TASKS, json={"url": URL, "job_id": 10_005}).json()
    assert again == {**first, "status": "processing"}


def test_an_id_of_our_own_choice_is_never_one_that_a_client_took(http: httpx.Client) -> None:
    drawn = http.post(TASKS, json={"url": URL}).json()["job_id"]
    assert http.post(TASKS, json={"url": URL, "job_id": drawn + 1}).status_code == 202
    assert http.post(TASKS, json={"url": URL}).json()["job_id"] > drawn + 1


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({}, "request.invalid", "url"),
        ({"url": None}, "request.invalid", "url"),
        ({"url": ""}, "request.unsupported_url", "url"),
        ({"url": "talk.mp4"}, "request.unsupported_url", "url"),
        ({"url": "ftp://example.org/talk.mp4"}, "request.unsupported_url", "url"),
        ({"url": "file:///etc/passwd"}, "request.unsupported_url", "url"),
        ({"url": "javascript:alert(1)"}, "request.unsupported_url", "url"),
        ({"url": "https://"}, "request.invalid", "url"),
        ({"url": "https://example.org:99999/"}, "request.invalid", "url"),
        ({"url": "https://example.org/a b"}, "request.invalid", "url"),
        ({"url": "https://example.org/a\0b"}, "request.invalid", "url"),
        ({"url": f"https://example.org/{'x' * 9000}"}, "request.invalid", "url"),
        ({"url": "https://me:secret@example.org/"}, "request.invalid", "url"),
        ({"url": "http://127.0.0.1/"}, "request.forbidden_address", "url"),
        ({"url": "http://localhost:8000/"}, "request.forbidden_address", "url"),
        ({"url": "http://10.1.2.3/"}, "request.forbidden_address", "url"),
        ({"url": "http://2130706433/"}, "request.forbidden_address", "url"),
        ({"url": "http://[::1]/"}, "request.forbidden_address", "url"),
        ({"url": "http://169.254.169.254/latest/"}, "request.forbidden_address", "url"),
        ({"url": URL, "langauge": "en"}, "request.invalid", "langauge"),
        ({"url": URL, "language": ["en"]}, "request.invalid", "language"),
        ({"url": URL, "job_id": 0}, "request.invalid", "job_id"),
        ({"url": URL, "job_id": 2**63}, "request.invalid", "job_id"),
        ({"url": URL, "initial_prompt": "a\0b"}, "request.invalid", "initial_prompt"),
        ({"url": URL, "pool": "large"}, "request.unknown_pool", "pool"),
        ({"url": URL, "pool": ""}, "request.unknown_pool", "pool"),
        ({"url": URL, "pool": "x" * 1000}, "request.invalid", "pool"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(
    served: Served, http: httpx.Client, request_: dict[str, object], code: str, field: str
) -> None:
    before = jobs_stored(served)
    said = problem(http.post(TASKS, json=request_), 422, code)
    assert field in said
    assert "secret" not in said["detail"]
    assert jobs_stored(served) == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"url=https://example.org", b"\xff\xfe", b"[]", b'"x"', b"null"]
)
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
    assert "body" in problem(answer, 422, "request.invalid")


def test_a_body_that_never_ends_is_refused(http: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"url": "'
        for _ in range(100):
            yield b"x" * 65_536

    answer = http.post(TASKS, content=body(), headers={"Content-Type": "application/json"})
    problem(answer, 413, "http.content_too_large")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"job_id": ' + b"9" * 5000 + b"}"])
def test_a_body_made_to_break_parsers_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post(TASKS, content=body, headers={"Content-Type": "application/json"})
    problem(answer, 400, "http.bad_request")
