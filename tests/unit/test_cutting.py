"""Parts hold every word, are cut at silences, and are the same after a restart."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from hearsight_download_worker.cutting import CutOptions, Cutter, Part
from tests.speech import Recording, joined, samples, silence

OPTIONS = CutOptions(part_target_s=150, vad_threshold=0.5)
PER_MS = 16


def in_blocks(audio: NDArray[np.int16], size: int = 480_000) -> Iterator[NDArray[np.int16]]:
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


def cut(audio: NDArray[np.int16], options: CutOptions = OPTIONS) -> list[Part]:
    return list(Cutter(options).cut(in_blocks(audio)))


def shape(part: Part) -> tuple[int, int, int, tuple[tuple[int, int], ...], bytes]:
    return part.index, part.start_ms, part.end_ms, part.chunks, part.samples.tobytes()


@pytest.fixture(scope="module")
def recording() -> Recording:
    return joined(600)


@pytest.fixture(scope="module")
def parts(recording: Recording) -> list[Part]:
    return cut(recording.audio)


def test_every_word_lies_within_one_chunk(recording: Recording, parts: list[Part]) -> None:
    chunks = [chunk for part in parts for chunk in part.chunks]
    for span in recording.spans:
        # A clip has some silence of its own at both ends.
        assert any(
            start <= span.start_ms + 150 and span.end_ms - 150 <= end for start, end in chunks
        ), span


def test_a_part_is_the_sound_between_its_ends(recording: Recording, parts: list[Part]) -> None:
    for part in parts:
        expected = recording.audio[part.start_ms * PER_MS : part.end_ms * PER_MS]
        assert np.array_equal(part.samples, expected)


def test_chunks_are_in_order_apart_and_fit_whispers_window(parts: list[Part]) -> None:
    assert [part.index for part in parts] == list(range(len(parts)))
    chunks = [chunk for part in parts for chunk in part.chunks]
    assert all(0 < end - start <= 30_000 for start, end in chunks)
    assert all(before[1] <= after[0] for before, after in pairwise(chunks))
    for part in parts:
        assert (part.chunks[0][0], part.chunks[-1][1]) == (part.start_ms, part.end_ms)


def test_chunks_are_full_and_parts_near_their_target(parts: list[Part]) -> None:
    lengths = [end - start for part in parts for start, end in part.chunks]
    assert sum(lengths) / len(lengths) > 25_000
    assert 10_000 <= parts[0].speech_ms <= 25_000, "the first part comes early"
    assert all(110_000 <= part.speech_ms <= 190_000 for part in parts[1:-1])


@pytest.mark.parametrize("size", [480_000, 12_345])
def test_cutting_goes_on_after_any_part_as_if_never_stopped(
    recording: Recording, parts: list[Part], size: int
) -> None:
    for last in parts:
        cutter = Cutter(OPTIONS, start_ms=last.end_ms, first_index=last.index + 1)
        rest = list(cutter.cut(in_blocks(recording.audio[last.end_ms * PER_MS :], size)))
        assert [shape(part) for part in rest] == [shape(part) for part in parts[last.index + 1 :]]
        # Within chunks, the VAD begins anew: that may move an edge or two by a piece of 32 ms.
        expected = [part.speech_ms for part in parts[last.index + 1 :]]
        assert [part.speech_ms for part in rest] == pytest.approx(expected, abs=64)
        assert cutter.duration_ms == recording.duration_ms


def test_the_first_part_is_there_before_the_rest_is_read(recording: Recording) -> None:
    read = 0

    def counted() -> Iterator[NDArray[np.int16]]:
        nonlocal read
        for block in in_blocks(recording.audio):
            read += len(block)
            yield block

    next(Cutter(OPTIONS).cut(counted()))
    assert read <= 150 * 16_000


def test_every_idle_worker_has_a_short_part_first_and_all_end_together(
    recording: Recording,
) -> None:
    audio = recording.audio
    parts = list(
        Cutter(OPTIONS).cut(in_blocks(audio), length_ms=len(audio) // PER_MS, idle=lambda: 4)
    )
    assert all(part.speech_ms <= 25_000 for part in parts[:4])
    assert all(22_500 <= part.speech_ms <= 45_000 for part in parts[4:8])
    assert max(part.speech_ms for part in parts) > 45_000
    assert all(part.speech_ms <= 20_000 for part in parts[-4:])


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        (0, [15, 150, 150, 150, 150]),
        (1, [15, 30, 60, 120, 150]),
        (2, [15, 15, 30, 30, 60, 60, 120, 120, 150]),
    ],
)
def test_parts_grow_as_soon_as_the_idle_workers_have_something_to_do(
    idle: int, expected: list[int]
) -> None:
    found = [OPTIONS.target_s(index, None, idle) for index in range(len(expected))]
    assert found == expected
    assert OPTIONS.target_s(10_000, None, idle) == 150


def test_a_part_is_outsized_where_nobody_pauses_for_longer_than_it_should_be(
    parts: list[Part],
) -> None:
    assert [part.outsized for part in parts] == [
        part.speech_ms > (150_000 if part.index else 15_000) * 1.25 for part in parts
    ]
    assert parts[0].outsized
    assert not parts[1].outsized


def test_the_shortest_parts_are_no_longer_than_any_should_be() -> None:
    options = CutOptions(part_target_s=30, part_shortest_s=60, vad_threshold=0.5)
    assert {options.target_s(index, None, idle=1) for index in range(3)} == {30}


@pytest.mark.parametrize("idle", [0, 1, 2, 64])
@pytest.mark.parametrize("told_ms", [None, 1, 300_000, 600_000, 10_000_000])
def test_no_word_is_lost_whatever_the_header_says_and_however_many_are_idle(
    recording: Recording, told_ms: int | None, idle: int
) -> None:
    audio = recording.audio[: 200 * 16_000]
    parts = list(Cutter(OPTIONS).cut(in_blocks(audio), length_ms=told_ms, idle=lambda: idle))
    chunks = [chunk for part in parts for chunk in part.chunks]
    assert all(before[1] <= after[0] for before, after in pairwise(chunks))
    for span in recording.spans:
        if span.end_ms < 200_000:
            assert any(
                start <= span.start_ms + 150 and span.end_ms - 150 <= end for start, end in chunks
            ), span


def test_a_recording_of_five_minutes_is_shared() -> None:
    assert len(cut(joined(300, seed=3).audio)) >= 2


def test_a_short_clip_is_one_part() -> None:
    clip = min(samples(), key=lambda sample: len(sample.audio)).audio
    [part] = cut(clip)
    assert len(part.chunks) == 1
    assert part.speech_ms > 0


@pytest.mark.parametrize("duration_s", [0, 0.01, 1, 400])
def test_silence_gives_no_part_but_its_length(duration_s: float) -> None:
    audio = silence(duration_s)
    cutter = Cutter(OPTIONS)
    assert list(cutter.cut(in_blocks(audio))) == []
    assert cutter.duration_ms == len(audio) // PER_MS


def test_speech_after_long_silence_is_found() -> None:
    clip = max(samples(), key=lambda sample: len(sample.audio)).audio
    # Whatever place in a window the speech falls on.
    for before_s in (130, 135, 137.5, 300):
        audio = np.concatenate([silence(before_s), clip, silence(200)])
        [part] = cut(audio)
        assert part.start_ms <= before_s * 1000 + 150
        assert part.end_ms >= before_s * 1000 + len(clip) // PER_MS - 150


def test_long_silence_stays_out_of_chunks() -> None:
    clip = samples()[0].audio
    audio = np.concatenate([clip, silence(5), clip])
    [part] = cut(audio)
    assert len(part.chunks) == 2


def test_speech_without_a_pause_is_cut_all_the_same_and_loses_nothing() -> None:
    spoken = [sample.audio for sample in samples()]
    # Without the silence at their ends, the clips run into one another.
    tight = np.concatenate([_trimmed(audio) for audio in spoken * 40])[: 200 * 16_000]
    parts = cut(tight)
    chunks = [chunk for part in parts for chunk in part.chunks]
    assert all(end - start <= 30_000 for start, end in chunks)
    covered = sum(end - start for start, end in chunks)
    assert covered > 0.97 * len(tight) / PER_MS


def _trimmed(audio: NDArray[np.int16]) -> NDArray[np.int16]:
    loud = np.flatnonzero(np.abs(audio.astype(np.int32)) > 1000)
    return audio[loud[0] : loud[-1]]


def test_the_jobs_own_settings_decide_what_is_speech_and_how_much_around_it_is_kept() -> None:
    clip = samples()[0].audio
    loud = np.concatenate([silence(3), clip, silence(3)])
    spans = {pad: cut(loud, replace(OPTIONS, speech_pad_ms=pad))[0] for pad in (0, 400, 2000)}
    assert spans[0].start_ms - spans[400].start_ms == pytest.approx(400, abs=40)
    assert spans[2000].end_ms - spans[400].end_ms == pytest.approx(1600, abs=40)
    assert cut(loud, replace(OPTIONS, min_speech_ms=60_000)) == []
    faint = (loud // 300).astype(np.int16)
    heard = [
        sum(part.speech_ms for part in cut(faint, replace(OPTIONS, vad_threshold=threshold)))
        for threshold in (0.05, 0.95)
    ]
    assert heard[0] > heard[1]


def test_a_span_ends_at_silence_as_long_as_the_job_says() -> None:
    clip = samples()[0].audio
    speech = np.concatenate([clip, silence(1.2), clip])
    wide = replace(OPTIONS, bridge_s=0, speech_pad_ms=30)
    for min_silence_ms, spans in ((1_000, 2), (5_000, 1)):
        [part] = cut(speech, replace(wide, min_silence_ms=min_silence_ms))
        assert len(part.chunks) == spans


def test_cutting_with_other_settings_goes_on_after_any_part_too() -> None:
    audio = joined(150, seed=4).audio
    options = CutOptions(
        part_target_s=30, vad_threshold=0.4, min_silence_ms=2_000, speech_pad_ms=1_000
    )
    parts = cut(audio, options)
    assert len(parts) > 2
    for last in parts:
        cutter = Cutter(options, start_ms=last.end_ms, first_index=last.index + 1)
        rest = list(cutter.cut(in_blocks(audio[last.end_ms * PER_MS :])))
        assert [shape(part) for part in rest] == [shape(part) for part in parts[last.index + 1 :]]
        assert [one.speech_ms for one in rest] == [one.speech_ms for one in parts[last.index + 1 :]]
