"""Whether cutting costs words: word error rates by recording and by how it is cut.

Each recording is cut as the download worker cuts and recognised by the engine, in this process.
What that is compared with is the library on the whole recording: `WhisperModel.transcribe` with its
defaults, which is the yardstick, and its batched pipeline.
"""

import os
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
from tests.speech import Recording, joined, normalised, word_error_rate

MINUTES = float(os.environ.get("BENCH_MINUTES", "36"))
"""Speech in all: half of it narration, the rest shared by the joined recordings."""
WITHIN = 0.3
"""Percent of the words that more may be wrong than with the bare library."""
NEAR_MS = 200
EVERY_S = 30
"""The cutter is given so much at a time, as the decoder gives it."""


@dataclass(frozen=True)
class _Bare:
    """What the library heard in the whole recording; times from a run that aligns words."""

    text: str
    batched: str
    words: list[tuple[str, int, int]]
    """Each word, normalised, and where the word that it was written in begins and ends."""


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
    results = engine.recognise(chunks, RecognitionOptions(), "en")
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


def _far(segments: Sequence[Segment], words: Sequence[tuple[str, int, int]]) -> str:
    """How many segments begin or end elsewhere than the library's words, where those match."""
    ours = [(word, segment) for segment in segments for word in normalised(segment.text).split()]
    matcher = SequenceMatcher(
        None, [word for word, _ in ours], [word for word, _, _ in words], autojunk=False
    )
    apart_ms: list[int] = []
    for block in matcher.get_matching_blocks():
        for at in range(block.size):
            place, (_, start_ms, end_ms) = block.a + at, words[block.b + at]
            segment = ours[place][1]
            if place == 0 or ours[place - 1][1] is not segment:
                apart_ms.append(abs(segment.start_ms - start_ms))
            if place == len(ours) - 1 or ours[place + 1][1] is not segment:
                apart_ms.append(abs(segment.end_ms - end_ms))
    far = sum(ms > NEAR_MS for ms in apart_ms) / len(apart_ms)
    return f"{far:.1%} of {len(apart_ms)} segment times over {NEAR_MS / 1000} s from bare's"


def _percent(recording: Recording, text: str) -> float:
    return word_error_rate(recording.text, text) * 100


def measure(stand: Stand) -> Iterator[Goal]:
    """Every recording by the library, then by the engine in every way it can be cut."""
    narration.flite()  # before anything else: what is missing is told at once
    library = bare.model()
    engine = models.load(AsrSettings(device="cpu"))
    for name, made in _recordings(stand).items():
        recording = made()
        known = _by_library(library, recording.audio.astype(np.float32) / np.float32(32768))
        yardstick = _percent(recording, known.text)
        size = f"{recording.duration_ms / 60_000:.1f} min, {len(recording.words)} words"
        yield told(f"{name} ({size}): bare, sequential", f"{yardstick:.2f} % of the words wrong")
        yield told(f"{name}: bare, batched", f"{_percent(recording, known.batched):.2f} %")
        for way, options in _ways().items():
            segments = _heard(engine, recording, options)
            yield at_most(
                f"{name}: {way}",
                yardstick + WITHIN,
                _percent(recording, " ".join(segment.text for segment in segments)),
                "%",
                remark=f"; {_far(segments, known.words)}",
            )
    engine.close()
