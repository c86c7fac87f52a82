"""A worker that ends loses no work, and nothing that it has done is done again."""

from collections.abc import Iterator

import pytest

from hearsight_asr_worker.tasks import Transcriber
from hearsight_core.contract import Hint, JobStatus, RecognitionOptions
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing
from hearsight_core.store.database import Database
from hearsight_core.worker import Worker
from hearsight_core.worker_process import Context
from tests.device import Device, chunks_of, cut_part, running_device
from tests.integration.conftest import MakeWorker
from tests.speech import joined, word_error_rate
from tests.store import rows, states


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with running_device() as one:
        yield one


@pytest.mark.parametrize("drains_after", [1, 3, None])
def test_a_drain_costs_no_piece_of_speech_a_second_recognition(
    database: Database,
    storage: ObjectStorage,
    device: Device,
    asr_worker: MakeWorker,
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

    anew = RecognitionOptions(reuse=False)
    undisturbed, task_id = cut_part(database, storage, recording)
    device.watch()
    assert run(asr_worker(), task_id, 0) == "done"
    pieces, batches = device.pieces, device.batches

    job_id, task_id = cut_part(database, storage, recording, options=anew)
    first, last = asr_worker(), drains_after or batches
    device.watch(lambda number: first.drain() if number == last else None)
    if drains_after is None:
        # All was begun when the drain came: the part is finished, and not given back.
        assert run(first, task_id, 0) == "done"
    else:
        assert run(first, task_id, 0) == "given_back"
        [part] = rows(database, "SELECT chunks_done FROM parts WHERE job_id = :id", id=job_id)
        assert 0 < int(str(part["chunks_done"])) < len(chunks_of(recording))
        assert states(database, job_id) == ["done", "waiting"]
        assert run(asr_worker(), task_id, 1) == "done"
    assert device.pieces == pieces
    assert listing.get(database, job_id).status is JobStatus.COMPLETED
    [task] = rows(database, "SELECT failures FROM tasks WHERE id = CAST(:id AS uuid)", id=task_id)
    assert task["failures"] == 0
    texts = [
        " ".join(stored.segment.text for stored in listing.transcript(database, one))
        for one in (undisturbed, job_id)
    ]
    assert word_error_rate(*texts) < 0.02
