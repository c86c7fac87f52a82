"""Real speech, through the ingress to a transcript."""

import json

from hearsight_core.contract import JobStatus, ProgressData, Stage, progress_key
from tests.client import Client
from tests.cluster.load import upload
from tests.cluster.outside import Outside
from tests.cluster.recordings import WORST_WORD_ERROR_RATE, recordings
from tests.cluster.release import Release
from tests.speech import word_error_rate


def test_speech_at_an_address_is_recognised(client: Client, outside: Outside) -> None:
    spoken = recordings()[0]
    job_id = client.submit(outside.media_url(spoken.name), language="en")
    last = client.outcome(job_id)
    assert last["status"] == JobStatus.COMPLETED, last
    heard = str(client.transcript(job_id)["text"])
    assert word_error_rate(spoken.text, heard) < WORST_WORD_ERROR_RATE


def test_an_upload_is_recognised_and_its_events_come_through_the_ingress(client: Client) -> None:
    spoken = recordings()[1]
    job_id = upload(client, spoken)
    events = list(client.events(job_id))
    told = [ProgressData.model_validate(data) for kind, _, data in events if kind != "segment"]
    assert told[-1].status is JobStatus.COMPLETED, told[-1]
    assert {news.stage for news in told} >= {Stage.ASR_RECOGNIZING, Stage.COMPLETED}
    overall = [news.overall_percent for news in told]
    assert overall == sorted(overall)
    segments = [str(data["text"]).strip() for kind, _, data in events if kind == "segment"]
    assert len(segments) > 1, "they came one by one"
    assert word_error_rate(spoken.text, str(client.transcript(job_id)["text"])) < (
        WORST_WORD_ERROR_RATE
    )


def test_the_charts_own_test_passes(release: Release) -> None:
    release.test()


def test_progress_lies_in_redis_for_a_day(client: Client, release: Release) -> None:
    job_id = upload(client, recordings()[2])
    assert client.outcome(job_id)["status"] == JobStatus.COMPLETED
    snapshot = ProgressData.model_validate(json.loads(release.redis("get", progress_key(job_id))))
    assert (snapshot.status, snapshot.stage) == (JobStatus.COMPLETED, Stage.COMPLETED)
    assert snapshot.progress_percent == snapshot.overall_percent == 100
    assert 23 * 3600 < int(release.redis("ttl", progress_key(job_id))) <= 24 * 3600
