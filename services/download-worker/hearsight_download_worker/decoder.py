"""Decodes one media file, in a process of its own: `python -m hearsight_download_worker.decoder`.

The file may come from anyone, and decoders have bugs. So this process has what it needs and nothing
else: the file becomes its standard input; it can open no other file or connection, start no
process, and write to no file; its memory and CPU time are limited. A playlist or a container that
refers to other places is refused. Whatever happens in here ends this process and harms no other.

It waits for the file on the socket that is its standard input at first. The file comes together
with its order, a JSON object: `memory_mib`, `cpu_s`, the stretch that is wanted (`from_ms`, and
`to_ms` or null), `start_ms` in it, up to which sound is left out, and the number of a `channel` or
null. A second descriptor comes with a file that is still being fetched, see `growing.py`; one that
can't be understood before it is whole is refused.

Standard output is one line of JSON, the header, then the sound: mono int16 little-endian, 16 kHz,
of all channels mixed or of one alone.
The header is `{"info": ...}` (see `MediaInfo` in `audio.py`) or `{"error": kind, "detail": text}`
with the kind `unsupported` or `no_audio`, and then nothing follows. Standard error ends
with one line of JSON, `{"samples": all decoded, "cut_off": whether the file broke off}`, without
which the decoder has failed.

This module imports no more than it must: its start can be part of a job's waiting time.
"""

import io
import json
import os
import resource
import signal
import socket
import sys
from typing import IO, Any, Final, NoReturn

import av
import av.subtitles.codeccontext  # PyAV loads these two when needed, and then it would be too late
import av.subtitles.stream
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from hearsight_download_worker.growing import Growing

SAMPLE_RATE_HZ: Final = 16_000

_FORMATS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,loas,matroska,mov,mp3,"
    "mpc,mpc8,mpeg,mpegts,mxf,ogg,rm,tak,truehd,tta,voc,w64,wav,webm,wv"
)
"""FFmpeg's demuxers of containers that hold their own sound. Those that fetch it from elsewhere
(hls, dash, concat, sdp, ...) and those of pictures, text and raw data are left out."""

_GAP_S: Final = 0.5
_LONGEST_GAP_S: Final = 300.0
"""A gap in the timestamps between these is filled with silence, so that times stay those of the
recording; a shorter one may be rounding, a longer one a clock that was set anew."""

_INDEXED: Final = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "wav", "w64", "aiff", "caf"}
"""Formats whose timestamps are right after a jump into the middle; FFmpeg guesses those of others,
such as MP3."""
_FAR_S: Final = 60.0
"""To what lies no further than this, everything before is decoded."""
_RUN_UP_S: Final = 2.0
"""A jump goes so far before the place that is wanted: decoders need some sound to get going."""

_GUESSED_LENGTH: Final = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "loas", "truehd"}
"""Formats without a length: FFmpeg guesses one from the first bit rate it sees, a third off."""

