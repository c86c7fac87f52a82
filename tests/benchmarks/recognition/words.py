"""Whether cutting costs words: word error rates by recording and by how it is cut.

Each recording is cut as the download worker cuts and recognised by the engine, in this process.
What that is compared with is the library on the whole recording: `WhisperModel.transcribe` with its
defaults, which is the yardstick, and its batched pipeline.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from hearsight_asr_worker import models
from hearsight_asr_worker.engine import SAMPLES_PER_MS, Chunk, Engine
from hearsight_core.contract import RecognitionOptions, Segment
from hearsight_core.settings import AsrSettings, DownloadSettings
from hearsight_download_worker.cutting import CutOptions, Cutter
from tests.benchmarks.goals import Goal, at_most, told
from tests.benchmarks.recognition import bare, narration
from tests.benchmarks.stand import Stand
from tests.sounds import noisy, with_music
from tests.speech import Recording, joined, normalised, samples, word_error_rate

MINUTES = float(os.environ.get("BENCH_MINUTES", "36"))
"""Speech in all: half of it narration, the rest shared by the joined recordings."""
WITHIN = 0.3
"""Percent of the words that more may be wrong than with the bare library, over all recordings: in
one of them that is two words, and noise alone makes more of a difference."""
BARE = "bare, sequential"
BATCHED = "bare, batched"
NEAR_MS = 200
AUDIBLE = 300
"""What is louder is part of a clip's speech, 40 dB below full scale."""
EVERY_S = 30
"""The cutter is given so much at a time, as the decoder gives it."""


_Timed = tuple[str, int | None, int | None]
"""A word, normalised, and where it begins and ends, as far as that is known, milliseconds."""


@dataclass(frozen=True)
class _Bare:
    """What the library heard in the whole recording; times from a run that aligns words."""

    text: str
    batched: str
    words: list[_Timed]


def _recordings(stand: Stand) -> dict[str, Callable[[], Recording]]:
    seconds = MINUTES * 60 / 8
    return {
        "clips": lambda: joined(seconds, seed=31),
        "clips, noise 25 dB below": lambda: noisy(joined(seconds, seed=32), 25),
        "clips, noise 15 dB below": lambda: noisy(joined(seconds, seed=33), 15),
        "clips, music between": lambda: with_music(joined(seconds, seed=34, pause_s=(2, 8))),
        "narration": lambda: narration.narrated(stand.folder, MINUTES / 2),
    }


def _ways() -> dict[str, CutOptions]:
    """The settings that the cutter has by default, and others, one at a time."""
    settings = DownloadSettings.model_fields
    usual = CutOptions(
        part_target_s=settings["part_target_s"].default,
        vad_threshold=settings["vad_threshold"].default,
    )
    others = {
        **{f"parts of {s} s": replace(usual, part_target_s=s) for s in (30, 60, 300)},
        **{f"chunks up to {s} s": replace(usual, max_chunk_s=s) for s in (10, 20)},
        "pauses up to 0.5 s within": replace(usual, bridge_s=0.5),
        "speech from 0.35 on": replace(usual, vad_threshold=0.35),
    }
    return {"as by default": usual, **others}


def _heard(engine: Engine, recording: Recording, way: CutOptions) -> list[Segment]:
    """The segments, which are in order, apart from each other, and inside the recording."""
    size = EVERY_S * 1000 * SAMPLES_PER_MS
    blocks = (recording.audio[at : at + size] for at in range(0, len(recording.audio), size))
    chunks = [
        Chunk(
            part.samples[
                (start - part.start_ms) * SAMPLES_PER_MS : (end - part.start_ms) * SAMPLES_PER_MS
            ],
            start,
        )
        for part in Cutter(way).cut(blocks, length_ms=recording.duration_ms)
        for start, end in part.chunks
    ]
    results = engine.recognise(chunks, RecognitionOptions(word_timestamps=True), "en")
    segments = [segment for result in results for segment in result.segments]
    assert all(one.start_ms < one.end_ms for one in segments)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(segments))
    assert segments[0].start_ms >= 0
    assert segments[-1].end_ms <= recording.duration_ms
    return segments


def _by_library(model: WhisperModel, audio: NDArray[np.float32]) -> _Bare:
    batched, _ = BatchedInferencePipeline(model).transcribe(audio, language="en")
    alone, _ = model.transcribe(audio)
    aligned, _ = model.transcribe(audio, word_timestamps=True)
    return _Bare(
        text=" ".join(one.text for one in alone),
        batched=" ".join(one.text for one in batched),
        words=[
            (word, round(one.start * 1000), round(one.end * 1000))
            for segment in aligned
            for one in segment.words or ()
            for word in normalised(one.word).split()
        ],
    )


