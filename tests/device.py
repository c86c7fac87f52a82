"""The real engine with an eye on its device, and jobs that are cut and wait for it."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from hearsight_asr_worker import models
from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import Engine
from hearsight_core import sound
from hearsight_core.contract import RecognitionOptions
from hearsight_core.jobs import Part
from hearsight_core.keys import DEFAULT_OWNER
from hearsight_core.settings import AsrSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import outcomes, work
from hearsight_core.store.database import Database
from hearsight_download_worker.recording_cut import wav
from tests.speech import Recording
from tests.store import EN, downloading

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


@contextmanager
def running_device() -> Iterator[Device]:
    """A device until the end of the context."""
    one = Device()
    try:
        yield one
    finally:
        one.engine.close()


def chunks_of(recording: Recording) -> tuple[tuple[int, int], ...]:
    """Where the recording's speech is, in stretches that begin and end in pauses."""
    return recording.stretches(LONGEST_CHUNK_MS)


def cut_part(
    database: Database,
    storage: ObjectStorage,
    recording: Recording,
    *,
    start_ms: int = 0,
    options: RecognitionOptions | None = None,
) -> tuple[int, str]:
    """A job whose one part is the recording: its number, and the task that recognises it.

    The part begins at `start_ms` of what the job is said to have.
    """
    download = downloading(database, options=options).task
    chunks = chunks_of(recording)
    samples = np.pad(recording.audio, (0, 16_000))
    part = Part(
        job_id=download.job_id,
        index=0,
        start_ms=start_ms,
        end_ms=start_ms + len(samples) // 16,
        speech_ms=sum(end - start for start, end in chunks),
        object_key=f"jobs/{download.job_id}/parts/0.wav",
        chunks=tuple((start_ms + start, start_ms + end) for start, end in chunks),
        chunks_done=0,
        audio_digest=sound.digest(samples.tobytes(), chunks, DEFAULT_OWNER),
    )
    storage.put_bytes(part.object_key, wav(samples))
    task_id = str(uuid.uuid4())
    work.add_part(database, download, part, task_id=task_id)
    work.finish_cut(database, download, part.end_ms)
    outcomes.finish(database, download, EN)
    return download.job_id, task_id
