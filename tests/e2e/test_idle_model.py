"""A real worker whose model went for want of work is ready, does the next job, and ends as any."""

import json
from pathlib import Path

from hearsight_core.contract import JobStatus
from tests.servers.stack import running_stack
from tests.speech import joined, word_error_rate, write_wav

WORST_WORD_ERROR_RATE = 0.15
WAIT_S = 60
MODEL = {"name": "tiny.en", "device": "cpu"}


def test_a_worker_without_its_model_is_ready_and_does_the_next_job(tmp_path: Path) -> None:
    recording = joined(20, seed=4)
    path = tmp_path / "short.wav"
    write_wav(path, recording.audio)
    settings = {"HEARSIGHT_ASR_UNLOAD_IDLE_S": "2", "HEARSIGHT_LOG_FORMAT": "json"}
    with running_stack(tmp_path / "home", **settings) as stack:

        def gone() -> bool:
            return stack.metric("hearsight_model_info", **MODEL) == 0

        for _ in range(2):
            stack.until(gone, within_s=WAIT_S)
            stack.await_worker("asr")
            job_id = stack.upload(path, reuse=False)
            assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
            text = str(stack.transcript(job_id)["text"])
            assert word_error_rate(recording.text, text) < WORST_WORD_ERROR_RATE
        stack.until(gone, within_s=WAIT_S)
        shown = stack.log
    said = [
        json.loads(line.split("│ ", 1)[1])
        for line in shown.read_text().splitlines()
        if "│ {" in line
    ]
    events = [line["event"] for line in said]
    assert events.count("the model is loaded again") == 2
    assert "the attempt failed" not in events
