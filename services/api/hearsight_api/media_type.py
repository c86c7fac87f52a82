"""What an upload is, told by its first bytes and never by its name."""

import filetype

HEAD_BYTES = 8192
"""How many first bytes decide; `filetype` looks at no more."""

_TS_PACKET, _TS_SYNC = 188, 0x47
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"caff", "audio/x-caf"),
    (b".snd", "audio/basic"),
    (b"\x0b\x77", "audio/ac3"),
    (b"riff\x2e\x91\xcf\x11", "audio/x-w64"),
)
"""Formats that `filetype` does not know: Apple CAF, Sun AU, AC-3 (ATSC A/52), Sony Wave64."""


def sniff(head: bytes) -> str | None:
    """The media type of audio or video that begins with `head`; None: it is neither."""
    kind = filetype.guess(head)
    if kind is not None and kind.mime.partition("/")[0] in {"audio", "video"}:
        return str(kind.mime)
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    # MPEG transport stream: a sync byte at every 188th byte (ISO/IEC 13818-1).
    if len(head) > 2 * _TS_PACKET and all(
        head[at] == _TS_SYNC for at in (0, _TS_PACKET, 2 * _TS_PACKET)
    ):
        return "video/mp2t"
    return None
