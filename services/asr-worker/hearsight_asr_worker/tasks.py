"""One part of a recording, from its audio to its segments."""

import io
import time
import wave
from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from hearsight_asr_worker.engine import SAMPLE_RATE, SAMPLES_PER_MS, Chunk, Engine
from hearsight_asr_worker.way import Way
from hearsight_core.errors import DeviceFailedError, Draining, ObjectStoreError
from hearsight_core.jobs import RANK_OFFSET, Job, ModelUsed, Part, progress_of
from hearsight_core.lease import Lease
from hearsight_core.store import reuse, work
from hearsight_core.store.work import Appended
from hearsight_core.telemetry.metrics import (
    AUDIO_SECONDS,
    REAL_TIME_FACTOR,
    REUSED_AUDIO_SECONDS,
    SEGMENTS,
)
from hearsight_core.telemetry.told import stage
from hearsight_core.worker_process import Context

log = structlog.get_logger(__name__)


def read_part(content: bytes) -> NDArray[np.int16]:
    """The samples of a part's WAV object (16 kHz, mono, 16 bit).

    Raises:
        ObjectStoreError: the object is not what the download worker stored.
    """
    try:
        with wave.open(io.BytesIO(content)) as audio:
            form = (audio.getframerate(), audio.getnchannels(), audio.getsampwidth())
            if form != (SAMPLE_RATE, 1, 2):
                raise ObjectStoreError(detail=f"a part has the form {form}")
            return np.frombuffer(audio.readframes(audio.getnframes()), dtype=np.int16)
    except (wave.Error, EOFError) as error:
        raise ObjectStoreError(detail=f"a part can't be read: {error}") from error


def chunks_to_do(part: Part, samples: NDArray[np.int16]) -> list[Chunk]:
    """The part's chunks from its checkpoint on."""
    return [
        Chunk(
            samples=samples[
                (start_ms - part.start_ms) * SAMPLES_PER_MS : (end_ms - part.start_ms)
                * SAMPLES_PER_MS
            ],
            start_ms=start_ms,
        )
        for start_ms, end_ms in part.chunks[part.chunks_done :]
    ]


class Transcriber:
    """What an ASR worker does with a task: recognise, and store what is recognised at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._way = Way(engine.info)
        self._model = ModelUsed(
            name=engine.info.name,
            revision=engine.info.revision,
            device=engine.info.device,
            compute_type=engine.info.compute_type,
        )

    def __call__(self, lease: Lease, context: Context) -> None:
        """Recognises the leased part from its checkpoint to its end.

        Raises:
            HearSightError: as the engine and the stores raise it; an Interruption from the lease.
        """
        try:
            self._transcribe(lease, context)
        except DeviceFailedError as error:
            log.critical(
                "the device failed; this process ends, so that a new one can use it",
                error=str(error),
            )
            context.worker.abandon(error)

    def _transcribe(self, lease: Lease, context: Context) -> None:
        worker, database, part = context.worker, context.worker.database, lease.part
        assert part is not None, "a transcribe task has a part"  # noqa: S101
        self._engine.check_options(lease.job.options)
        if work.to_mark_recognising(lease.job):
            worker.publish(work.mark_recognising(database, lease.task, worker.language))
        way = self._way.of(lease.job.options)
        if not self._reuse(lease, context, part, way):
            with stage("read_part"):
                chunks = chunks_to_do(part, read_part(context.storage.get_bytes(part.object_key)))
            lease.check()
            with stage("recognise"):
                self._recognise(lease, context, part, chunks, way)
        last = work.mark_postprocessing(database, lease.task, worker.language)
        if last is not None:
            worker.publish(last)

    def _reuse(self, lease: Lease, context: Context, part: Part, way: str) -> bool:
        """Stores what an earlier job recognised of the same audio; False: there is nothing."""
        job, database = lease.job, context.worker.database
        found = reuse.reusable(database, job, part, way) if job.options.reuse else None
        if found is None:
            return False
        if job.language is None:
            stored = work.set_language(
                database, lease.task, found.language, found.language_probability, self._model
            )
            if stored.language != found.language:
                return False
        log.info("part is taken from an earlier job", source_job_id=found.job_id)
        for index in range(part.chunks_done, len(part.chunks)):
            lease.check()
            appended = work.add_segments(
                database,
                lease.task,
                part,
                chunk_index=index,
                found=found.chunks[index],
                language=context.worker.language,
                way=way,
                reused=True,
            )
            start_ms, end_ms = part.chunks[index]
            REUSED_AUDIO_SECONDS.inc((end_ms - start_ms) / 1000)
            SEGMENTS.inc(len(appended.segments))
            self._tell(context, appended)
            lease.saw(appended.job)
        return True

    def _recognise(
        self, lease: Lease, context: Context, part: Part, chunks: Sequence[Chunk], way: str
    ) -> None:
        """Stores each chunk's segments as they come, and moves the checkpoint past it.

        A drain ends it after what the device has begun.
        """
        language = self._language(lease, context, part, chunks)
        started = time.monotonic()
        done, heard_ms, real_time_factor = part.chunks_done, 0, 0.0
        try:
            for result in self._engine.recognise(
                chunks,
                lease.job.options,
                language,
                head_start_s=-RANK_OFFSET[lease.job.priority].total_seconds(),
                go_on=lease.goes_on,
            ):
                appended = work.add_segments(
                    context.worker.database,
                    lease.task,
                    part,
                    chunk_index=done,
                    found=result.segments,
                    language=context.worker.language,
                    way=way,
                )
                start_ms, end_ms = part.chunks[done]
                done += 1
                heard_ms += end_ms - start_ms
                real_time_factor = (time.monotonic() - started) * 1000 / heard_ms
                AUDIO_SECONDS.inc((end_ms - start_ms) / 1000)
                SEGMENTS.inc(len(result.segments))
                self._tell(context, appended, real_time_factor)
                lease.saw(appended.job)
            lease.check_held()
            if done < len(part.chunks):
                raise Draining
        finally:
            if heard_ms:
                REAL_TIME_FACTOR.observe(real_time_factor)

    def _language(self, lease: Lease, context: Context, part: Part, chunks: Sequence[Chunk]) -> str:
        """The job's one language: asked for, found by an earlier part, or found now."""
        job = lease.job
        if job.language is not None:
            return job.language
        found, probability = (
            (job.options.language, 1.0)
            if job.options.language is not None
            else self._engine.detect_language([*chunks, *self._further_on(context, part)])
        )
        stored = work.set_language(
            context.worker.database, lease.task, found, probability, self._model
        )
        return stored.language or found

    def _further_on(self, context: Context, part: Part) -> Sequence[Chunk]:
        """Speech from the end of what is cut by now, if that is another part."""
        if not self._engine.info.multilingual:
            return []
        last = work.last_part(context.worker.database, part.job_id)
        if last is None or last.index == part.index:
            return []
        return chunks_to_do(last, read_part(context.storage.get_bytes(last.object_key)))

    @staticmethod
    def _tell(context: Context, appended: Appended, real_time_factor: float | None = None) -> None:
        job: Job = appended.job
        if job.deleted:
            return
        pace: dict[str, float] = {}
        if real_time_factor is not None:
            left_s = max(0, job.speech_ms - job.recognised_ms) / 1000
            pace = {
                "real_time_factor": round(real_time_factor, 4),
                "eta_seconds": round(left_s * real_time_factor, 1),
            }
        context.worker.news.publish(
            progress_of(job).model_copy(update=pace),
            segments_after=appended.version_before,
            segments=appended.segments,
        )
