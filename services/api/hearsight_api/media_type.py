"""What an upload is, told by its first bytes and never by its name."""

import filetype

HEAD_BYTES = 8192
"""How many first bytes decide; `filetype` looks at no more."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"caff", "audio/x-caf"),
    (b".snd", "audio/basic"),
    (b"\x0b\x77", "audio/ac3"),
    (b"riff\x2e\x91\xcf\x11", "audio/x-w64"),
    (b"RF64", "audio/x-wav"),
    (b"BW64", "audio/x-wav"),
    (b"wvpk", "audio/x-wavpack"),
    (b"TTA1", "audio/x-tta"),
    (b"MAC ", "audio/x-ape"),
    (b"\x7f\xfe\x80\x01", "audio/vnd.dts"),
)
"""Formats that `filetype` does not know: Apple CAF, Sun AU, AC-3 (ATSC A/52), Sony Wave64, WAV over
4 GiB (EBU Tech 3306, ITU-R BS.2088), WavPack, True Audio, Monkey's Audio, DTS (ETSI TS 102 114)."""

_MP4_AUDIO = frozenset({b"M4A ", b"M4B ", b"M4P "})
_NO_MP4 = frozenset(
    {b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 ", b"jpx ", b"jpm "}
)
"""Brands of ISO/IEC 14496-12 files that hold pictures: HEIF, AVIF, Canon's raw, JPEG 2000."""
_QUICKTIME_ATOMS = frozenset({b"moov", b"wide", b"free", b"skip", b"pnot"})

_TS_SYNC = 0x47
_TS_LAYOUTS = ((188, 0), (192, 4))
"""MPEG transport streams (ISO/IEC 13818-1): packet length and where in it the sync byte stands; the
second is what camcorders and Blu-rays write."""


def sniff(head: bytes) -> str | None:
    """The media type of audio or video that begins with `head`; None: it is neither."""
    kind = filetype.guess(head)
    if kind is not None and kind.mime.partition("/")[0] in {"audio", "video"}:
        return str(kind.mime)
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if _is_transport_stream(head):
        return "video/mp2t"
    if _is_mpeg_audio(head):
        return "audio/mpeg"
    return _mp4_or_quicktime(head)


def _is_transport_stream(head: bytes) -> bool:
    return any(
        len(head) > first + 2 * packet
        and all(head[first + n * packet] == _TS_SYNC for n in range(3))
        for packet, first in _TS_LAYOUTS
    )


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether a frame of layer II or III stands here, of any version (ISO/IEC 11172-3, 13818-3).

    `filetype` knows some frames of layer III alone. Layer I is left out: it is gone, and its first
    bytes are the byte order mark of UTF-16.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] >> 5 != 0b111:  # noqa: PLR2004  a frame's header
        return False
    version, layer = head[1] >> 3 & 0b11, head[1] >> 1 & 0b11
    bitrate, sample_rate = head[2] >> 4, head[2] >> 2 & 0b11
    return version != 1 and layer in {1, 2} and 0 < bitrate < 15 and sample_rate != 0b11  # noqa: PLR2004  reserved values


def _mp4_or_quicktime(head: bytes) -> str | None:
    """Brands of MP4 that `filetype` does not know, and QuickTime from before there were brands."""
    kind, brand = head[4:8], head[8:12]
    if kind == b"ftyp" and brand not in _NO_MP4:
        return "audio/mp4" if brand in _MP4_AUDIO else "video/mp4"
    # Small sizes only: `The free lunch` is no film.
    if kind == b"mdat" or (kind in _QUICKTIME_ATOMS and head[0] == 0):
        return "video/quicktime"
    return None
