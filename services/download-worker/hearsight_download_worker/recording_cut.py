"""One job's recording on its way into parts: cut, stored, and handed on to be recognised."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hearsight_core import sound
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
from hearsight_core.storage import parts_prefix
from hearsight_core.store import leases, recut, work
from hearsight_core.store.database import Database
from hearsight_core.worker_process import Context
from hearsight_download_worker import cutting
from hearsight_download_worker.audio import Audio, MediaInfo, open_audio
from hearsight_download_worker.cut_options import cut_options, while_arriving
from hearsight_download_worker.cutting import Cutter, Window
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.growing import Arrival
from hearsight_download_worker.voice_activity import SAMPLES_PER_MS

MAX_CHANNELS = 16
"""A recording of more channels is no conversation, and is not split."""
BLOCK_S = 30.0
"""How much audio is decoded at a time."""
ARRIVING_BLOCK_S = 1.0
"""The same, where it comes no faster than it is fetched."""


@dataclass(frozen=True)
class Ending:
    """How long a recording turned out to be, and whether it broke off before its end."""

    duration_ms: int
    truncated: bool


def idle_streams(database: Database, job: Job) -> int:
    """How many parts of the job could be recognised at once."""
    return leases.idle_streams(
        database,
        queue_of(TaskKind.TRANSCRIBE, job.pool),
        job_id=job.id,
        within_s=WORKER_SEEN_WITHIN_S,
    )


class RecordingCut:
    """Cuts the recording of a leased job; what is cut before, by whatever attempt, is kept."""

    def __init__(
        self, lease: Lease, context: Context, settings: DownloadSettings, decoders: Decoders
    ) -> None:
        self._lease = lease
        self._storage = context.storage
        self._worker = context.worker
        self._database = context.worker.database
        self._settings = settings
        self._options: RecognitionOptions = lease.job.options
        self._open = partial(
            open_audio,
            memory_mib=settings.decoder_memory_mib,
            max_duration_s=settings.max_duration_s,
            decoders=decoders,
        )

    def last_part(self) -> Part | None:
        """The last part there is."""
        return work.last_part(self._database, self._lease.job.id)

    def tell(self) -> None:
        """Shows that the media is there and being cut, and what is recognised of it already."""
        stage, language = Stage.ASR_PREPROCESSING, self._worker.language
        message = render(f"progress.{stage}", language)
        job = work.report(self._database, self._lease.task, stage, STAGE_PERCENT[stage], message)
        self._worker.publish(job)
        if job.recognised_ms:
            self._worker.publish(work.mark_recognising(self._database, self._lease.task, language))

    def rest(self, path: Path) -> Ending:
        """Cuts what is not cut yet: all channels mixed, or one after the other.

        Raises:
            HearSightError: as `open_audio` raises it.
            ClipOutsideError: the recording ends before the stretch that is wanted.
        """
        options = self._options
        last = self.last_part()
        channel = None
        if options.split_channels:
            channel = last.channel if last else 0
        start_ms, index = (last.end_ms, last.index + 1) if last else (options.from_ms, 0)
        cutter = self._cutter(start_ms, index)
        audio = self._cut_channel(path, cutter, channel)
        for following in range((channel or 0) + 1, _channels(audio, options)):
            cutter = self._cutter(options.from_ms, cutter.next_index)
            audio = self._cut_channel(path, cutter, following)
        return self._ending(audio)

    def arriving(self, arrival: Arrival, check: Callable[[], None]) -> Ending:
        """Cuts a file of which nothing is cut yet, from its beginning on, while it is fetched.

        `check` is asked beside the lease, and raises to stop.

        Raises:
            HearSightError: as `rest`.
        """
        shorter = while_arriving(cut_options(self._options, self._settings))
        cutter = Cutter(shorter, start_ms=self._options.from_ms)

        def go_on() -> None:
            check()
            self._lease.check()

        found = self._open(
            arrival.path,
            start_ms=cutter.start_ms,
            to_ms=self._options.to_ms,
            arrival=arrival,
            check=go_on,
        )
        return self._ending(self._cut_sound(found, cutter, None, ARRIVING_BLOCK_S))

    def confirm(self, path: Path, ending: Ending) -> Ending:
        """How a recording ended that was cut as it arrived, by what its whole file says as well."""
        to_ms = self._options.to_ms
        with self._open(path, check=self._lease.check) as audio:
            info = audio.info
        return Ending(
            self._length_ms(ending.duration_ms, info),
            ending.truncated or info.is_short(ending.duration_ms, to_ms),
        )

    def compare(self, path: Path) -> None:
        """Drops the parts that are not of this file, which was fetched anew since they were cut.

        A source may send another recording each time, with other advertisements in it.
        """
        parts = recut.parts_of(self._database, self._lease.job.id)
        for channel, cut in groupby(parts, key=lambda part: part.channel):
            for part, samples in self._again(path, list(cut), channel):
                if self._digest(samples, part.start_ms, part.chunks) != part.audio_digest:
                    self._worker.publish(
                        recut.drop_parts(self._database, self._lease.task, part.index)
                    )
                    return

    def _again(
        self, path: Path, parts: list[Part], channel: int | None
    ) -> Iterator[tuple[Part, NDArray[np.int16]]]:
        """The parts, each with the sound that the file holds in its place."""
        position_ms = self._options.from_ms
        with self._open(
            path,
            # Not jumped to: after a jump, the same sound need not be the same samples.
            start_ms=position_ms,
            to_ms=parts[-1].end_ms,
            channel=channel,
            check=self._lease.check,
        ) as audio:
            window = Window(audio.blocks(BLOCK_S))
            for part in parts:
                window.skip((part.start_ms - position_ms) * SAMPLES_PER_MS)
                samples, _ = window.fill((part.end_ms - part.start_ms) * SAMPLES_PER_MS)
                position_ms = part.start_ms
                yield part, samples

    def _ending(self, audio: Audio) -> Ending:
        return Ending(self._length_ms(audio.duration_ms, audio.info), audio.truncated)

    def _length_ms(self, heard_ms: int, info: MediaInfo) -> int:
        """How long the recording is: as its file says, where a stretch of it was asked for."""
        return heard_ms if self._options.to_ms is None else max(heard_ms, info.duration_ms or 0)

    def _cutter(self, start_ms: int, first_index: int) -> Cutter:
        return Cutter(
            cut_options(self._options, self._settings), start_ms=start_ms, first_index=first_index
        )

    def _cut_channel(self, path: Path, cutter: Cutter, channel: int | None) -> Audio:
        """Adds the parts of one channel; the audio that is returned has been decoded."""
        found = self._open(
            path,
            start_ms=cutter.start_ms,
            from_ms=self._options.from_ms,
            to_ms=self._options.to_ms,
            channel=channel,
            check=self._lease.check,
        )
        return self._cut_sound(found, cutter, channel, BLOCK_S)

    def _cut_sound(
        self,
        found: AbstractContextManager[Audio],
        cutter: Cutter,
        channel: int | None,
        block_s: float,
    ) -> Audio:
        to_ms, from_ms = self._options.to_ms, self._options.from_ms
        with found as audio:
            length_ms = audio.info.duration_ms
            if length_ms is not None:
                self._worker.publish(work.set_duration(self._database, self._lease.task, length_ms))
            for part in cutter.cut(
                audio.blocks(block_s),
                length_ms=length_ms if to_ms is None else to_ms,
                idle=partial(idle_streams, self._database, self._lease.job),
            ):
                self._add(part, channel)
        if 0 < from_ms >= audio.duration_ms:
            raise ClipOutsideError(
                duration_s=round(audio.duration_ms / 1000, 3), from_s=from_ms / 1000
            )
        return audio

    def _add(self, found: cutting.Part, channel: int | None) -> None:
        """Stores a part's audio, then the part and its task, then says so to the ASR workers."""
        lease, worker = self._lease, self._worker
        part = Part(
            job_id=lease.job.id,
            index=found.index,
            start_ms=found.start_ms,
            end_ms=found.end_ms,
            # What the ASR workers will have gone through, silences within included: a completed
            # job has recognised exactly this much.
            speech_ms=sum(end - start for start, end in found.chunks),
            object_key=f"{parts_prefix(lease.job.id)}"
            f"{lease.task.id}-{lease.task.attempt}/{found.index:05}.wav",
            chunks=found.chunks,
            chunks_done=0,
            channel=channel,
            audio_digest=self._digest(found.samples, found.start_ms, found.chunks),
        )
        self._storage.put_bytes(part.object_key, wav(found.samples))
        lease.check_held()
        job = work.add_part(
            self._database,
            lease.task,
            part,
            task_id=str(uuid.uuid4()),
            ahead=found.outsized,
            trace_parent=lease.trace_parent,
        )
        worker.publish(job)
        worker.top_ups.ask([queue_of(TaskKind.TRANSCRIBE, job.pool)], job.priority)
        lease.saw(job)
        lease.check()

    def _digest(
        self, samples: NDArray[np.int16], start_ms: int, chunks: Sequence[tuple[int, int]]
    ) -> str:
        """What is equal for a stretch of equal sound, in equal chunks."""
        inside = [(start - start_ms, end - start_ms) for start, end in chunks]
        return sound.digest(_pcm(samples), inside, self._lease.job.owner)


def _pcm(samples: NDArray[np.int16]) -> bytes:
    return samples.astype("<i2", copy=False).tobytes()


def wav(samples: NDArray[np.int16]) -> bytes:
    """A part's audio as the object that the ASR workers read: WAV, 16 kHz, mono, 16 bit."""
    return sound.wav(_pcm(samples))


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
