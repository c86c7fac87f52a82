"""Where a chunk is audible, how it is cut at pauses, and how words find their place in it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hearsight_asr_worker.alignment import longest_unheard, placed
from hearsight_asr_worker.pauses import audible_frames, pieces, runs, utterances
from hearsight_asr_worker.segmentation import TimedWord

LOUD, QUIET = 0.5, -1.0
"""Levels of Whisper's features 60 dB apart."""


def sound(*stretches: tuple[bool, int]) -> NDArray[np.bool_]:
    """Frames that are audible or not: (audible, frames), one stretch after the other."""
    return np.concatenate([np.full(frames, audible) for audible, frames in stretches])


def word(text: str, start_ms: int, end_ms: int) -> TimedWord:
    return TimedWord(text, start_ms, end_ms, 0.9)


def times(words: list[TimedWord]) -> list[tuple[int, int]]:
    return [(one.start_ms, one.end_ms) for one in words]


def test_speech_is_told_from_silence_and_from_noise() -> None:
    speech = sound((False, 100), (True, 200), (False, 100))
    for floor in (QUIET, LOUD - 0.6):
        bands = np.where(speech, LOUD, floor).astype(np.float32)
        assert np.array_equal(audible_frames(np.stack([bands, bands - 1])), speech)


def test_unbroken_speech_has_no_pause() -> None:
    wavering = LOUD + 0.1 * np.sin(np.arange(1000)).astype(np.float32)
    assert audible_frames(wavering[np.newaxis]).all()


def test_no_audio_is_not_audible() -> None:
    assert not len(audible_frames(np.zeros((80, 0), np.float32)))
    assert pieces(np.zeros(0, np.bool_), 500) == [(0, 0)]


def test_a_long_chunk_is_cut_in_the_middle_of_its_pauses() -> None:
    chunk = sound((True, 400), (False, 40), (True, 400), (False, 40), (True, 400))
    assert pieces(chunk, 500) == [(0, 420), (420, 860), (860, 1280)]


def test_a_chunk_without_pauses_stays_whole() -> None:
    assert pieces(sound((True, 2000), (False, 20), (True, 900)), 500) == [(0, 2920)]


def test_utterances_part_at_long_pauses_but_not_at_short_ones() -> None:
    chunk = sound((True, 200), (False, 60), (True, 200), (False, 35), (True, 200))
    assert utterances(chunk) == [(0, 230), (230, 695)]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1), st.integers(100, 3000))
def test_pieces_cover_the_whole_chunk(stretches: list[tuple[bool, int]], longest: int) -> None:
    chunk = sound(*stretches)
    for cut in (pieces(chunk, longest), utterances(chunk)):
        assert [frame for first, last in cut for frame in range(first, last)] == list(
            range(len(chunk))
        )


def test_runs_are_the_stretches_that_are_set() -> None:
    assert runs(sound((True, 2), (False, 3), (True, 1))) == [(0, 2), (5, 6)]


def test_a_word_stretched_over_a_pause_is_cut_back_to_its_sound() -> None:
    # As aligned, "two" begins when "one" ends, though there is a second of silence between.
    audible = sound((True, 50), (False, 100), (True, 50))
    assert times(placed([word(" one", 0, 450), word(" two", 450, 2000)], audible)) == [
        (0, 450),
        (1500, 2000),
    ]
    assert times(placed([word(" one", 0, 1500), word(" two", 1500, 2000)], audible)) == [
        (0, 500),
        (1500, 2000),
    ]


def test_a_word_in_silence_keeps_its_place() -> None:
    audible = sound((True, 50), (False, 100))
    assert times(placed([word(" one", 600, 1400)], audible)) == [(600, 1400)]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 80)), min_size=5),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000)), max_size=20),
)
def test_cutting_back_keeps_words_in_order_and_real(
    stretches: list[tuple[bool, int]], spans: list[tuple[int, int]]
) -> None:
    audible = sound(*stretches)
    words = placed([word(" a", start, start + length) for start, length in spans], audible)
    assert len(words) == len(spans)
    at = 0
    for one in words:
        assert at <= one.start_ms <= one.end_ms <= len(audible) * 10
        at = one.end_ms


def test_sound_that_no_word_covers_is_seen() -> None:
    audible = sound((True, 100), (False, 50), (True, 90), (False, 10), (True, 100))
    assert longest_unheard([word(" one", 0, 1000)], audible) == 200
    assert longest_unheard([word(" one", 0, 1000), word(" two", 1500, 3500)], audible) == 0
    assert longest_unheard([word(" one", 0, 1000), word(" two", 2400, 2500)], audible) == 100
    assert longest_unheard([], audible) == 200
