"""Files made to cost much more than they weigh cost a decoder at most, and say so with a code."""

import gzip
import lzma
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from hearsight_core.errors import (
    CorruptError,
    HearSightError,
    MediaError,
    TooLongError,
    UnsupportedError,
)
from hearsight_download_worker.audio import open_audio
from hearsight_download_worker.cutting import CutOptions, Cutter
from tests.servers.media import ffmpeg, media_folder

MEMORY_MIB: Final = 512
HOUR_S: Final = 3600


def made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def wav(path: Path, *, rate: int, channels: int = 1, bits: int = 16, seconds: float = 0.1) -> Path:
    """A WAV file whose header says whatever it is told to."""
    align = max(1, channels * bits // 8)
    sound = bytes(int(min(rate * align * seconds, 2_000_000)))
    form = struct.pack(
        "<HHIIHH", 1, channels & 0xFFFF, rate, (rate * align) & 0xFFFFFFFF, align & 0xFFFF, bits
    )
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(sound)) + sound
    return made(path, b"RIFF" + struct.pack("<I", len(body)) + body)


def outcome(path: Path, *, max_duration_s: float = HOUR_S) -> int | HearSightError:
    """How many milliseconds are decoded, or the error."""
    try:
        with open_audio(path, memory_mib=MEMORY_MIB, max_duration_s=max_duration_s) as audio:
            for _ in audio.blocks(30):
                pass
    except HearSightError as error:
        return error
    return audio.duration_ms


def peak_mib(work: Callable[[], object]) -> float:
    """By how much this process has grown when the work is done, MiB."""
    before = psutil.Process().memory_info().rss
    work()
    return (psutil.Process().memory_info().rss - before) / 2**20


def test_an_hour_of_silence_in_a_few_bytes_costs_no_memory_and_makes_no_part(
    tmp_path: Path,
) -> None:
    path = tmp_path / "silence.flac"
    silent = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", str(HOUR_S))
    ffmpeg(*silent, "-frame_size", "65535", "-map_metadata", "-1", path)
    assert path.stat().st_size < 20_000
    parts = 0

    def cut() -> None:
        nonlocal parts
        cutter = Cutter(CutOptions(part_target_s=150, vad_threshold=0.5), start_ms=0, first_index=0)
        with open_audio(path, memory_mib=MEMORY_MIB, max_duration_s=2 * HOUR_S) as audio:
            parts = len(list(cutter.cut(audio.blocks(30))))
        assert abs(cutter.duration_ms - HOUR_S * 1000) < 1000

    assert peak_mib(cut) < 400  # an hour of samples as floats would be 230 more
    assert parts == 0