_PROGRESSIVE: Final = {
    *("aac", "ac3", "eac3", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpegts"),
    *("ogg", "wav"),
}
"""Formats that can be decoded, with right times, by reading on from the beginning."""

_SECOND_TRACK: Final = (
    Disposition.visual_impaired | Disposition.comment | Disposition.descriptions | Disposition.dub
)
_NEWS: Final = 3
"""The descriptor of a pipe that tells when the file is whole, if it was not from the start."""
_READ_BYTES: Final = 1024 * 1024
_SECOND_BYTES: Final = 2 * SAMPLE_RATE_HZ
"""How much sound is written at once where it comes as slowly as it is fetched."""
_MAX_ORDER_BYTES: Final = 4096


class _RefusedError(Exception):
    """The file can't be decoded, for a reason the header has a name for."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(kind)


def main() -> int:
    """Waits for a file and decodes it; returns the exit code."""
    # Ctrl-C goes to everybody at the terminal; when this one has to end, the worker says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = _order()
    if order is None:
        return 0
    _confine(order["memory_mib"], order["cpu_s"], _NEWS if order["grows"] else 2)
    with open(1, "wb", buffering=_SECOND_BYTES if order["grows"] else _READ_BYTES) as out:
        try:
            container = _open_growing() if order["grows"] else _open(io.FileIO(0))
            stream = _choose(container)
            out.write(json.dumps({"info": _info(container, stream)}).encode() + b"\n")
            out.flush()
            decoding = _Decoding(
                container,
                stream,
                out,
                skip_ms=order["start_ms"],
                to_ms=order["to_ms"],
                channel=order["channel"],
            )
            decoding.run(order["from_ms"] / 1000)
        except _RefusedError as error:
            refusal = {"error": error.kind, "detail": error.detail}
            out.write(json.dumps(refusal).encode() + b"\n")
            return 0
    sys.stderr.write(json.dumps({"samples": decoding.samples, "cut_off": decoding.cut_off}) + "\n")
    return 0


def _order() -> dict[str, Any] | None:
    """What to do with the file that is the standard input from here on; None: nothing comes."""
    with socket.socket(fileno=0) as orders:
        told, files, _, _ = socket.recv_fds(orders, _MAX_ORDER_BYTES, 2)
    if not told:
        return None
    # The socket was 0 and is closed: there may be no other descriptors than these, in this order.
    for received, place in zip(files, (0, _NEWS), strict=False):
        if received != place:
            os.dup2(received, place)
            os.close(received)
    order: dict[str, Any] = json.loads(told)
    return {**order, "grows": len(files) > 1}


def _confine(memory_mib: int, cpu_s: int, last_descriptor: int) -> None:
    """Takes away everything but the descriptors that are open, some memory and time."""
    memory = memory_mib * 1024 * 1024
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: last_descriptor + 1,
        resource.RLIMIT_NPROC: 0,
    }
    if sys.platform != "darwin":  # which refuses to limit address space
        limits[resource.RLIMIT_AS] = memory
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    # At the soft limit comes SIGXCPU, at the hard one SIGKILL, which would look like a kill from
    # outside.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))


def _refuse_to_open(url: str, _flags: int, _options: object) -> NoReturn:
    raise PermissionError(f"the file refers to {url}")


def _open_growing() -> InputContainer:
    """The container of a file that is still being fetched."""
    file = Growing(0, _NEWS)
    if not file.has_its_index_first():
        raise _RefusedError("unsupported", "its index comes last")
    container = _open(file)
    if container.format.name not in _PROGRESSIVE:
        raise _RefusedError(
            "unsupported", f"{container.format.name} may have to be jumped about in"
        )
    return container


def _open(file: io.FileIO | Growing) -> InputContainer:
    try:
        return av.open(
            file,
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
            buffer_size=_READ_BYTES,
            io_open=_refuse_to_open,
            metadata_errors="replace",
            mode="r",
        )
    except MemoryError:
        raise
    except (av.error.FFmpegError, PermissionError) as error:
        # FFmpeg says no more than this, be it no media at all or damaged: the parent looks.
        raise _RefusedError("unsupported", error.strerror or str(error)) from error


def _choose(container: InputContainer) -> AudioStream:
    """The track to decode: the default one, else the first; no commentary if there is another."""
    tracks = container.streams.audio
    if not tracks:
        raise _RefusedError("no_audio")
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        raise _RefusedError("unsupported", "no decoder for its sound")

    def order(track: AudioStream) -> tuple[bool, bool, int]:
        is_default = bool(track.disposition & Disposition.default)
        return bool(track.disposition & _SECOND_TRACK), not is_default, track.index

    return min(known, key=order)


def _info(container: InputContainer, chosen: AudioStream) -> dict[str, Any]:
    duration_ms: int | None = None
    if container.format.name in _GUESSED_LENGTH:
        pass
    elif chosen.duration is not None and chosen.time_base is not None:
        duration_ms = round(chosen.duration * chosen.time_base * 1000)
    elif container.duration is not None:
        duration_ms = container.duration // 1000
    return {
        "container": container.format.name,
        "duration_ms": duration_ms,
        "chosen": chosen.index,
        "streams": [
            {
                "index": track.index,
                "codec": track.codec_context.name,
                "language": None if track.language == "und" else track.language,
                "channels": track.codec_context.channels,
                "sample_rate": track.codec_context.sample_rate,
            }
            for track in container.streams.audio
            if track.codec_context is not None
        ],
    }


class _Decoding:
    """Writes a track's sound from `skip_ms` to `to_ms`: mixed, or one channel of it."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        out: IO[bytes],
        *,
        skip_ms: int,
        to_ms: int | None,
        channel: int | None,
    ) -> None:
        self._container = container
        self._stream = stream
        self._out = out
        self._skip = skip_ms * SAMPLE_RATE_HZ // 1000
        self._end = None if to_ms is None else to_ms * SAMPLE_RATE_HZ // 1000
        self._channel = channel
        self._jumped = False
        """Whether the place in the recording is not known: a jump, and no frame since."""
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None
        self._begin_s = (container.start_time or 0) / av.time_base
        self._clock_s = self._begin_s
        self.samples = 0
        """Samples up to where it has come, those left out included."""
        self.cut_off = False
        """Whether the file ended in the middle of something."""

    def run(self, from_s: float) -> None:
        """Decodes to the end, or as far as it goes; damaged pieces are left out.

        What lies before `from_s` may be jumped over.
        """
        # More threads would not make one track faster, and none can be started here.
        self._stream.codec_context.thread_count = 1
        self._jump(from_s)
        self._to_the_end()
        if self._jumped:
            # There was nothing: the recording ends before, and its length is to be told.
            self._jumped = False
            self._container.seek(round(self._begin_s * av.time_base), backward=True)
            self._to_the_end()

    def _to_the_end(self) -> None:
        packets = self._container.demux(self._stream)
        while self._end is None or self.samples < self._end:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.cut_off = True
                break
            if packet is None:
                break
            self._decode(packet)
        self._flush()

    def _jump(self, from_s: float) -> None:
        if from_s < _FAR_S or self._container.format.name not in _INDEXED:
            return
        try:
            place_s = self._begin_s + from_s - _RUN_UP_S
            self._container.seek(round(place_s * av.time_base), backward=True)
        except (av.error.FFmpegError, PermissionError):
            # A file without an index. Nothing has moved: it is decoded from its start.
            return
        self._jumped = True

    def _land(self, frame: av.AudioFrame) -> None:
        """Notes where in the recording the first frame after a jump lies."""
        self._jumped = False
        if frame.time is None:
            raise ValueError("its sound has no times")
        place = max(0, round((frame.time - self._begin_s) * SAMPLE_RATE_HZ))
        self._clock_s = frame.time
        self.samples = min(place, self._skip)
        # Nothing before the frame: that is silence, as any gap is.
        self._write(bytes(2 * min(place - self.samples, round(_LONGEST_GAP_S * SAMPLE_RATE_HZ))))

    def _decode(self, packet: "av.Packet[AudioStream]") -> None:
        try:
            frames = packet.decode()
        except av.error.MemoryError as error:
            raise MemoryError from error
        except av.error.FFmpegError:
            self.cut_off = True
            return
        for frame in frames:
            self.cut_off = False
            if self._jumped:
                self._land(frame)
            self._fill_gap(frame)
            self._resample(frame)

    def _fill_gap(self, frame: av.AudioFrame) -> None:
        if frame.time is not None:
            gap_s = frame.time - self._clock_s
            if _GAP_S < gap_s <= _LONGEST_GAP_S:
                self._write(bytes(2 * round(gap_s * SAMPLE_RATE_HZ)))
            if abs(gap_s) > _GAP_S:
                self._clock_s = frame.time
        self._clock_s += frame.samples / frame.sample_rate

    def _resample(self, frame: av.AudioFrame) -> None:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._flush()
            self._shape = shape
            layout = "mono" if self._channel is None else None
            self._resampler = av.AudioResampler("s16", layout, SAMPLE_RATE_HZ)
        frame.pts = None  # only the samples count from here on
        assert self._resampler is not None  # noqa: S101  made with the first frame
        for resampled in self._resampler.resample(frame):
            self._write(self._sound(resampled))

    def _flush(self) -> None:
        if self._resampler is None:
            return
        for resampled in self._resampler.resample(None):
            self._write(self._sound(resampled))
        self._resampler = None

    def _sound(self, frame: av.AudioFrame) -> bytes | memoryview:
        """The samples of the channel that is wanted; they come in turns."""
        channels = frame.layout.nb_channels
        sound = memoryview(frame.planes[0])[: 2 * frame.samples * channels]
        if channels == 1:
            return sound
        # A track may change its layout: where it has fewer channels, the last stands for the rest.
        place = min(self._channel or 0, channels - 1)
        return sound.cast("B").cast("h")[place::channels].tobytes()

    def _write(self, sound: bytes | memoryview) -> None:
        count = len(sound) // 2
        if self._end is not None:
            count = min(count, max(0, self._end - self.samples))
        left_out = min(count, max(0, self._skip - self.samples))
        self.samples += count
        self._out.write(sound[2 * left_out : 2 * count])


if __name__ == "__main__":
    try:
        code = main()
    except BrokenPipeError:
        code = 1  # nobody listens any more
    except MemoryError:
        sys.stderr.write("it needs more memory than a decoder may use\n")
        code = 1
    sys.stderr.flush()
    os._exit(code)  # at once: there is nothing to tidy, and libraries may crash on the way out
