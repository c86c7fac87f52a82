"""How a job stands is told from Redis, or from the database where Redis knows nothing."""

import httpx
from redis import Redis

from hearsight_core.contract import ProgressData
from hearsight_core.jobs import progress_of
from tests.servers.api import Served, problem
from tests.servers.recogniser import Recogniser
from tests.store import accepted


def progress(http: httpx.Client, job_id: int) -> ProgressData:
    answer = http.get(f"/api/progress/task/{job_id}")
    assert answer.status_code == 200, answer.text
    return ProgressData.model_validate(answer.json())


def test_progress_is_told_as_it_was_published(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    worker.say("hello")
    told = progress_of(worker.job).model_copy(
        update={"real_time_factor": 0.25, "eta_seconds": 12.5, "speed": 1e6}
    )
    served.news.publish(told)
    assert progress(http, worker.job_id) == told


def test_progress_survives_the_loss_of_redis(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    worker.say("hello")
    with Redis.from_url(served.redis_url) as redis:
        redis.flushall()
    assert progress(http, worker.job_id) == progress_of(worker.job)


def test_news_that_comes_late_never_takes_progress_back(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    early = worker.store()
    worker.say("hello")
    worker.tell(early)
    assert progress(http, worker.job_id).version == worker.job.version


def test_an_unknown_job_is_idle(http: httpx.Client) -> None:
    answer = http.get("/api/progress/task/49999")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    told = ProgressData.model_validate(answer.json())
    assert (told.job_id, told.status, told.error_code) == (49_999, "idle", "job.not_found")
    assert "49999" in told.message


def test_a_new_job_waits(served: Served, http: httpx.Client) -> None:
    told = progress(http, accepted(served.database).job.id)
    assert (told.status, told.stage, told.progress_percent) == ("pending", "download_start", 0)


def test_what_is_no_job_id_is_refused(http: httpx.Client) -> None:
    problem(http.get("/api/progress/task/seven"), 422, "request.invalid")
