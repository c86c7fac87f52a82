"""An ASR worker recognises no audio a second time, unless it is asked to."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from hearsight_asr_worker.engine import ModelInfo
from hearsight_asr_worker.tasks import Transcriber
from hearsight_asr_worker.way import Way
from hearsight_core.contract import Hint, JobStatus, RecognitionOptions, Segment
from hearsight_core.jobs import Job
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing
from hearsight_core.store.database import Database
from hearsight_core.worker_process import Context
from tests.device import Device, cut_part, running_device
from tests.integration.conftest import MakeWorker
from tests.speech import joined

WORDS = RecognitionOptions(word_timestamps=True)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with running_device() as one:
        yield one


class Recognising:
    """Jobs of one recording, recognised one after the other by one worker."""

    def __init__(
        self, database: Database, storage: ObjectStorage, device: Device, make: MakeWorker
    ) -> None:
        self._database = database
        self._storage = storage
        self._device = device
        self._worker = make()
        self._transcribe = Transcriber(device.engine)

    def __call__(
        self, options: RecognitionOptions = WORDS, *, start_ms: int = 0
    ) -> tuple[Job, list[Segment], int]:
        """The job when it is done, its segments, and how many pieces the engine was given."""
        recording = joined(15, seed=12)
        job_id, task_id = cut_part(
            self._database, self._storage, recording, start_ms=start_ms, options=options
        )
        self._device.watch()
        context = Context(worker=self._worker, storage=self._storage)
        outcome = self._worker.run(
            Hint(task_id=task_id, attempt=0), lambda lease: self._transcribe(lease, context)
        )
        assert outcome is not None
        assert outcome["outcome"] == "done"
        job = listing.get(self._database, job_id)
        assert job.status is JobStatus.COMPLETED
        segments = [stored.segment for stored in listing.transcript(self._database, job_id)]
        return job, segments, self._device.pieces


@pytest.fixture
def recognising(
    database: Database, storage: ObjectStorage, device: Device, asr_worker: MakeWorker
) -> Recognising:
    return Recognising(database, storage, device, asr_worker)


def _moved(segments: list[Segment], later_ms: int) -> list[dict[str, object]]:
    return [
        {
            **one.model_dump(),
            "start_ms": one.start_ms + later_ms,
            "end_ms": one.end_ms + later_ms,
            "words": tuple(
                {
                    **word.model_dump(),
                    "start_ms": word.start_ms + later_ms,
                    "end_ms": word.end_ms + later_ms,
                }
                for word in one.words or ()
            ),
        }
        for one in segments
    ]


def test_the_same_audio_is_not_given_to_the_engine_again(recognising: Recognising) -> None:
    first, said, pieces = recognising()
    assert pieces
    assert said
    assert first.reused_ms == 0
    heard, taken = _seconds()
    later, again, none = recognising(start_ms=90_000)
    assert none == 0
    assert [one.model_dump() for one in again] == _moved(said, 90_000)
    assert later.reused_ms == later.recognised_ms == first.recognised_ms
    assert (later.language, later.language_probability, later.model) == (
        first.language,
        first.language_probability,
        first.model,
    )
    heard_after, taken_after = _seconds()
    assert heard_after == heard
    assert round((taken_after - taken) * 1000) == later.recognised_ms
    # What was taken is as good a source as what was recognised.
    _, third, none = recognising()
    assert none == 0
    assert third == said


def _seconds() -> tuple[float, float]:
    """Speech recognised and taken by this process, seconds."""
    names = ("hearsight_audio_seconds_total", "hearsight_reused_audio_seconds_total")
    heard, taken = (REGISTRY.get_sample_value(name) or 0.0 for name in names)
    return heard, taken


@pytest.mark.parametrize(
    "otherwise",
    [
        {"reuse": False},
        {"word_timestamps": False},
        {"language": "en"},
        {"beam_size": 1},
        {"initial_prompt": "Mister Quilter"},
        {"hotwords": "Quilter"},
        {"temperature": (0,)},
        {"no_speech_threshold": 0.9},
    ],
)
def test_audio_that_is_wanted_otherwise_is_recognised(
    recognising: Recognising, otherwise: dict[str, object]
) -> None:
    recognising()
    job, said, pieces = recognising(
        RecognitionOptions.model_validate({"word_timestamps": True, **otherwise})
    )
    assert pieces
    assert said
    assert job.reused_ms == 0


def test_what_was_recognised_anew_is_a_source_for_others(recognising: Recognising) -> None:
    recognising(RecognitionOptions(reuse=False))
    job, _, pieces = recognising(RecognitionOptions())
    assert pieces == 0
    assert job.reused_ms


INFO = ModelInfo("m", "1", "cpu", "int8", frozenset({"en"}), 1, decoding="beam size 5")


@pytest.mark.parametrize(
    "other",
    [
        replace(INFO, name="n"),
        replace(INFO, revision="2"),
        replace(INFO, revision=None),
        replace(INFO, device="cuda"),
        replace(INFO, compute_type="float16"),
        replace(INFO, decoding="beam size 1"),
    ],
)
def test_another_model_is_another_way(other: ModelInfo) -> None:
    assert Way(INFO).of(WORDS) == Way(INFO).of(WORDS)
    assert Way(other).of(WORDS) != Way(INFO).of(WORDS)


def test_how_a_job_is_cut_and_queued_is_no_other_way() -> None:
    clip = RecognitionOptions(
        word_timestamps=True, from_ms=5, to_ms=50_000, split_channels=True, vad_threshold=0.3
    )
    assert Way(INFO).of(clip) == Way(INFO).of(WORDS)
    assert Way(replace(INFO, streams=4)).of(WORDS) == Way(INFO).of(WORDS)
