"""Jobs are listed in stable pages; cancelled, retried and deleted as their state allows."""

import time
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from hearsight_core.contract import JobStatus, RecognitionOptions
from hearsight_core.errors import CorruptError
from hearsight_core.store import outcomes
from hearsight_core.store.submission import Submission, Upload, accept
from tests.servers.api import Served, problem
from tests.store import AT_ONCE, EN, accepted, claimed, cut, downloading, states, transcribed

_NUMBERS = count(20_001)


@pytest.fixture
def job_id() -> int:
    return next(_NUMBERS)


def pages(http: httpx.Client, **query: str | int) -> Iterator[list[int]]:
    """The pages of the list, as job ids."""
    cursor: dict[str, str] = {}
    while True:
        answer = http.get("/api/jobs", params={**query, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        yield [job["job_id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def failed(served: Served, job_id: int) -> None:
    task = downloading(served.database, job_id=job_id).task
    outcomes.fail(served.database, task, CorruptError(), AT_ONCE, EN)


def completed(served: Served, job_id: int) -> None:
    _, [part] = cut(served.database, parts=1, job_id=job_id)
    transcribed(served.database, part)


def uploaded(served: Served, job_id: int) -> str:
    """A job on an upload; returns the upload's key."""
    key = f"uploads/of-{job_id}"
    served.storage.put_bytes(key, b"RIFF")
    upload = Upload(
        key=key, filename="talk.wav", size_bytes=4, media_type="audio/x-wav", sha256="0" * 64
    )
    wanted = Submission(url=None, upload=upload, options=RecognitionOptions(), priority="normal")
    accept(served.database, wanted, EN, job_id=job_id)
    return key


# The list


def test_jobs_are_listed_newest_first(served: Served, http: httpx.Client) -> None:
    made = [accepted(served.database).job.id for _ in range(5)]
    assert next(pages(http, limit=5)) == made[::-1]


def test_pages_stay_stable_while_jobs_come_in(served: Served, http: httpx.Client) -> None:
    made = [accepted(served.database).job.id for _ in range(7)]
    walked: list[int] = []
    for page in pages(http, limit=3):
        assert len(page) <= 3
        walked += page
        accepted(served.database)
        if made[0] in walked:
            break
    assert walked[:7] == made[::-1]
    assert len(walked) == len(set(walked))


def test_the_last_page_has_no_cursor(served: Served, http: httpx.Client) -> None:
    accepted(served.database)
    walked = list(pages(http, limit=200))
    total = sum(map(len, walked))
    assert [len(page) for page in pages(http, limit=total)] == [total]


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.IDLE}))
def test_the_list_can_be_of_one_status(
    served: Served, http: httpx.Client, job_id: int, status: JobStatus
) -> None:
    match status:
        case JobStatus.PENDING:
            accepted(served.database, job_id=job_id)
        case JobStatus.PROCESSING:
            downloading(served.database, job_id=job_id)
        case JobStatus.COMPLETED:
            completed(served, job_id)
        case JobStatus.FAILED:
            failed(served, job_id)
        case _:
            accepted(served.database, job_id=job_id)
            http.post(f"/api/jobs/{job_id}/cancel")
    found = http.get("/api/jobs", params={"status": status}).json()["jobs"]
    assert found[0]["job_id"] == job_id
    assert {job["status"] for job in found} == {status}


def test_no_stored_job_is_idle(http: httpx.Client) -> None:
    assert http.get("/api/jobs", params={"status": "idle"}).json()["jobs"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "lost"}, "status"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "!" * 20}, "cursor"),
        ({"cursor": "\N{SNOWMAN}"}, "cursor"),
        ({"cursor": "x" * 201}, "cursor"),
        ({"cursor": "MjAyNi0xMS0yNFQwMTo0NTowMCBhYmM"}, "cursor"),  # ... abc
        ({"cursor": "MDAwMS0wMS0wMVQwMDowMDowMCswMTowMCA3"}, "cursor"),  # before the year 1
    ],
)
def test_a_bad_question_is_refused_by_the_name_of_its_field(
    http: httpx.Client, query: dict[str, str | int], field: str
) -> None:
    assert field in problem(http.get("/api/jobs", params=query), 422, "request.invalid")


@pytest.mark.parametrize("limit", [1, 200])
def test_a_page_has_one_to_two_hundred_jobs(http: httpx.Client, limit: int) -> None:
    assert len(http.get("/api/jobs", params={"limit": limit}).json()["jobs"]) <= limit


# One job


def test_a_job_is_shown_as_it_stands(served: Served, http: httpx.Client, job_id: int) -> None:
    failed(served, job_id)
    shown = http.get(f"/api/jobs/{job_id}").json()
    assert (shown["status"], shown["stage"]) == ("failed", "error")
    assert shown["error_code"] == "media.corrupt"
    assert shown["error"]
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/transcript"),
        ("GET", "/media"),
    ],
)
def test_a_job_that_is_not_there_is_not_found(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, f"/api/jobs/19999{path}")
    assert "19999" in problem(answer, 404, "job.not_found")["detail"]


