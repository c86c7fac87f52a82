"""A job's language is told once, by speech from all that is cut of its recording."""

import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hearsight_asr_worker.engine import Chunk, ChunkResult, ModelInfo, to_the_end
from hearsight_asr_worker.tasks import Transcriber
from hearsight_core.contract import Hint, RecognitionOptions
from hearsight_core.jobs import Part
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing, outcomes, work
from hearsight_core.store.database import Database
from hearsight_core.worker_process import Context
from hearsight_download_worker.recording_cut import wav
from tests.integration.conftest import MakeWorker
from tests.store import EN, downloading

CHUNK_MS = 1_000


class Linguist:
    """An engine that hears no words, and remembers what it was to tell a language by."""

    info = ModelInfo(
        name="linguist",
        revision=None,
        device="cpu",
        compute_type="int8",
        languages=frozenset({"en", "fr"}),
        streams=1,
    )

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.told: list[str] = []

    def check_options(self, options: RecognitionOptions) -> None:
        """Takes them all."""

    def recognise(
        self,
        chunks: Sequence[Chunk],
        options: RecognitionOptions,
        language: str,
        *,
        head_start_s: float = 0,
        go_on: Callable[[], bool] = to_the_end,
    ) -> Iterator[ChunkResult]:
        """No words for each chunk."""
        del options, head_start_s, go_on
        self.told.append(language)
        return iter([ChunkResult(())] * len(chunks))

    def detect_language(self, chunks: Sequence[Chunk]) -> tuple[str, float]:
        """French, whatever is said."""
        self.asked.append([chunk.start_ms for chunk in chunks])
        return "fr", 0.7

    def loaded(self) -> bool:
        """There is no model to load."""
        return True

    def busy_s(self) -> float:
        """Never busy."""
        return 0.0

    def worked_s(self) -> float:
        """No device does any work."""
        return 0.0

    def close(self) -> None:
        """Nothing to end."""


def test_it_is_told_by_the_beginning_and_the_end_and_holds_for_all_parts(
    database: Database, storage: ObjectStorage, asr_worker: MakeWorker
) -> None:
    download = downloading(database).task
    hints = []
    for index, start_ms in enumerate((0, 10_000, 20_000)):
        chunks = ((start_ms, start_ms + CHUNK_MS), (start_ms + 2_000, start_ms + 2_000 + CHUNK_MS))
        part = Part(
            job_id=download.job_id,
            index=index,
            start_ms=start_ms,
            end_ms=start_ms + 3_000,
            speech_ms=2 * CHUNK_MS,
            object_key=f"jobs/{download.job_id}/parts/{index}.wav",
            chunks=chunks,
            chunks_done=0,
        )
        storage.put_bytes(part.object_key, wav(np.full(16 * 3_000, 1_000, np.int16)))
        hints.append(Hint(task_id=str(uuid.uuid4()), attempt=0))
        work.add_part(database, download, part, task_id=hints[-1].task_id)
    work.finish_cut(database, download, 23_000)
    outcomes.finish(database, download, EN)
    worker, engine = asr_worker(), Linguist()
    transcribe, context = Transcriber(engine), Context(worker=worker, storage=storage)
    for hint in hints:
        outcome = worker.run(hint, lambda lease: transcribe(lease, context))
        assert outcome is not None
        assert outcome["outcome"] == "done"
    assert engine.asked == [[0, 2_000, 20_000, 22_000]]
    assert engine.told == ["fr"] * 3
    assert listing.get(database, download.job_id).language == "fr"