def test_a_recording_longer_than_its_header_says_is_cut_off_by_its_length(tmp_path: Path) -> None:
    path = tmp_path / "long.aac"
    ffmpeg(*("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "600", "-b:a", "8k", path))
    assert isinstance(outcome(path, max_duration_s=60), TooLongError)


@pytest.mark.parametrize("rate", [0, 1, 2, 7, 8_001, 768_000, 2**31 - 1, 2**32 - 1])
def test_an_absurd_sample_rate_is_decoded_or_refused(tmp_path: Path, rate: int) -> None:
    found = outcome(wav(tmp_path / "rate.wav", rate=rate))
    assert isinstance(found, int | MediaError), found


@pytest.mark.parametrize("channels", [0, 255, 4096, 65_535])
@pytest.mark.parametrize("bits", [0, 8, 64, 65_535])
def test_absurd_channels_and_samples_are_refused(tmp_path: Path, channels: int, bits: int) -> None:
    found = outcome(wav(tmp_path / "shape.wav", rate=8000, channels=channels, bits=bits))
    assert isinstance(found, int | MediaError), found


def matroska(path: Path, tracks: int) -> Path:
    """A Matroska file that announces `tracks` tracks of sound and holds none."""

    def element(number: str, content: bytes) -> bytes:
        return bytes.fromhex(number) + (0x0100_0000_0000_0000 | len(content)).to_bytes(8) + content

    head = element("1A45DFA3", element("4282", b"matroska"))
    entries = b"".join(
        element(
            "AE",
            element("D7", track.to_bytes(2))
            + element("73C5", track.to_bytes(2))
            + element("83", b"\x02")
            + element("86", b"A_PCM/INT/LIT")
            + element("E1", element("B5", struct.pack(">f", 8000)) + element("9F", b"\x01")),
        )
        for track in range(1, tracks + 1)
    )
    info = element("1549A966", element("2AD7B1", (1_000_000).to_bytes(3)))
    return made(path, head + element("18538067", info + element("1654AE6B", entries)))


def test_thousands_of_streams_cost_one_child_at_most(tmp_path: Path) -> None:
    found = outcome(matroska(tmp_path / "streams.mkv", 4000))
    assert isinstance(found, MediaError), found


@pytest.mark.parametrize("wrap", ["gzip", "zip", "xz"])
def test_nothing_is_unpacked(tmp_path: Path, wrap: str) -> None:
    """A packed recording is no recording: there is no unpacking that could go on without end."""
    source, packed = media_folder() / "speech.wav", tmp_path / "packed"
    if wrap == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(source, "speech.wav")
    else:
        pack = gzip.compress if wrap == "gzip" else lzma.compress
        packed.write_bytes(pack(source.read_bytes()))
    found = outcome(packed)
    assert isinstance(found, UnsupportedError | CorruptError), found


def test_a_compressed_head_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    """QuickTime may hold its index packed by zlib, with a length of the sender's choice."""
    packed = zlib.compress(bytes(64 * 1024 * 1024), 9)

    def atom(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    head = atom(b"cmov", atom(b"dcom", b"zlib") + atom(b"cmvd", b"\x7f\xff\xff\xff" + packed))
    content = atom(b"ftyp", b"qt  \0\0\0\0qt  ") + atom(b"moov", head)
    assert isinstance(outcome(made(tmp_path / "packed.mov", content)), MediaError)


def test_a_reference_to_another_file_is_not_followed(tmp_path: Path) -> None:
    """QuickTime may name another file as the place of its sound."""
    secret = tmp_path / "secret.mov"
    ffmpeg("-i", media_folder() / "speech.wav", "-c:a", "pcm_s16le", secret)
    own = bytearray(secret.read_bytes())
    place = own.find(b"url \0\0\0\x01")
    assert place > 0, "the sound's place is written as `in this file`"
    own[place + 7] = 0
    pointing = bytes(own[: own.find(b"mdat")]) + b"free" + bytes(len(own) - own.find(b"mdat") - 4)
    found = outcome(made(tmp_path / "pointing.mov", pointing + bytes(own[place:])))
    # What is decoded, if anything, are the zeros in this file.
    assert isinstance(found, int | MediaError)


@pytest.mark.parametrize("seed", range(4))
def test_damage_at_any_place_ends_a_child_at_most(tmp_path: Path, seed: int) -> None:
    """A seeded fuzzer over real files: whatever it makes of them is decoded or refused."""
    chance = random.Random(seed)  # noqa: S311  no secret depends on it
    for name in ("speech.mp3", "speech.m4a", "two-tracks.mp4"):
        content = bytearray((media_folder() / name).read_bytes())
        for _ in range(chance.randrange(1, 200)):
            # Heads are where lengths and counts stand.
            end = chance.choice([200, 4000, len(content)])
            content[chance.randrange(end)] = chance.randrange(256)
        found = outcome(made(tmp_path / name, bytes(content)))
        assert isinstance(found, int | MediaError), (name, found)


def test_a_child_that_uses_its_time_up_ends_and_nobody_else() -> None:
    spin = """
import resource
from hearsight_download_worker import decoder
decoder._confine(512, 1, 2)
while True:
    pass
"""
    ended = subprocess.run([sys.executable, "-c", spin], check=False, timeout=120)
    assert ended.returncode == -24, "SIGXCPU"
