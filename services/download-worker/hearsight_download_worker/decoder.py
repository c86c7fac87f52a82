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
from typing import Any, Final, NoReturn

import av
import av.subtitles.codeccontext  # PyAV loads these two when needed, and then it would be too late
import av.subtitles.stream
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from hearsight_download_worker.growing import Growing
from hearsight_download_worker.track import SAMPLE_RATE_HZ, TrackDecoding

_FORMATS: Final = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,loas,matroska,mov,mp3,"
    "mpc,mpc8,mpeg,mpegts,mxf,ogg,rm,tak,truehd,tta,voc,w64,wav,webm,wv"
)
"""FFmpeg's demuxers of containers that hold their own sound. Those that fetch it from elsewhere
(hls, dash, concat, sdp, ...) and those of pictures, text and raw data are left out."""

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
            decoding = TrackDecoding(
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
