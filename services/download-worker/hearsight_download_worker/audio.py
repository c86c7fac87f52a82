"""The sound of a media file, decoded in a child process that a bad file can't escape.

See `decoder.py` for what the child is allowed and how it speaks.
"""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import filetype
import numpy as np
from numpy.typing import NDArray

from hearsight_core.errors import (
    CorruptError,
    HearSightError,
    NoAudioError,
    TooLongError,
    UnsupportedError,
    WorkerLostError,
)
from hearsight_download_worker.child import Heard
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.growing import Arrival

SAMPLE_RATE_HZ: Final = 16_000

_MAX_DETAIL_CHARS: Final = 300

_LEAST_CPU_S: Final = 60
_CPU_SHARE: Final = 20
"""A child may use a minute of CPU, and a second more for each 20 s of the longest recording: the
slowest decoders need a hundredth of a recording's length."""

_MISSING_MS: Final = 2_000
_MISSING_SHARE: Final = 0.02
"""A recording that is shorter than its header says, by more than both, was cut off."""


@dataclass(frozen=True)
class AudioStream:
    """One audio track; `language` as the container says it, such as `eng`."""

    index: int
    codec: str
    language: str | None
    channels: int
    sample_rate: int


@dataclass(frozen=True)
class MediaInfo:
    """What a file's header says; `chosen` is the index of the track that is decoded.

    That is the track marked as default, else the first; one for the blind, a commentary or a
    dubbed one only if there is no other.
    """

    container: str
    duration_ms: int | None
    streams: tuple[AudioStream, ...]
    chosen: int

    def is_short(self, duration_ms: int, to_ms: int | None) -> bool:
        """Whether a recording that turned out to be so long, up to `to_ms`, was cut off."""
        promised_ms = self.duration_ms or 0
        if to_ms is not None:
            promised_ms = min(promised_ms, to_ms)
        missing_ms = promised_ms - duration_ms
        return missing_ms > max(_MISSING_MS, promised_ms * _MISSING_SHARE)

    @property
    def channels(self) -> int:
        """How many channels the track that is decoded has."""
        return next((one.channels for one in self.streams if one.index == self.chosen), 1)


