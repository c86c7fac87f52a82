"""What is recognised and stored is never lost, and never recognised again."""

import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hearsight_core.contract import JobStatus
from tests.servers.stack import Stack, running_stack
from tests.speech import joined, word_error_rate, write_wav

RECORDING_S = 300
KILL_AFTER_SEGMENTS = 5
WORST_WORD_ERROR_RATE = 0.15
SAME_WORDS = 0.01


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose leases run out soon, so that a dead worker's task is taken over soon."""
    with running_stack(
        tmp_path_factory.mktemp("chaos"),
        HEARSIGHT_LEASE_S="4",
        HEARSIGHT_HEARTBEAT_S="1",
        HEARSIGHT_RETRY_BACKOFF_S="0.2",
    ) as running:
        yield running


def _segments(stack: Stack, job_id: int) -> list[dict[str, object]]:
    segments = stack.transcript(job_id)["segments"]
    assert isinstance(segments, list)
    return segments


@pytest.mark.timeout(400)
def test_a_killed_worker_costs_no_segment_and_repeats_none(stack: Stack, tmp_path: Path) -> None:
    recording = joined(RECORDING_S, seed=7)
    path = tmp_path / "five-minutes.wav"
    write_wav(path, recording.audio)
    undisturbed = stack.upload(path)
    assert stack.outcome(undisturbed)["status"] == JobStatus.COMPLETED

    job_id = stack.upload(path)
    before: list[dict[str, object]] = []
    for kind, _, data in stack.events(job_id):
        assert kind != "end", "the job ended before the worker could be killed"
        if kind == "segment":
            before.append(data)
        if len(before) >= KILL_AFTER_SEGMENTS:
            break
    dead = stack.kill("asr")
    told = [data for kind, _, data in stack.events(job_id, after=int(str(before[-1]["seq"])))]
    last = told[-1]

    assert last["status"] == JobStatus.COMPLETED, last
    assert stack.pid("asr") != dead
    after = _segments(stack, job_id)
    by_number = {int(str(segment["seq"])): segment for segment in after}
    # What was stored before the kill is still there, word for word, under the same number ...
    assert [by_number[int(str(segment["seq"]))] for segment in before] == before
    # ... no stretch of the recording was recognised twice, or left out ...
    assert last["position_ms"] == stack.outcome(undisturbed)["position_ms"]
    spans = [(int(str(s["start_ms"])), int(str(s["end_ms"]))) for s in after]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    # ... and a watcher that came back with its last id was told the rest, each segment once.
    replayed = [int(str(data["seq"])) for data in told if "seq" in data]
    assert sorted(by_number) == [int(str(segment["seq"])) for segment in before] + replayed
    # The words are what an undisturbed run gives, and what was said. (One in a hundred may differ:
    # chunks meet other chunks in their batches, and int8 rounds accordingly.)
    text = str(stack.transcript(job_id)["text"])
    assert word_error_rate(str(stack.transcript(undisturbed)["text"]), text) < SAME_WORDS
    assert word_error_rate(recording.text, text) < WORST_WORD_ERROR_RATE


@pytest.mark.timeout(400)
def test_a_worker_that_is_told_to_end_costs_no_attempt(stack: Stack, tmp_path: Path) -> None:
    recording = joined(RECORDING_S / 2, seed=8)
    path = tmp_path / "half-of-it.wav"
    write_wav(path, recording.audio)
    job_id = stack.upload(path)
    assert any(kind == "segment" for kind, _, _ in stack.events(job_id))
    os.kill(stack.pid("asr"), signal.SIGTERM)
    last = stack.outcome(job_id)
    assert (last["status"], last["attempt"]) == (JobStatus.COMPLETED, 1), last
    spans = [(int(str(s["start_ms"])), int(str(s["end_ms"]))) for s in _segments(stack, job_id)]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    text = str(stack.transcript(job_id)["text"])
    assert word_error_rate(recording.text, text) < WORST_WORD_ERROR_RATE


def test_a_killed_download_worker_costs_no_job(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    write_wav(path, joined(20, seed=3).audio)
    stack.kill("download")
    job_id = stack.upload(path)
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    assert _segments(stack, job_id)


def test_a_killed_api_costs_no_job(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    write_wav(path, joined(20, seed=4).audio)
    job_id = stack.upload(path)
    stack.kill("api")
    stack.await_api()
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
