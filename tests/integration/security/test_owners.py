"""What is one owner's is, to another, as if it were not there."""

import time
from collections.abc import Iterator
from contextlib import suppress

import httpx

from hearsight_core.progress import News
from tests.integration.security.test_keys import TASKS, URL, operations
from tests.servers.api import Served, problem
from tests.servers.forms import END, FORM, field, file, wav
from tests.store import rows


def submitted(http: httpx.Client, **request: object) -> int:
    """A job of the client's owner."""
    answer = http.post(TASKS, json={"url": URL, **request})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["job_id"])


def test_a_job_belongs_to_the_owner_of_its_key(alice: httpx.Client, locked: Served) -> None:
    job_id = submitted(alice)
    assert alice.get(f"/api/jobs/{job_id}").json()["owner"] == "alice"
    [row] = rows(locked.database, "SELECT owner FROM jobs WHERE id = :id", id=job_id)
    assert row["owner"] == "alice"


def test_another_owner_s_job_is_as_if_it_were_not_there(
    alice: httpx.Client, bob: httpx.Client
) -> None:
    job_id = submitted(alice)
    nowhere = 999_999_999
    walked = 0
    for method, path, _ in operations(bob):
        if "{job_id}" not in path:
            continue
        walked += 1
        theirs = bob.request(method, path.replace("{job_id}", str(job_id)))
        none = bob.request(method, path.replace("{job_id}", str(nowhere)))
        assert theirs.status_code == 404, (method, path)
        told, expected = theirs.json(), none.json()
        for name in ("request_id", "trace_id"):
            told.pop(name, None)
            expected.pop(name, None)
        assert str(told).replace(str(job_id), str(nowhere)) == str(expected)
        differ = {
            name
            for name in theirs.headers.keys() ^ none.headers.keys()
            if name not in {"date", "content-length"}
        }
        assert not differ
    assert walked >= 8
    # It is still as it was.
    assert alice.get(f"/api/jobs/{job_id}").json()["status"] == "pending"


def test_a_list_holds_the_owner_s_jobs_alone(alice: httpx.Client, bob: httpx.Client) -> None:
    mine, theirs = [submitted(alice) for _ in range(3)], [submitted(bob) for _ in range(3)]
    seen: list[int] = []
    cursor = None
    while True:
        page = alice.get("/api/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        assert {job["owner"] for job in page.json()["jobs"]} == {"alice"}
        seen += [job["job_id"] for job in page.json()["jobs"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert set(mine) <= set(seen)
    assert not set(theirs) & set(seen)
    by_status = alice.get("/api/jobs", params={"status": "pending", "limit": 200}).json()["jobs"]
    assert {job["owner"] for job in by_status} == {"alice"}


def test_another_owner_s_cursor_shows_nothing_of_theirs(
    alice: httpx.Client, bob: httpx.Client
) -> None:
    for _ in range(3):
        submitted(alice)
    cursor = alice.get("/api/jobs", params={"limit": 1}).json()["next_cursor"]
    found = bob.get("/api/jobs", params={"cursor": cursor}).json()["jobs"]
    assert {job["owner"] for job in found} <= {"bob"}


def test_a_number_taken_by_another_owner_tells_nothing_of_what_it_is(
    alice: httpx.Client, bob: httpx.Client
) -> None:
    """The same answer whether the requests are equal or not, whatever became of the job."""
    answers = []
    for job_id, state in ((72_001, "waiting"), (72_002, "cancelled"), (72_003, "deleted")):
        submitted(alice, job_id=job_id)
        if state == "cancelled":
            alice.post(f"/api/jobs/{job_id}/cancel")
        for url in (URL, "https://example.org/other.mp4"):
            answer = bob.post(TASKS, json={"url": url, "job_id": job_id})
            said = problem(answer, 409, "job.conflict")
            answers.append(str(said).replace(str(job_id), "N"))
            assert "Location" not in answer.headers
    assert len(set(answers)) == 1


def test_an_upload_under_another_owner_s_number_is_refused_before_it_is_sent(
    alice: httpx.Client, bob: httpx.Client, locked: Served
) -> None:
    job_id = submitted(alice, job_id=72_010)
    before = {found.key for found in locked.storage.list("uploads/")}

    def body() -> Iterator[bytes]:
        yield field("job_id", str(job_id))[2:] + file(wav()[:20_000])
        time.sleep(1)
        yield wav()[20_000:] + END

    # The answer may come, and the connection be closed, before all is sent.
    with suppress(httpx.TransportError):
        problem(bob.post("/api/upload", headers=FORM, content=body()), 409, "job.conflict")
    assert {found.key for found in locked.storage.list("uploads/")} == before
    assert alice.get(f"/api/progress/task/{job_id}").json()["stage"] == "download_start"


def test_an_upload_under_way_is_shown_to_its_owner_alone(
    alice: httpx.Client, bob: httpx.Client, admin: httpx.Client
) -> None:
    job_id = 72_020
    seen: dict[str, int] = {}

    def body() -> Iterator[bytes]:
        yield field("job_id", str(job_id))[2:] + file(wav()[:40_000])
        path = f"/api/progress/task/{job_id}"
        until = time.monotonic() + 10
        while alice.get(path).status_code != 200 and time.monotonic() < until:
            time.sleep(0.1)
        seen["alice"] = alice.get(path).status_code
        seen["bob"] = bob.get(path).status_code
        seen["admin"] = admin.get(path).status_code
        yield wav()[40_000:] + END

    with httpx.Client(base_url=alice.base_url, headers=alice.headers, trust_env=False) as sender:
        answer = sender.post(
            "/api/upload", headers={**alice.headers, **FORM}, content=body(), timeout=60
        )
    assert answer.status_code == 202, answer.text
    assert seen == {"alice": 200, "bob": 404, "admin": 200}


def test_an_admin_sees_and_changes_every_owner_s_jobs(
    alice: httpx.Client, bob: httpx.Client, admin: httpx.Client
) -> None:
    mine, theirs = submitted(alice), submitted(bob)
    listed = {job["job_id"] for job in admin.get("/api/jobs", params={"limit": 200}).json()["jobs"]}
    assert {mine, theirs} <= listed
    assert admin.post(f"/api/jobs/{mine}/cancel").json()["status"] == "cancelled"
    assert admin.delete(f"/api/jobs/{theirs}").status_code == 204
    assert bob.get(f"/api/jobs/{theirs}").status_code == 404


def test_a_deleted_number_taken_by_another_owner_is_not_followed_on(
    alice: httpx.Client, bob: httpx.Client, locked: Served
) -> None:
    """A stream that was opened on one owner's job must not go on with another's of that number."""
    job_id = submitted(alice, job_id=72_030)
    news = News(locked.redis_url)
    with alice.stream("GET", f"/api/progress/task/{job_id}/events", timeout=60) as stream:
        lines = stream.iter_lines()
        assert any("event: progress" in line for line in lines)
        # As if the deletion's own news were lost.
        rows(locked.database, "DELETE FROM jobs WHERE id = :id RETURNING id", id=job_id)
        news.forget(job_id)
        submitted(bob, job_id=job_id)
        assert bob.post(f"/api/jobs/{job_id}/cancel").json()["status"] == "cancelled"
        assert not [line for line in lines if "bob" in line or "cancelled" in line]
    news.close()
