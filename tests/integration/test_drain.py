"""A worker that ends loses no work, and nothing that it has done is done again."""

import uuid
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hearsight_asr_worker import models
from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import Engine
from hearsight_asr_worker.tasks import Transcriber
from hearsight_core.contract import Hint, JobStatus
from hearsight_core.jobs import Part
from hearsight_core.settings import AsrSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.worker import Worker
from hearsight_core.worker_process import Context
from hearsight_download_worker.tasks import wav
from tests.integration.conftest import MakeWorker
from tests.speech import Recording, joined, word_error_rate
from tests.store import EN, downloading, rows, states

LONGEST_CHUNK_MS = 8_000


class Device:
    """The real engine, two pieces at a time; it tells of each batch it has done."""

    def __init__(self) -> None:
        self.pieces = 0
        self.after_batch: Callable[[int], object] = lambda _: None
        self._batches = 0
        self.engine: Engine = models.load(
            AsrSettings(asr_streams=1, asr_batch_size=2), observe=self._done
        )

    def watch(self, after_batch: Callable[[int], object] = lambda _: None) -> None:
        """Counts from zero, and calls `after_batch` with the number of each batch."""
        self.pieces = self._batches = 0
        self.after_batch = after_batch

    @property
    def batches(self) -> int:
        """How many batches were done."""
        return self._batches

    def _done(self, batch: BatchDone) -> None:
        self.pieces += batch.size
        self._batches += 1
        self.after_batch(self._batches)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    one = Device()
    yield one
    one.engine.close()


def chunks_of(recording: Recording) -> tuple[tuple[int, int], ...]:
    """Where the recording's speech is, in stretches that begin and end in pauses."""
    found: list[tuple[int, int]] = []
    for span in recording.spans:
        if found and span.end_ms + 100 - found[-1][0] <= LONGEST_CHUNK_MS:
            found[-1] = (found[-1][0], span.end_ms + 100)
        else:
            found.append((span.start_ms - 100, span.end_ms + 100))
    return tuple(found)


def cut(database: Database, storage: ObjectStorage, recording: Recording) -> tuple[int, str]:
    """A job whose one part is the recording: its number, and the task that recognises it."""
    download = downloading(database).task
    chunks = chunks_of(recording)
    samples = np.pad(recording.audio, (0, 16_000))
    part = Part(
        job_id=download.job_id,
        index=0,
        start_ms=0,
        end_ms=len(samples) // 16,
        speech_ms=sum(end - start for start, end in chunks),
        object_key=f"jobs/{download.job_id}/parts/0.wav",
        chunks=chunks,
        chunks_done=0,
    )
    storage.put_bytes(part.object_key, wav(samples))
    task_id = str(uuid.uuid4())
    work.add_part(database, download, part, task_id=task_id)
    work.finish_cut(database, download, part.end_ms)
    outcomes.finish(database, download, EN)
    return download.job_id, task_id


@pytest.mark.parametrize("drains_after", [1, 3, None])
def test_a_drain_costs_no_piece_of_speech_a_second_recognition(
    database: Database,
    storage: ObjectStorage,
    device: Device,
    make_asr_worker: MakeWorker,
    drains_after: int | None,
) -> None:
    recording = joined(60, seed=12)
    transcribe = Transcriber(device.engine)

    def run(worker: Worker, task_id: str, attempt: int) -> object:
        context = Context(worker=worker, storage=storage)
        hint = Hint(task_id=task_id, attempt=attempt)
        outcome = worker.run(hint, lambda lease: transcribe(lease, context))
        assert outcome is not None
        return outcome["outcome"]

    undisturbed, task_id = cut(database, storage, recording)
    device.watch()
    assert run(make_asr_worker(), task_id, 0) == "done"
    pieces, batches = device.pieces, device.batches

    job_id, task_id = cut(database, storage, recording)
    first, last = make_asr_worker(), drains_after or batches
    device.watch(lambda number: first.drain() if number == last else None)
    if drains_after is None:
        # All was begun when the drain came: the part is finished, and not given back.
        assert run(first, task_id, 0) == "done"
    else:
        assert run(first, task_id, 0) == "given_back"
        [part] = rows(database, "SELECT chunks_done FROM parts WHERE job_id = :id", id=job_id)
        assert 0 < int(str(part["chunks_done"])) < len(chunks_of(recording))
        assert states(database, job_id) == ["done", "waiting"]
        assert run(make_asr_worker(), task_id, 1) == "done"
    assert device.pieces == pieces
    assert listing.get(database, job_id).status is JobStatus.COMPLETED
    [task] = rows(database, "SELECT failures FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    assert task["failures"] == 0
    texts = [
        " ".join(stored.segment.text for stored in listing.transcript(database, one))
        for one in (undisturbed, job_id)
    ]
    assert word_error_rate(*texts) < 0.02
