"""What cutting and recognising make of a whole recording, by the cutter and the real engine."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from hearsight_asr_worker import models
from hearsight_asr_worker.engine import SAMPLES_PER_MS, Chunk, Engine
from hearsight_core.contract import RecognitionOptions, Segment
from hearsight_core.settings import AsrSettings
from hearsight_download_worker.cutting import CutOptions, Cutter
from tests.sounds import noisy, with_music
from tests.speech import Recording, joined, word_error_rate

OPTIONS = RecognitionOptions(word_timestamps=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    one = models.load(AsrSettings(device="cpu"))
    yield one
    one.close()


def heard(engine: Engine, recording: Recording, options: CutOptions) -> list[Segment]:
    chunks = [
        Chunk(recording.audio[start * SAMPLES_PER_MS : end * SAMPLES_PER_MS], start)
        for part in Cutter(options).cut([recording.audio])
        for start, end in part.chunks
    ]
    return [
        segment for result in engine.recognise(chunks, OPTIONS, "en") for segment in result.segments
    ]


@pytest.mark.parametrize(
    "options",
    [
        CutOptions(part_target_s=150, vad_threshold=0.5),
        CutOptions(part_target_s=30, vad_threshold=0.35, bridge_s=0.5, max_chunk_s=10),
    ],
    ids=["long parts", "short chunks"],
)
@pytest.mark.parametrize(
    "recording",
    [noisy(joined(40, seed=21), 20), with_music(joined(40, seed=22, pause_s=(2, 5)))],
    ids=["noise", "music"],
)
def test_cutting_costs_no_words_and_times_stay_in_order(
    engine: Engine, recording: Recording, options: CutOptions
) -> None:
    segments = heard(engine, recording, options)
    assert word_error_rate(recording.text, " ".join(one.text for one in segments)) <= 0.05
    words = [word for segment in segments for word in segment.words or ()]
    for times in (
        [(one.start_ms, one.end_ms) for one in segments],
        [(one.start_ms, one.end_ms) for one in words],
    ):
        assert all(start < end for start, end in times)
        assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert segments[0].start_ms >= 0
    assert segments[-1].end_ms <= recording.duration_ms
