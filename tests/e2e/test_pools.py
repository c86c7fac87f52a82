"""Several pools of ASR workers: each recognises its own jobs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearsight_core.contract import JobStatus
from tests.servers.stack import Stack, running_stack
from tests.speech import joined, word_error_rate, write_wav

WORST_WORD_ERROR_RATE = 0.15


@contextmanager
def _another_worker(stack: Stack, pool: str, log: Path) -> Iterator[None]:
    """An ASR worker beside the stack's own."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "hearsight_asr_worker"],
            env={**os.environ, **stack.state.environment, "HEARSIGHT_ASR_POOL": pool},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        yield
        process.terminate()


def _await_cut(stack: Stack, job_id: int) -> None:
    path = f"/api/jobs/{job_id}"
    stack.until(lambda: stack.http.get(path).json()["stage"] == "asr_preprocessing", within_s=60)


def test_a_pool_s_workers_recognise_its_jobs_and_no_others(tmp_path: Path) -> None:
    recording = joined(20, seed=3)
    path = tmp_path / "short.wav"
    write_wav(path, recording.audio)
    pools = {"HEARSIGHT_ASR_POOL": "large", "HEARSIGHT_ASR_POOLS": "default,large"}
    with running_stack(tmp_path / "home", **pools) as stack:
        nobodys = stack.upload(path)
        _await_cut(stack, nobodys)
        large = stack.upload(path, pool="large")
        assert stack.outcome(large)["status"] == JobStatus.COMPLETED
        shown = stack.http.get(f"/api/jobs/{nobodys}").json()
        assert (shown["pool"], shown["stage"]) == ("default", "asr_preprocessing")
        with _another_worker(stack, "default", tmp_path / "worker.log"):
            assert stack.outcome(nobodys)["status"] == JobStatus.COMPLETED
        for job_id in (nobodys, large):
            text = str(stack.transcript(job_id)["text"])
            assert word_error_rate(recording.text, text) < WORST_WORD_ERROR_RATE
