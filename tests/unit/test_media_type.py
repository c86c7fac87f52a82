"""Media is known by its content, whatever a real encoder wrote, and nothing else is."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from hearsight_api.media_type import HEAD_BYTES, sniff
from tests import speech

TELEPHONE = ("-ar", "8000", "-ac", "1")

ENCODED: dict[str, tuple[str, tuple[str, ...]]] = {
    "speech.wav": ("audio/x-wav", ()),
    "over-4-gib.wav": ("audio/x-wav", ("-rf64", "always")),
    "speech.mp3": ("audio/mpeg", ()),
    "without-tag.mp3": ("audio/mpeg", ("-id3v2_version", "0", "-write_xing", "0")),
    "mpeg-2.mp3": ("audio/mpeg", ("-ar", "22050", "-id3v2_version", "0")),
    "mpeg-2.5.mp3": ("audio/mpeg", (*TELEPHONE, "-id3v2_version", "0")),
    "cover-art-sized-tag.mp3": ("audio/mpeg", ("-metadata", f"title={'x' * HEAD_BYTES}")),
    "speech.mp2": ("audio/mpeg", ()),
    "speech.m4a": ("audio/mp4", ()),
    "book.m4b": ("audio/mp4", ("-f", "ipod")),
    "speech.mp4": ("video/mp4", ()),
    "fragments.mp4": ("video/mp4", ("-movflags", "frag_keyframe+empty_moov")),
    "speech.mov": ("video/quicktime", ()),
    "phone.3gp": ("video/mp4", (*TELEPHONE, "-c:a", "aac")),
    "speech.mkv": ("video/x-matroska", ()),
    "speech.webm": ("video/webm", ("-c:a", "libopus")),
    "speech.ogg": ("audio/ogg", ("-c:a", "libvorbis")),
    "speech.opus": ("audio/ogg", ()),
    "speech.flac": ("audio/x-flac", ()),
    "speech.aac": ("audio/aac", ()),
    "speech.ac3": ("audio/ac3", ()),
    "speech.aiff": ("audio/x-aiff", ()),
    "speech.caf": ("audio/x-caf", ()),
    "speech.au": ("audio/basic", ()),
    "speech.w64": ("audio/x-w64", ()),
    "speech.wma": ("video/x-ms-wmv", ()),
    "speech.avi": ("video/x-msvideo", ("-c:a", "mp3")),
    "speech.flv": ("video/x-flv", ("-ar", "44100", "-c:a", "mp3")),
    "speech.ts": ("video/mp2t", ()),
    "camcorder.mts": ("video/mp2t", ("-f", "mpegts", "-mpegts_m2ts_mode", "1")),
    "speech.mpg": ("video/mpeg", ()),
    "speech.wv": ("audio/x-wavpack", ()),
    "speech.tta": ("audio/x-tta", ()),
    "speech.dts": ("audio/vnd.dts", ("-strict", "-2")),
}
"""File -> (its media type, how ffmpeg is told to write it)."""


@pytest.mark.parametrize("name", ENCODED)
def test_what_an_encoder_writes_is_taken(name: str, tmp_path: Path) -> None:
    media_type, options = ENCODED[name]
    source = speech.write_wav(tmp_path / "source.wav", speech.samples()[0].audio[:16_000])
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), *options]
    subprocess.run([*command, str(tmp_path / name)], check=True)
    assert sniff((tmp_path / name).read_bytes()[:HEAD_BYTES]) == media_type


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\0\0\0\x20ftypM4V \0\0\0\1M4V M4A mp42isom", "video/mp4"),
        (b"\0\0\0\x14ftypXAVC\0\0\0\0XAVC", "video/mp4"),
        (b"\0\0\0\x14ftypM4B \0\0\0\0M4B ", "audio/mp4"),
        (b"\0\0\0\x08wide\0\x12\x34\x56mdat", "video/quicktime"),
        (b"\x01\x23\x45\x67mdat\0\0", "video/quicktime"),
        (b"\0\0\x6d\xf2moov\0\0\0\x6cmvhd", "video/quicktime"),
    ],
)
def test_brands_and_atoms_of_other_encoders_are_taken(head: bytes, media_type: str) -> None:
    assert sniff(head + bytes(200)) == media_type


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b"#!/bin/sh\nrm -rf /\n",
        b"MZ\x90\0\3\0\0\0",
        b"\x7fELF\2\1\1\0",
        b"%PDF-1.7\n",
        b"PK\3\4\x14\0\0\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"\0\0\0\x18ftypheic\0\0\0\0heic",
        b"\0\0\0\x1cftypavif\0\0\0\0avif",
        b"RIFF\x24\0\0\0WEBPVP8 ",
        b'{"url": "https://example.org/talk.mp4"}',
        b"GGGG is how this text begins",
        b"The free lunch",
        "The speech, as text".encode("utf-16"),
        b"\xff\xff\xff\xff" * 50,
        bytes(HEAD_BYTES),
    ],
)
def test_what_is_no_media_is_refused(head: bytes) -> None:
    assert sniff(head) is None
    assert sniff(head + bytes(HEAD_BYTES)) is None
