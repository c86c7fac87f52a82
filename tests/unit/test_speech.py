"""The spoken material that the other tests stand on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.speech import joined, samples, silence, word_error_rate, write_wav


@pytest.mark.parametrize("language", ["en", "es", "fr", "hi", "it", "ja", "pl", "pt", "zh"])
def test_every_clip_is_heard(language: str) -> None:
    for sample in samples(language):
        assert sample.text
        assert np.abs(sample.audio).max() > 3000


def test_a_joined_recording_is_as_long_as_asked_and_knows_its_words() -> None:
    recording = joined(20, seed=1)
    assert recording.duration_ms >= 20_000
    assert " ".join(recording.words) == recording.text.lower().replace(".", "")
    for span in recording.spans:
        spoken = recording.audio[span.start_ms * 16 : span.end_ms * 16]
        clip = next(sample for sample in samples() if sample.text == span.text)
        assert abs(len(spoken) - len(clip.audio)) <= 32
        assert np.abs(spoken).max() == np.abs(clip.audio).max()


def test_the_same_seed_gives_the_same_recording() -> None:
    assert np.array_equal(joined(10, seed=5).audio, joined(10, seed=5).audio)
    assert joined(10, seed=5).text != joined(10, seed=6).text


def test_a_written_wav_holds_the_same_samples(tmp_path: Path) -> None:
    audio = np.concatenate([samples()[0].audio, silence(0.5)])
    read, rate = soundfile.read(write_wav(tmp_path / "speech.wav", audio), dtype="int16")
    assert rate == 16_000
    assert np.array_equal(read, audio)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rate"),
    [
        ("One two three.", "1, 2, 3!", 0.0),
        ("Twenty one", "21", 0.0),
        ("One two three four five six seven eight nine ten.", "12345678910.", 0.0),
        ("One two three four.", "1235", 1.0),
        ("Hello world.", "hello  world", 0.0),
        ("one two three four", "one two four", 0.25),
        ("Hello world.", "", 1.0),
    ],
)
def test_only_words_count_as_errors(reference: str, hypothesis: str, rate: float) -> None:
    assert word_error_rate(reference, hypothesis) == rate
