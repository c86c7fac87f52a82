"""One trace goes from the request through every service to the end of the job, and into the log."""

import json
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hearsight_core.contract import JobStatus
from tests.servers.collector import Collector, Span
from tests.servers.media import MediaServer
from tests.servers.stack import Stack
from tests.speech import joined, write_wav

RECORDING_S = 120
WAIT_S = 60


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech of several parts."""
    path = tmp_path_factory.mktemp("traces") / "two-minutes.wav"
    write_wav(path, joined(RECORDING_S, seed=5).audio)
    return path


def completed(spans: list[Span]) -> bool:
    return any("job completed" in span["events"] for span in spans)


def of(spans: list[Span], service: str, name: str) -> list[Span]:
    return [span for span in spans if (span["service"], span["name"]) == (service, name)]


def children(spans: list[Span], parent: Span) -> list[str]:
    """The names of the spans right below another, in the order they began."""
    return [span["name"] for span in spans if span["parent_span_id"] == parent["span_id"]]


def lines_of(stack: Stack, program: str) -> list[dict[str, Any]]:  # Any: JSON as it comes
    """What a program of the stack has written to its log."""
    said = (line.split("│ ", 1) for line in stack.log.read_text().splitlines())
    return [
        json.loads(words[1])
        for words in said
        if len(words) > 1 and words[0].strip() == program and words[1].startswith("{")
    ]


def test_one_trace_leads_from_the_request_through_every_service_to_the_end(
    stack: Stack, media: MediaServer, collected: Collector
) -> None:
    trace_id, client = secrets.token_hex(16), secrets.token_hex(8)
    answer = stack.http.post(
        "/api/tasks/process",
        json={"url": media.url("/plain/speech.mp3"), "language": "en"},
        headers={"traceparent": f"00-{trace_id}-{client}-01"},
    )
    job_id = answer.json()["job_id"]
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    assert stack.http.get(f"/api/jobs/{job_id}").json()["trace_id"] == trace_id
    spans = collected.trace(trace_id, completed)
    [request] = of(spans, "hearsight-api", "POST /api/tasks/process")
    [download] = of(spans, "hearsight-download-worker", "download")
    assert (request["kind"], request["parent_span_id"]) == ("SERVER", client)
    assert (download["kind"], download["parent_span_id"]) == ("CONSUMER", request["span_id"])
    assert set(children(spans, request)) == {"send hint", "download"}
    done = [name for name in children(spans, download) if name not in {"send hint", "transcribe"}]
    assert done == ["fetch", "store media", "cut"]
    assert {span["status"] for span in spans} == {"UNSET"}


def test_every_part_is_told_below_the_download_and_the_last_one_completes_the_job(
    stack: Stack, collected: Collector, recording: Path
) -> None:
    job_id = stack.upload(recording, language="en")
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    trace_id = stack.http.get(f"/api/jobs/{job_id}").json()["trace_id"]
    spans = collected.trace(trace_id, completed)
    [request] = of(spans, "hearsight-api", "POST /api/upload")
    [download] = of(spans, "hearsight-download-worker", "download")
    parts = of(spans, "hearsight-asr-worker", "transcribe")
    assert download["parent_span_id"] == request["span_id"]
    assert len(parts) > 1
    numbers = sorted(span["attributes"]["hearsight.part_index"] for span in parts)
    assert numbers == [*range(len(parts))]
    for part in parts:
        assert part["parent_span_id"] == download["span_id"]
        # The hint for the next part is told in the trace too, but below what made that part.
        assert children(spans, part) == ["read part", "recognise"]
    # Of all that was done, what ended last has ended the job, and said so; nothing else has.
    ends = [span["end_ns"] for span in (download, *parts) if "job completed" in span["events"]]
    assert len(ends) == 1
    hints = [span for span in spans if span["kind"] == "PRODUCER"]
    assert {span["attributes"]["hearsight.task_id"] for span in hints} == {
        span["attributes"]["hearsight.task_id"] for span in (download, *parts)
    }


def test_every_line_of_a_task_names_job_task_attempt_and_trace(
    stack: Stack, media: MediaServer
) -> None:
    # Short enough for one part, however many workers are idle.
    good = stack.submit(media.url("/plain/speech.mp3"), language="en", to=20)
    bad = stack.submit(media.url("/status/500"))
    assert stack.outcome(good)["status"] == JobStatus.COMPLETED
    assert stack.outcome(bad)["status"] == JobStatus.FAILED
    for program, job_id, events in (
        ("download", good, ["claimed", "done"]),
        ("asr", good, ["claimed", "done"]),
        ("download", bad, ["claimed", "the attempt failed"] * 2),
    ):
        trace_id = stack.http.get(f"/api/jobs/{job_id}").json()["trace_id"]
        await_(partial(has_said, stack, program, job_id, events))
        told = [line for line in lines_of(stack, program) if line.get("job_id") == job_id]
        assert {line["trace_id"] for line in told} == {trace_id}
        assert all(line["task_id"] and line["attempt"] for line in told)
    assert [line["attempt"] for line in told] == [1, 1, 2, 2]


def has_said(stack: Stack, program: str, job_id: int, events: list[str]) -> bool:
    said = [line["event"] for line in lines_of(stack, program) if line.get("job_id") == job_id]
    return said == events


def test_metrics_tell_what_was_done(stack: Stack, recording: Path) -> None:
    metric = stack.metric

    def read() -> list[float]:
        return [
            metric("hearsight_audio_seconds_total"),
            *(
                metric("hearsight_stage_seconds_count", stage=stage)
                for stage in ("fetch", "cut", "read_part", "recognise")
            ),
            *(
                metric("hearsight_task_wait_seconds_count", queue=queue)
                for queue in ("download", "asr")
            ),
            metric("hearsight_jobs_finished_total", status="completed"),
            metric("hearsight_job_seconds_count", status="completed"),
            metric("hearsight_real_time_factor_count"),
            metric("hearsight_batch_chunks_sum"),
            metric("hearsight_batch_seconds_count"),
            metric("hearsight_device_busy_seconds_total"),
            metric("hearsight_segments_total"),
        ]

    before = read()
    job_id = stack.upload(recording, language="en")
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    await_(lambda: all(now > then for now, then in zip(read(), before, strict=True)))
    assert metric("hearsight_audio_seconds_total") > before[0] + RECORDING_S / 2
    assert metric("hearsight_device_streams") > 0
    assert metric("hearsight_model_info", name="tiny.en", device="cpu") == 1
    assert metric("hearsight_device_memory_bytes", device="cpu") > 50 * 1024 * 1024
    assert metric("hearsight_dispatcher_leads") == 1
    assert metric("hearsight_task_slots", queue="download") > 0
    await_(lambda: metric("hearsight_tasks_in_work") == 0)


def await_(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)
