"""A part's audio as the download worker writes it and the ASR worker reads it."""

import numpy as np
import pytest

from hearsight_asr_worker.tasks import chunks_to_do, read_part
from hearsight_core.errors import ObjectStoreError
from hearsight_core.jobs import Part
from hearsight_download_worker.recording_cut import wav


def test_a_part_is_read_as_it_was_written_and_goes_on_at_its_checkpoint() -> None:
    samples = np.arange(-16_000, 16_000, dtype=np.int16)
    assert np.array_equal(read_part(wav(samples)), samples)
    part = Part(
        job_id=1,
        index=0,
        start_ms=5_000,
        end_ms=7_000,
        speech_ms=1_500,
        object_key="",
        chunks=((5_000, 5_500), (6_000, 7_000)),
        chunks_done=1,
    )
    [left] = chunks_to_do(part, samples)
    assert (left.start_ms, left.duration_ms) == (6_000, 1_000)
    assert np.array_equal(left.samples, samples[16_000:])


@pytest.mark.parametrize("content", [b"", b"RIFF", wav(np.zeros(10, np.int16))[:20]])
def test_a_part_that_is_no_wav_fails_by_name(content: bytes) -> None:
    with pytest.raises(ObjectStoreError):
        read_part(content)
