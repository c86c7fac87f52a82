"""A worker that has an endpoint recognise does whole jobs as any other does."""

from pathlib import Path

from hearsight_core.contract import JobStatus
from tests.servers.openai_endpoint import KEY, MODEL, Told, openai_endpoint
from tests.servers.stack import running_stack
from tests.speech import joined, word_error_rate, write_wav


def test_a_job_is_recognised_by_an_endpoint(tmp_path: Path) -> None:
    recording = joined(40, seed=5)
    path = write_wav(tmp_path / "talk.wav", recording.audio)
    with (
        openai_endpoint() as endpoint,
        running_stack(
            tmp_path / "home",
            HEARSIGHT_ENGINE="openai",
            HEARSIGHT_OPENAI_URL=endpoint.url,
            HEARSIGHT_OPENAI_API_KEY=KEY,
            HEARSIGHT_OPENAI_REQUESTS="2",
            CELERY_LOG_LEVEL="DEBUG",
            HEARSIGHT_RETRY_BACKOFF_S="0.2",
        ) as stack,
    ):
        # Put off once, and failing for longer than the engine waits once: the task is tried again.
        busy = Told(429, headers=(("Retry-After", "0.3"),))
        endpoint.tell += [busy, Told(503, headers=(("Retry-After", "3600"),))]
        job_id = stack.upload(path, word_timestamps="true")
        assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
        transcript = stack.transcript(job_id)
        log = stack.log.read_text()
        logs = [one.read_text(errors="replace") for one in (tmp_path / "home").rglob("*.log")]
    assert word_error_rate(recording.text, str(transcript["text"])) < 0.15
    model = transcript["model"]
    assert isinstance(model, dict)
    assert (model["name"], model["device"]) == (MODEL, "remote")
    assert transcript["language"] == "en"
    assert transcript["language_probability"] is None
    segments = transcript["segments"]
    assert isinstance(segments, list)
    assert all(segment["words"] for segment in segments)
    assert "asr.remote_unavailable" in log + "".join(logs)
    assert KEY not in log + "".join(logs)

    # Every chunk was answered once: what failed was asked again, and nothing besides.
    assert len(endpoint.got) >= 4
