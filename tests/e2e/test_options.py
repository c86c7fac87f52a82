"""What is asked for reaches the engine and comes back, through the real stack."""

import subprocess
import sys
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np

from hearsight_core.contract import JobStatus
from tests.servers.stack import Stack
from tests.speech import Recording, joined, word_error_rate, write_wav


def _said_within(recording: Recording, start_ms: int, end_ms: int) -> str:
    return " ".join(
        span.text for span in recording.spans if start_ms <= span.start_ms and span.end_ms <= end_ms
    )


def test_a_stretch_is_recognised_with_the_times_of_the_recording(
    stack: Stack, tmp_path: Path
) -> None:
    recording = joined(120, seed=8, pause_s=(1, 1.5))
    path = write_wav(tmp_path / "talk.wav", recording.audio)
    first, last = recording.spans[8], recording.spans[11]
    start_ms, end_ms = first.start_ms - 500, last.end_ms + 500
    job_id = stack.upload(
        path,
        **{"from": start_ms / 1000, "to": end_ms / 1000, "temperature": "0,0.4", "beam_size": 2},
    )
    seen = [data for kind, _, data in stack.events(job_id) if kind != "segment"]
    assert seen[-1]["status"] == JobStatus.COMPLETED
    positions = [int(str(data["position_ms"])) for data in seen if data["position_ms"] is not None]
    assert positions[-1] <= end_ms - start_ms
    transcript = stack.transcript(job_id)
    spoken = _said_within(recording, start_ms, end_ms)
    assert word_error_rate(spoken, str(transcript["text"])) < 0.15
    # As its header says, which may be rounded.
    assert abs(int(str(transcript["duration_ms"])) - recording.duration_ms) <= 1
    segments = transcript["segments"]
    assert isinstance(segments, list)
    assert abs(segments[0]["start_ms"] - first.start_ms) < 600
    assert segments[-1]["end_ms"] <= end_ms


def test_two_who_speak_at_once_are_both_understood(stack: Stack, tmp_path: Path) -> None:
    left, right = joined(40, seed=6), joined(40, seed=7)
    sides = [left.audio, right.audio]
    length = max(map(len, sides))
    padded = [np.pad(side, (0, length - len(side))) for side in sides]
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.stack(padded, axis=1).astype("<i2").tobytes())
    submit = [sys.executable, "-m", "hearsight", "--json", "submit", str(path), "--watch"]
    done = subprocess.run(
        [*submit, "--split-channels", "--word-timestamps", "--url", stack.state.url],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"channel":1' in done.stdout.replace(" ", "")
    [job] = stack.http.get("/api/jobs", params={"limit": 1}).json()["jobs"]
    transcript = stack.transcript(job["job_id"])
    segments = transcript["segments"]
    assert isinstance(segments, list)
    for channel, side in enumerate((left, right)):
        own = [one for one in segments if one["channel"] == channel]
        text = " ".join(one["text"] for one in own)
        assert word_error_rate(side.text, text) < 0.15
        for before, after in pairwise(own):
            assert before["end_ms"] <= after["start_ms"]
        assert all(one["words"] for one in own)
    starts = [one["start_ms"] for one in segments]
    assert starts == sorted(starts)
    lines = stack.http.get(
        f"/api/jobs/{job['job_id']}/transcript", params={"format": "txt"}
    ).text.splitlines()
    assert {line.partition(": ")[0] for line in lines} == {"Channel 0", "Channel 1"}
