"""One job's media, from its address to parts that can be recognised."""

import io
import mimetypes
import shutil
import tempfile
import time
import uuid
import wave
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from hearsight_core.addresses import AddressGuard
from hearsight_core.broker import WORKER_SEEN_WITHIN_S
from hearsight_core.contract import STAGE_PERCENT, Stage, TaskKind, queue_of
from hearsight_core.jobs import Job, Part, progress_of
from hearsight_core.lease import Lease
from hearsight_core.messages import render
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import job_prefix, parts_prefix
from hearsight_core.store import leases, work
from hearsight_core.store.database import Database
from hearsight_core.store.work import Media
from hearsight_core.telemetry.metrics import DOWNLOADED_BYTES
from hearsight_core.telemetry.told import stage
from hearsight_core.worker_process import Context
from hearsight_download_worker.audio import open_audio
from hearsight_download_worker.cutting import CutOptions, Cutter
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.fetch import Fetched, FetchLimits, FetchProgress
from hearsight_download_worker.fetching import fetch_apart

log = structlog.get_logger(__name__)

SAMPLE_RATE_HZ = 16_000
BLOCK_S = 30.0
"""How much audio is decoded at a time."""

NEWS_EVERY_S = 0.25
STORE_EVERY_S = 5.0
"""Pauses between two pieces of news, and between two writes of progress to the database."""

SCRATCH_PREFIX = "hearsight-"
SCRATCH_KEPT_S = 24 * 3600