class Audio:
    """A file's sound while it is being decoded.

    Attributes:
        info: What its header says.
        duration_ms: Up to where it has been decoded; after `blocks` ended, the recording's real
            length, or the end of the stretch that was asked for.
        truncated: After `blocks` ended: whether the file broke off before its end.
    """

    def __init__(
        self,
        child: "_Child",
        info: MediaInfo,
        *,
        max_duration_s: float,
        start_ms: int,
        to_ms: int | None,
    ) -> None:
        self._child = child
        self._max_duration_s = max_duration_s
        self._to_ms = to_ms
        self.info = info
        self.duration_ms = start_ms
        self.truncated = False

    def blocks(self, seconds: float) -> Iterator[NDArray[np.int16]]:
        """The sound, mono int16 at 16 kHz, in blocks of `seconds`; the last may be shorter.

        Raises:
            TooLongError: the recording is longer than it may be, whatever its header says.
            CorruptError: nothing could be decoded, or the decoder failed.
            WorkerLostError: the decoder was killed from outside.
        """
        size = max(1, round(seconds * SAMPLE_RATE_HZ)) * 2
        received = 0
        first_ms = self.duration_ms
        while block := self._child.read(size):
            received += len(block) // 2
            self.duration_ms = first_ms + received * 1000 // SAMPLE_RATE_HZ
            if self.duration_ms > self._max_duration_s * 1000:
                raise TooLongError(limit_s=self._max_duration_s)
            yield np.frombuffer(block[: len(block) // 2 * 2], dtype="<i2")
        end = self._child.end()
        if not end["samples"]:
            raise CorruptError(detail="no sound could be decoded")
        self.duration_ms = end["samples"] * 1000 // SAMPLE_RATE_HZ
        self.truncated = end["cut_off"] or self.info.is_short(self.duration_ms, self._to_ms)


@contextmanager
def open_audio(
    path: Path,
    *,
    memory_mib: int,
    max_duration_s: float,
    start_ms: int = 0,
    from_ms: int = 0,
    to_ms: int | None = None,
    channel: int | None = None,
    arrival: Arrival | None = None,
    check: Callable[[], None] = lambda: None,
    decoders: Decoders | None = None,
) -> Iterator[Audio]:
    """Decodes the sound of the file at `path`, in a child that ends with the context.

    Args:
        path: A local file; nothing else is opened, whatever the file refers to.
        memory_mib: Address space the child may use, MiB.
        max_duration_s: Longest recording, seconds.
        start_ms: Leaves out the sound before this; the rest is the same, sample by sample, as
            without it.
        from_ms: Where the stretch that is wanted begins, at or before `start_ms`. What is further
            before it need not be decoded.
        to_ms: Where it ends; None: with the recording.
        channel: The one channel to decode, from 0; None: all of them, mixed.
        arrival: Where the file is still being fetched: who tells that it is whole. Then its sound
            comes as the file does, and what is before `from_ms` is decoded too.
        check: Called before every read and each half second; it raises to stop.
        decoders: Where the child comes from, if one may be waiting there.

    Raises:
        NoAudioError: the file has no audio track.
        UnsupportedError: the file is no media, or of a kind that is not decoded here; or, while it
            is being fetched, it may be of a kind that can be decoded when it is whole.
        CorruptError: the file is media, but damaged beyond use; or it ended its decoder.
        WorkerLostError: the decoder was killed from outside.
        TooLongError: the header says that it is longer than `max_duration_s`.
    """
    order = {
        "memory_mib": memory_mib,
        "cpu_s": _LEAST_CPU_S + int(max_duration_s / _CPU_SHARE),
        "start_ms": start_ms,
        "from_ms": from_ms if arrival is None else 0,
        "to_ms": to_ms,
        "channel": channel,
    }
    news = () if arrival is None else (arrival.reader,)
    with (
        path.open("rb") as media,
        (decoders or Decoders()).decoding((media.fileno(), *news), order) as process,
    ):
        child = _Child(process, check)
        header = child.header()
        if "error" in header:
            if arrival is not None:
                raise UnsupportedError(detail=header["detail"])
            raise _refusal(path, header)
        info = _media_info(header["info"])
        if (info.duration_ms or 0) > max_duration_s * 1000:
            raise TooLongError(limit_s=max_duration_s)
        yield Audio(child, info, max_duration_s=max_duration_s, start_ms=start_ms, to_ms=to_ms)


class _Child:
    """What the decoder says."""

    def __init__(self, process: subprocess.Popen[bytes], check: Callable[[], None]) -> None:
        assert process.stderr is not None  # noqa: S101  it was asked for
        self._process = process
        self._err: IO[bytes] = process.stderr
        self._heard = Heard(process, check)

    def header(self) -> dict[str, Any]:
        """The first line."""
        line = self._heard.line()
        if line is None:
            raise self._failure()
        header: dict[str, Any] = json.loads(line)
        return header

    def read(self, size: int) -> bytes:
        """The next `size` bytes of sound; fewer at its end."""
        return self._heard.read(size)

    def end(self) -> dict[str, Any]:
        """How it ended.

        Raises:
            CorruptError: not well.
            WorkerLostError: it was killed from outside.
        """
        words = self._last_words()
        if self._process.returncode != 0:
            raise self._failure(words)
        said: dict[str, Any] = json.loads(words)
        return said

    def _last_words(self) -> str:
        lines = self._err.read().decode(errors="replace").strip().splitlines() or [""]
        self._process.wait()
        return lines[-1]

    def _failure(self, words: str | None = None) -> HearSightError:
        words = self._last_words() if words is None else words
        code = self._process.returncode
        if code == -signal.SIGKILL:
            # No file does this to its decoder; the kernel does when memory is short, or a person.
            return WorkerLostError(detail="its decoder was killed")
        if code < 0:
            words = f"it ended its decoder with {signal.Signals(-code).name}"
        return CorruptError(detail=words[:_MAX_DETAIL_CHARS])


def _refusal(path: Path, header: dict[str, Any]) -> HearSightError:
    if header["error"] == "no_audio":
        return NoAudioError()
    if path.stat().st_size == 0:
        return CorruptError(detail="the file is empty")
    kind = filetype.guess(path)
    if kind is not None and kind.mime.startswith(("audio/", "video/")):
        return CorruptError(detail=header["detail"])
    return UnsupportedError(detail=header["detail"])


def _media_info(info: dict[str, Any]) -> MediaInfo:
    streams = tuple(AudioStream(**stream) for stream in info["streams"])
    return MediaInfo(info["container"], info["duration_ms"], streams, info["chosen"])
