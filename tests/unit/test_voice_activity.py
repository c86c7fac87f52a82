"""Speech is found as faster-whisper finds it, and every piece of sound is listened to once."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from numpy.typing import NDArray

from hearsight_download_worker import voice_activity
from hearsight_download_worker.voice_activity import (
    FRAME_MS,
    SAMPLES_PER_MS,
    SpeechOptions,
    VoiceActivity,
)
from tests.speech import joined, samples, silence

OPTIONS = SpeechOptions(
    threshold=0.5, min_speech_ms=0, min_silence_ms=160, pad_ms=400, longest_ms=30_000
)


@pytest.fixture(scope="module")
def audio() -> NDArray[np.int16]:
    return joined(120, seed=7).audio


def theirs(audio: NDArray[np.int16], options: SpeechOptions) -> list[tuple[int, int]]:
    found = get_speech_timestamps(
        audio.astype(np.float32) / 32768,
        VadOptions(
            threshold=options.threshold,
            min_speech_duration_ms=options.min_speech_ms,
            min_silence_duration_ms=options.min_silence_ms,
            speech_pad_ms=options.pad_ms,
            max_speech_duration_s=options.longest_ms / 1000,
        ),
    )
    return [(span["start"] // SAMPLES_PER_MS, span["end"] // SAMPLES_PER_MS) for span in found]


def whole(audio: NDArray[np.int16], options: SpeechOptions = OPTIONS) -> list[tuple[int, int]]:
    return VoiceActivity(0, options).spans(audio, 0, is_last=True)


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        replace(OPTIONS, threshold=0.3),
        replace(OPTIONS, threshold=0.95, pad_ms=0),
        replace(OPTIONS, threshold=0.05, min_silence_ms=0),
        replace(OPTIONS, min_silence_ms=2_000, pad_ms=1_000),
        replace(OPTIONS, min_speech_ms=1_500),
        replace(OPTIONS, min_silence_ms=2_000, pad_ms=30, longest_ms=7_000),
    ],
)
def test_spans_are_those_of_faster_whisper(
    audio: NDArray[np.int16], options: SpeechOptions
) -> None:
    assert whole(audio, options) == theirs(audio, options)
    assert len(whole(audio, options)) > 3


def test_speech_without_a_pause_is_split_where_it_has_to_be_and_loses_nothing() -> None:
    clip = max(samples(), key=lambda sample: len(sample.audio)).audio
    loud = np.flatnonzero(np.abs(clip.astype(np.int32)) > 1000)
    tight = np.tile(clip[loud[0] : loud[-1]], 10)
    spans = whole(tight, replace(OPTIONS, min_silence_ms=2_000, pad_ms=0, longest_ms=2_000))
    assert len(spans) > 10
    assert all(0 < end - start <= 2_000 for start, end in spans)
    assert sum(end - start for start, end in spans) > 0.9 * len(tight) / SAMPLES_PER_MS


class _Counting:
    """The model, and how many frames it was given."""

    def __init__(self) -> None:
        self._session = get_vad_model().session
        self.frames = 0

    def run(self, names: None, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        self.frames += len(given["input"])
        found: list[NDArray[np.float32]] = self._session.run(names, given)
        return found


def test_windows_that_overlap_are_heard_once_and_as_if_they_were_one(
    audio: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _Counting()
    monkeypatch.setattr(voice_activity, "get_vad_model", lambda: SimpleNamespace(session=model))
    voice = VoiceActivity(0, OPTIONS)
    expected = whole(audio)
    model.frames = 0
    length_ms, window_ms, step_ms = len(audio) // SAMPLES_PER_MS, 30_000, 7_013
    for position_ms in range(0, length_ms, step_ms):
        end_ms = min(position_ms + window_ms, length_ms)
        sound = audio[position_ms * SAMPLES_PER_MS : end_ms * SAMPLES_PER_MS]
        spans = voice.spans(sound, position_ms, is_last=end_ms == length_ms)
        found = {(position_ms + start, position_ms + end) for start, end in spans}
        inside = {
            (start, end)
            for start, end in expected
            if position_ms + 1_000 < start and (end < end_ms - 1_000 or end_ms == length_ms)
        }
        assert inside <= found
    assert model.frames == -(-length_ms // FRAME_MS)


def test_one_that_begins_later_finds_the_same(audio: NDArray[np.int16]) -> None:
    expected = whole(audio)
    position_ms = expected[3][1] + 5
    spans = VoiceActivity(position_ms, OPTIONS).spans(
        audio[position_ms * SAMPLES_PER_MS :], position_ms, is_last=True
    )
    assert [(position_ms + start, position_ms + end) for start, end in spans] == expected[4:]


@pytest.mark.parametrize("length_ms", [0, 1, 31, 32, 33])
def test_less_than_a_frame_is_no_speech(length_ms: int) -> None:
    assert whole(silence(length_ms / 1000)) == []