@pytest.mark.parametrize("number", ["0", "-1", "seven", str(2**63)])
def test_what_is_no_job_id_is_refused(http: httpx.Client, number: str) -> None:
    assert "job_id" in problem(http.get(f"/api/jobs/{number}"), 422, "request.invalid")


# Cancel


def test_a_waiting_job_is_cancelled_at_once(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    accepted(served.database, job_id=job_id)
    cancelled = http.post(f"/api/jobs/{job_id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert states(served.database, job_id) == ["cancelled"]
    assert http.get(f"/api/progress/task/{job_id}").json()["status"] == "cancelled"


def test_a_job_in_work_is_asked_to_stop_and_cancelled_when_it_does(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    claim = downloading(served.database, job_id=job_id)
    asked = http.post(f"/api/jobs/{job_id}/cancel").json()
    assert (asked["status"], asked["cancel_requested"]) == ("processing", True)
    outcomes.let_go(served.database, claim.task, EN)
    assert http.get(f"/api/jobs/{job_id}").json()["status"] == "cancelled"


def test_cancelling_twice_is_as_once(served: Served, http: httpx.Client, job_id: int) -> None:
    accepted(served.database, job_id=job_id)
    first = http.post(f"/api/jobs/{job_id}/cancel")
    assert http.post(f"/api/jobs/{job_id}/cancel").json() == first.json()


@pytest.mark.parametrize("end", [completed, failed])
def test_a_job_that_has_ended_cannot_be_cancelled(
    served: Served, http: httpx.Client, job_id: int, end: object
) -> None:
    assert callable(end)
    end(served, job_id)
    problem(http.post(f"/api/jobs/{job_id}/cancel"), 409, "job.state")


# Retry


def test_a_failed_job_goes_back_into_the_queue(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    failed(served, job_id)
    again = http.post(f"/api/jobs/{job_id}/retry")
    assert again.status_code == 200
    shown = again.json()
    assert (shown["status"], shown["error"], shown["finished_at"]) == ("pending", None, None)
    assert states(served.database, job_id) == ["waiting"]
    assert http.get(f"/api/progress/task/{job_id}").json()["status"] == "pending"


def test_a_cancelled_job_can_be_retried(served: Served, http: httpx.Client, job_id: int) -> None:
    accepted(served.database, job_id=job_id)
    http.post(f"/api/jobs/{job_id}/cancel")
    again = http.post(f"/api/jobs/{job_id}/retry").json()
    assert (again["status"], again["cancel_requested"]) == ("pending", False)


@pytest.mark.parametrize("make", [accepted, downloading, None])
def test_only_what_has_failed_or_been_cancelled_can_be_retried(
    served: Served, http: httpx.Client, job_id: int, make: object
) -> None:
    if callable(make):
        make(served.database, job_id=job_id)
    else:
        completed(served, job_id)
    problem(http.post(f"/api/jobs/{job_id}/retry"), 409, "job.state")


# Delete


def test_a_deleted_job_is_gone_with_its_objects(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    key = uploaded(served, job_id)
    part = f"jobs/{job_id}/parts/0.flac"
    served.storage.put_bytes(part, b"fLaC")
    assert http.delete(f"/api/jobs/{job_id}").status_code == 204
    problem(http.get(f"/api/jobs/{job_id}"), 404, "job.not_found")
    assert job_id not in next(pages(http, limit=200))
    assert http.get(f"/api/progress/task/{job_id}").json()["status"] == "idle"
    assert {key, part}.isdisjoint(found.key for found in served.storage.list(""))
    problem(http.delete(f"/api/jobs/{job_id}"), 404, "job.not_found")


def test_a_deleted_jobs_number_can_be_taken_anew(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    accepted(served.database, job_id=job_id)
    http.delete(f"/api/jobs/{job_id}")
    anew = http.post("/api/tasks/process", json={"url": "https://example.com", "job_id": job_id})
    assert anew.status_code == 202


def test_a_job_in_work_is_hidden_at_once_and_gone_when_its_worker_lets_go(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    _, [part] = cut(served.database, parts=1, job_id=job_id)
    task = claimed(served.database, part).task
    assert http.delete(f"/api/jobs/{job_id}").status_code == 204
    problem(http.get(f"/api/jobs/{job_id}"), 404, "job.not_found")
    taken = {"url": "https://example.org/talk.mp4", "job_id": job_id}
    problem(http.post("/api/tasks/process", json=taken), 409, "job.conflict")
    outcomes.let_go(served.database, task, EN)
    while states(served.database, job_id):
        time.sleep(0.05)  # the dispatcher comes by every second