def wav(samples: NDArray[np.int16]) -> bytes:
    """A part's audio as the object that the ASR workers read: WAV, 16 kHz, mono, 16 bit."""
    content = io.BytesIO()
    with wave.open(content, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(SAMPLE_RATE_HZ)
        audio.writeframes(samples.astype("<i2", copy=False).tobytes())
    return content.getvalue()


def sweep_scratch(folder: Path) -> None:
    """Removes what killed workers left in the scratch folder more than a day ago."""
    for left in folder.glob(f"{SCRATCH_PREFIX}*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > SCRATCH_KEPT_S:
            shutil.rmtree(left, ignore_errors=True)


def idle_streams(database: Database, job: Job) -> int:
    """How many parts of the job could be recognised at once."""
    return leases.idle_streams(
        database,
        queue_of(TaskKind.TRANSCRIBE, job.pool),
        job_id=job.id,
        within_s=WORKER_SEEN_WITHIN_S,
    )


class Downloader:
    """What a download worker does with a task: fetch, store, decode, find the speech, cut."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._scratch = settings.scratch_dir or Path(tempfile.gettempdir())
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._guard = AddressGuard(settings.allow_hosts)
        self._decoders = Decoders()
        sweep_scratch(self._scratch)

    def close(self) -> None:
        """Ends the decoder that waits for the next job."""
        self._decoders.close()

    def __call__(self, lease: Lease, context: Context) -> None:
        """Brings the leased job to the point where only recognition is left.

        Every step starts where an earlier attempt got to: media that is stored is not fetched
        again, and cutting goes on after the last part.

        Raises:
            HearSightError: as its steps raise it; an Interruption from the lease.
        """
        # Each attempt has a folder of its own: an earlier one may still be writing in its own.
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=self._scratch) as folder:
            if lease.job.media_key is None:
                with stage("fetch"):
                    fetched = self._fetch(lease, context, Path(folder))
                with stage("store_media"):
                    self._store(lease, context, fetched)
                path = fetched.path
            else:
                with stage("fetch"):
                    path = self._stored(lease, context, lease.job.media_key, Path(folder))
            try:
                with stage("cut"):
                    self._cut(lease, context, path)
            finally:
                self._decoders.prepare()

    def _fetch(self, lease: Lease, context: Context, folder: Path) -> Fetched:
        assert lease.job.source_url is not None, "a job without media has a URL"  # noqa: S101
        settings = self._settings
        return fetch_apart(
            lease.job.source_url,
            folder,
            guard=self._guard,
            limits=FetchLimits(
                max_bytes=settings.max_download_bytes,
                max_duration_s=settings.max_duration_s,
                timeout_s=settings.download_timeout_s,
                socket_timeout_s=settings.socket_timeout_s,
            ),
            memory_mib=settings.fetcher_memory_mib,
            language=lease.job.options.language,
            on_progress=_DownloadNews(lease, context),
            check=lease.check,
        )

    def _store(self, lease: Lease, context: Context, fetched: Fetched) -> None:
        """Stores the original; no later attempt fetches it again."""
        worker = context.worker
        key = f"{job_prefix(lease.job.id)}media/{lease.task.id}-{lease.task.attempt}"
        context.storage.put_file(key, fetched.path)
        lease.check_held()
        DOWNLOADED_BYTES.inc(fetched.size_bytes)
        worker.publish(
            work.set_media(
                worker.database,
                lease.task,
                Media(
                    key=key,
                    filename=fetched.filename,
                    size_bytes=fetched.size_bytes,
                    media_type=mimetypes.guess_type(fetched.filename)[0],
                ),
                self._message(fetched, context),
            )
        )

    @staticmethod
    def _message(fetched: Fetched, context: Context) -> str:
        if fetched.playlist_entries is not None:
            return render(
                "progress.download_first_entry",
                context.worker.language,
                entries=fetched.playlist_entries,
            )
        return render("progress.download", context.worker.language)

    @staticmethod
    def _stored(lease: Lease, context: Context, key: str, folder: Path) -> Path:
        path = folder / "media"
        for _ in context.storage.get_file(key, path):
            lease.check()
        return path

    def _cut(self, lease: Lease, context: Context, path: Path) -> None:
        settings, worker, database = self._settings, context.worker, context.worker.database
        last = work.last_part(database, lease.job.id)
        if last is None:
            stage = Stage.ASR_PREPROCESSING
            message = render(f"progress.{stage}", worker.language)
            worker.publish(work.report(database, lease.task, stage, STAGE_PERCENT[stage], message))
        cutter = Cutter(
            CutOptions(
                part_target_s=settings.part_target_s,
                part_shortest_s=settings.part_shortest_s,
                vad_threshold=settings.vad_threshold,
            ),
            start_ms=last.end_ms if last else 0,
            first_index=last.index + 1 if last else 0,
        )
        with open_audio(
            path,
            memory_mib=settings.decoder_memory_mib,
            max_duration_s=settings.max_duration_s,
            start_ms=cutter.start_ms,
            check=lease.check,
            decoders=self._decoders,
        ) as audio:
            if audio.info.duration_ms is not None:
                worker.publish(work.set_duration(database, lease.task, audio.info.duration_ms))
            for found in cutter.cut(
                audio.blocks(BLOCK_S),
                length_ms=audio.info.duration_ms,
                idle=partial(idle_streams, database, lease.job),
            ):
                self._add(
                    lease,
                    context,
                    Part(
                        job_id=lease.job.id,
                        index=found.index,
                        start_ms=found.start_ms,
                        end_ms=found.end_ms,
                        # What the ASR workers will have gone through, silences within included:
                        # a completed job has recognised exactly this much.
                        speech_ms=sum(end - start for start, end in found.chunks),
                        object_key=f"{parts_prefix(lease.job.id)}"
                        f"{lease.task.id}-{lease.task.attempt}/{found.index:05}.wav",
                        chunks=found.chunks,
                        chunks_done=0,
                    ),
                    found.samples,
                )
            truncated = audio.truncated
        worker.publish(
            work.finish_cut(database, lease.task, cutter.duration_ms, truncated=truncated)
        )

    @staticmethod
    def _add(lease: Lease, context: Context, part: Part, samples: NDArray[np.int16]) -> None:
        """Stores a part's audio, then the part and its task, then says so to the ASR workers."""
        context.storage.put_bytes(part.object_key, wav(samples))
        lease.check_held()
        worker = context.worker
        job = work.add_part(
            worker.database,
            lease.task,
            part,
            task_id=str(uuid.uuid4()),
            trace_parent=lease.trace_parent,
        )
        worker.publish(job)
        worker.top_up([queue_of(TaskKind.TRANSCRIBE, job.pool)])
        lease.saw(job)
        lease.check()


class _DownloadNews:
    """Tells how a download goes: often on Redis, now and then in the database.

    The overall percentage comes from the database alone, so that it never goes back, whatever
    happens to this attempt or to Redis.
    """

    def __init__(self, lease: Lease, context: Context) -> None:
        self._lease = lease
        self._context = context
        self._job: Job = lease.job
        self._percent = 0.0
        self._news_due = 0.0
        self._store_due = 0.0

    def __call__(self, progress: FetchProgress) -> None:
        now = time.monotonic()
        if now < self._news_due:
            return
        self._news_due = now + NEWS_EVERY_S
        if progress.percent is not None:
            self._percent = max(self._percent, round(progress.percent, 1))
        worker = self._context.worker
        if now >= self._store_due:
            self._store_due = now + STORE_EVERY_S
            self._job = work.report(
                worker.database,
                self._lease.task,
                Stage.DOWNLOAD,
                self._percent,
                render("progress.download", worker.language),
            )
            self._lease.saw(self._job)
        worker.news.publish(
            progress_of(self._job).model_copy(
                update={
                    "progress_percent": self._percent,
                    "filename": progress.filename or self._job.filename,
                    "current_bytes": progress.current_bytes,
                    "total_bytes": progress.total_bytes,
                    "speed": progress.speed,
                    "eta_seconds": progress.eta_seconds,
                }
            )
        )
