"""A recording that is sent again is not recognised again, through the real stack."""

import wave
from pathlib import Path

import numpy as np

from hearsight_core.contract import JobStatus
from tests.servers.stack import Stack
from tests.speech import joined, write_wav

RECORDING_S = 90


def _heard_ms(stack: Stack) -> int:
    """How much speech engines have recognised so far."""
    return round(stack.metric("hearsight_audio_seconds_total") * 1000)


def _said(stack: Stack, job_id: int) -> list[dict[str, object]]:
    segments = stack.transcript(job_id)["segments"]
    assert isinstance(segments, list)
    return [{name: one for name, one in each.items() if name != "seq"} for each in segments]


def test_the_same_sound_is_recognised_once_and_told_of_as_ever(
    stack: Stack, tmp_path: Path
) -> None:
    recording = joined(RECORDING_S, seed=21)
    path = write_wav(tmp_path / "talk.wav", recording.audio)
    options = {"word_timestamps": "true", "reuse": "true"}
    before_ms = _heard_ms(stack)
    first = stack.upload(path, **options)
    assert stack.outcome(first)["status"] == JobStatus.COMPLETED
    heard_ms = _heard_ms(stack)
    assert heard_ms > before_ms

    # The same sound in another file: of two channels that are alike, under another name.
    other = tmp_path / "the same.wav"
    with wave.open(str(other), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.repeat(recording.audio.astype("<i2"), 2).tobytes())
    for sent in (path, other):
        job_id = stack.upload(sent, **options)
        events = list(stack.events(job_id))
        assert events[-1][2]["status"] == JobStatus.COMPLETED
        told = [data["text"] for kind, _, data in events if kind == "segment"]
        assert _said(stack, job_id) == _said(stack, first)
        assert sorted(map(str, told)) == sorted(str(one["text"]) for one in _said(stack, first))
        transcript = stack.transcript(job_id)
        assert transcript["model"] == stack.transcript(first)["model"]
        assert transcript["language"] == stack.transcript(first)["language"]
        assert transcript["reused_ms"] == events[-1][2]["position_ms"]
    assert _heard_ms(stack) == heard_ms

    anew = stack.upload(path, word_timestamps="true", reuse="false")
    assert stack.outcome(anew)["status"] == JobStatus.COMPLETED
    assert stack.transcript(anew)["reused_ms"] == 0
    assert _heard_ms(stack) - heard_ms == heard_ms - before_ms
