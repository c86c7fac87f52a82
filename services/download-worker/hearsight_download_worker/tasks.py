"""One job's media, from its address to parts that can be recognised."""

import mimetypes
import shutil
import tempfile
import time
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from hearsight_core import sound
from hearsight_core.addresses import AddressGuard
from hearsight_core.broker import WORKER_SEEN_WITHIN_S
from hearsight_core.contract import (
    STAGE_PERCENT,
    RecognitionOptions,
    Stage,
    TaskKind,
    queue_of,
)
from hearsight_core.errors import ClipOutsideError, UnsupportedError
from hearsight_core.jobs import Job, Part
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
from hearsight_download_worker.audio import Audio, open_audio
from hearsight_download_worker.cutting import CutOptions, Cutter
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.download_news import DownloadNews
from hearsight_download_worker.fetch import Fetched, FetchLimits
from hearsight_download_worker.fetchers import Fetchers
from hearsight_download_worker.fetching import fetch_apart

log = structlog.get_logger(__name__)

Number = TypeVar("Number", int, float)

MAX_CHANNELS = 16
"""A recording of more channels is no conversation, and is not split."""
BLOCK_S = 30.0
"""How much audio is decoded at a time."""

SCRATCH_PREFIX = "hearsight-"
SCRATCH_KEPT_S = 24 * 3600


def _pcm(samples: NDArray[np.int16]) -> bytes:
    return samples.astype("<i2", copy=False).tobytes()


def wav(samples: NDArray[np.int16]) -> bytes:
    """A part's audio as the object that the ASR workers read: WAV, 16 kHz, mono, 16 bit."""
    return sound.wav(_pcm(samples))


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
        self._fetchers = Fetchers()
        sweep_scratch(self._scratch)

    def close(self) -> None:
        """Ends the decoder that waits for the next job, and what fetches are forked from."""
        self._decoders.close()
        self._fetchers.close()

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
            fetchers=self._fetchers,
            guard=self._guard,
            limits=FetchLimits(
                max_bytes=settings.max_download_bytes,
                max_duration_s=settings.max_duration_s,
                timeout_s=settings.download_timeout_s,
                socket_timeout_s=settings.socket_timeout_s,
            ),
            memory_mib=settings.fetcher_memory_mib,
            language=lease.job.options.language,
            on_progress=DownloadNews(lease, context),
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
        """Cuts the stretch that is wanted: all channels mixed, or one after the other."""
        worker, database, options = context.worker, context.worker.database, lease.job.options
        last = work.last_part(database, lease.job.id)
        if last is None:
            stage = Stage.ASR_PREPROCESSING
            message = render(f"progress.{stage}", worker.language)
            worker.publish(work.report(database, lease.task, stage, STAGE_PERCENT[stage], message))
        channel = None
        if options.split_channels:
            channel = last.channel if last else 0
        cutter = (
            self._cutter(options, last.end_ms, last.index + 1)
            if last
            else self._cutter(options, options.from_ms, 0)
        )
        audio = self._cut_channel(lease, context, path, cutter, channel)
        for following in range((channel or 0) + 1, _channels(audio, options)):
            cutter = self._cutter(options, options.from_ms, cutter.next_index)
            audio = self._cut_channel(lease, context, path, cutter, following)
        duration_ms = audio.duration_ms
        if options.to_ms is not None:
            duration_ms = max(duration_ms, audio.info.duration_ms or 0)
        worker.publish(
            work.finish_cut(database, lease.task, duration_ms, truncated=audio.truncated)
        )

    def _cutter(self, options: RecognitionOptions, start_ms: int, first_index: int) -> Cutter:
        return Cutter(
            cut_options(options, self._settings), start_ms=start_ms, first_index=first_index
        )

    def _cut_channel(
        self, lease: Lease, context: Context, path: Path, cutter: Cutter, channel: int | None
    ) -> Audio:
        """Adds the parts of one channel; the audio that is returned has been decoded.

        Raises:
            ClipOutsideError: the recording ends before the stretch that is wanted.
        """
        settings, worker, options = self._settings, context.worker, lease.job.options
        with open_audio(
            path,
            memory_mib=settings.decoder_memory_mib,
            max_duration_s=settings.max_duration_s,
            start_ms=cutter.start_ms,
            from_ms=options.from_ms,
            to_ms=options.to_ms,
            channel=channel,
            check=lease.check,
            decoders=self._decoders,
        ) as audio:
            if audio.info.duration_ms is not None:
                worker.publish(
                    work.set_duration(worker.database, lease.task, audio.info.duration_ms)
                )
            for found in cutter.cut(
                audio.blocks(BLOCK_S),
                length_ms=audio.info.duration_ms if options.to_ms is None else options.to_ms,
                idle=partial(idle_streams, worker.database, lease.job),
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
                        channel=channel,
                        audio_digest=sound.digest(
                            _pcm(found.samples),
                            [
                                (start - found.start_ms, end - found.start_ms)
                                for start, end in found.chunks
                            ],
                            lease.job.owner,
                        ),
                    ),
                    found.samples,
                )
        if 0 < options.from_ms >= audio.duration_ms:
            raise ClipOutsideError(
                duration_s=round(audio.duration_ms / 1000, 3), from_s=options.from_ms / 1000
            )
        return audio

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
        worker.top_ups.ask([queue_of(TaskKind.TRANSCRIBE, job.pool)])
        lease.saw(job)
        lease.check()


def cut_options(options: RecognitionOptions, settings: DownloadSettings) -> CutOptions:
    """How to cut a job: as it asks for, else as the worker's settings say."""
    own = CutOptions(
        part_target_s=settings.part_target_s,
        part_shortest_s=settings.part_shortest_s,
        vad_threshold=settings.vad_threshold,
    )
    return replace(
        own,
        vad_threshold=_either(options.vad_threshold, own.vad_threshold),
        min_speech_ms=_either(options.vad_min_speech_duration_ms, own.min_speech_ms),
        min_silence_ms=_either(options.vad_min_silence_duration_ms, own.min_silence_ms),
        speech_pad_ms=_either(options.vad_speech_pad_ms, own.speech_pad_ms),
    )


def _either(asked: Number | None, own: Number) -> Number:
    return own if asked is None else asked


def _channels(audio: Audio, options: RecognitionOptions) -> int:
    """How many channels are cut, one after the other.

    Raises:
        UnsupportedError: more than anybody's speakers have.
    """
    if not options.split_channels:
        return 1
    if audio.info.channels > MAX_CHANNELS:
        raise UnsupportedError(detail=f"{audio.info.channels} channels can't be split")
    return audio.info.channels