class _Times:
    """How far words and segments begin and end from where they should, milliseconds.

    Against the library's words, where both heard the same; and segments of clips against their
    sound, by which the library's words can be measured as well.
    """

    def __init__(self, recording: Recording, segments: Sequence[Segment], known: _Bare) -> None:
        edges, sounds = _edges(segments), _sounds(recording)
        self.words_from_bare = _apart(_words(segments), known.words)
        self.from_bare = _apart(edges, known.words)
        self.from_sound = _apart(edges, sounds)
        self.bare_from_sound = _apart(known.words, sounds)

    def told(self) -> str:
        """The shares that are too far."""
        said = (
            f"over 0.2 s from bare {_far(self.words_from_bare)} of {len(self.words_from_bare)} word"
            f" times, {_far(self.from_bare)} of {len(self.from_bare)} segment times"
        )
        if self.from_sound:
            said += f", {_far(self.from_sound)} from the sound (bare {_far(self.bare_from_sound)})"
        return said


def _far(apart_ms: Sequence[int]) -> str:
    return f"{sum(ms > NEAR_MS for ms in apart_ms) / len(apart_ms):.0%}"


def _words(segments: Sequence[Segment]) -> list[_Timed]:
    return [
        (text, word.start_ms, word.end_ms)
        for segment in segments
        for word in segment.words or ()
        for text in normalised(word.word).split()
    ]


def _edges(segments: Sequence[Segment]) -> list[_Timed]:
    """Every word; the first of a segment with its beginning, the last with its end."""
    found: list[_Timed] = []
    for segment in segments:
        words = normalised(segment.text).split()
        for place, word in enumerate(words):
            start = segment.start_ms if place == 0 else None
            found.append((word, start, segment.end_ms if place == len(words) - 1 else None))
    return found


def _sounds(recording: Recording) -> list[_Timed]:
    """Every word; the first of a clip with the beginning of its sound, the last with its end."""
    clips = {sample.text: np.flatnonzero(np.abs(sample.audio) > AUDIBLE) for sample in samples()}
    found: list[_Timed] = []
    for span in recording.spans:
        first, last = (int(clips[span.text][place]) // SAMPLES_PER_MS for place in (0, -1))
        words = normalised(span.text).split()
        for place, word in enumerate(words):
            start = span.start_ms + first if place == 0 else None
            end = span.start_ms + last if place == len(words) - 1 else None
            found.append((word, start, end))
    return found


def _apart(ours: Sequence[_Timed], theirs: Sequence[_Timed]) -> list[int]:
    """How far the words that both hold are apart, in the times that both have."""
    heard, known = ([word for word, _, _ in words] for words in (ours, theirs))
    return [
        abs(mine - other)
        for block in SequenceMatcher(None, heard, known, autojunk=False).get_matching_blocks()
        for place in range(block.size)
        for mine, other in zip(ours[block.a + place][1:], theirs[block.b + place][1:], strict=True)
        if mine is not None and other is not None
    ]


class _Total:
    """How many words were wrong, of how many, over all recordings; by who heard them."""

    def __init__(self) -> None:
        self._wrong: dict[str, float] = {}
        self._words: dict[str, int] = {}

    def add(self, heard_by: str, recording: Recording, text: str) -> float:
        """Counts what was heard of a recording; returns its own word error rate, percent."""
        rate, words = word_error_rate(recording.text, text), len(recording.words)
        self._wrong[heard_by] = self._wrong.get(heard_by, 0) + rate * words
        self._words[heard_by] = self._words.get(heard_by, 0) + words
        return rate * 100

    def percent(self, heard_by: str) -> float:
        """The word error rate over all that was counted."""
        return self._wrong[heard_by] / self._words[heard_by] * 100


def measure(stand: Stand) -> Iterator[Goal]:
    """Every recording by the library, then by the engine in every way it can be cut."""
    narration.flite()  # before anything else: what is missing is told at once
    library = bare.model()
    engine = models.load(AsrSettings())
    total = _Total()
    for name, made in _recordings(stand).items():
        recording = made()
        known = _by_library(library, recording.audio.astype(np.float32) / np.float32(32768))
        yardstick = total.add(BARE, recording, known.text)
        size = f"{recording.duration_ms / 60_000:.1f} min, {len(recording.words)} words"
        yield told(f"{name} ({size}): {BARE}", f"{yardstick:.2f} % of the words wrong")
        yield told(f"{name}: {BATCHED}", f"{total.add(BATCHED, recording, known.batched):.2f} %")
        apart: list[float] = []
        for way, options in _ways().items():
            segments = _heard(engine, recording, options)
            times = _Times(recording, segments, known)
            wrong = total.add(way, recording, " ".join(segment.text for segment in segments))
            yield told(f"{name}: {way}", f"{wrong:.2f} %; {times.told()}")
            apart.append(statistics.median(times.words_from_bare))
        yield at_most(f"{name}: words' times from bare's, median", NEAR_MS, max(apart), "ms")
    engine.close()
    yield told(f"all together: {BARE}", f"{total.percent(BARE):.2f} % of the words wrong")
    yield told(f"all together: {BATCHED}", f"{total.percent(BATCHED):.2f} %")
    for way in _ways():
        wanted = total.percent(BARE) + WITHIN
        yield at_most(f"all together: {way}", wanted, total.percent(way), "%")
