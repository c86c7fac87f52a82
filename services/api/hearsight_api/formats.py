"""A transcript as text: srt, vtt, txt, tsv. Pure: segments in, text out.

Recognised text is data, not markup: whatever could be taken for a cue, a tag or a column is made
harmless here.
"""

import unicodedata
from collections.abc import Callable, Iterable
from html import escape

from hearsight_core.contract import Segment

MS_PER_HOUR = 3_600_000

_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's explicit direction marks: they can make a line read as something it is not."""

_BYTE_ORDER_MARK = "\ufeff"
"""At the start of a file it is taken for its encoding, elsewhere it is nothing that can be seen."""

_NO_TAGS = str.maketrans("<>{}", "\u2039\u203a\uff5b\uff5d")
"""Players read tags in SubRip, which knows no escape: angle brackets become angle quotes, and the
braces around other players' tags full-width ones."""

_NO_FORMULA = {"=": "\uff1d", "+": "\uff0b", "-": "\u2013", "@": "\uff20"}
"""Spreadsheets run a cell that begins so; it begins with a character that looks alike."""


def clock(ms: int, decimal: str) -> str:
    """Milliseconds as `HH:MM:SS` with three decimals behind `decimal`; hours grow beyond 99."""
    hours, rest = divmod(ms, MS_PER_HOUR)
    minutes, rest = divmod(rest, 60_000)
    seconds, millis = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal}{millis:03}"


def plain(text: str) -> str:
    """The text on one line, without what nobody sees and readers obey.

    That is control characters, direction overrides, byte order marks.
    """
    spaced = (" " if c.isspace() else c for c in text)
    kept = (
        c
        for c in spaced
        if unicodedata.category(c) != "Cc" and c not in _DIRECTION and c != _BYTE_ORDER_MARK
    )
    return " ".join("".join(kept).split())


def spoken(segment: Segment) -> str:
    """The text on one line, after who says it if that is known."""
    text = plain(segment.text)
    return f"{segment.voice}: {text}" if segment.voice else text


def srt(segments: Iterable[Segment], *, partial: bool) -> str:
    """SubRip. It knows no comments, so `partial` shows in the HTTP header alone."""
    del partial
    return "".join(
        f"{number}\n{clock(s.start_ms, ',')} --> {clock(s.end_ms, ',')}\n"
        f"{spoken(s).translate(_NO_TAGS)}\n\n"
        for number, s in enumerate(segments, start=1)
    )


def vtt(segments: Iterable[Segment], *, partial: bool) -> str:
    """WebVTT (W3C), text escaped as its cue text wants it, with its voice if known."""
    note = "NOTE partial: recognition goes on\n\n" if partial else ""
    cues = (
        f"{clock(s.start_ms, '.')} --> {clock(s.end_ms, '.')}\n"
        f"{f'<v {s.voice}>' if s.voice else ''}{escape(plain(s.text), quote=False)}\n\n"
        for s in segments
    )
    return "WEBVTT\n\n" + note + "".join(cues)


def txt(segments: Iterable[Segment], *, partial: bool) -> str:
    """One segment a line."""
    del partial
    return "".join(f"{spoken(s)}\n" for s in segments)


def tsv(segments: Iterable[Segment], *, partial: bool) -> str:
    """Tab-separated `start end text`, times in milliseconds, as Whisper's own writer has it."""
    del partial
    lines = (f"{s.start_ms}\t{s.end_ms}\t{_cell(spoken(s))}\n" for s in segments)
    return "start\tend\ttext\n" + "".join(lines)


def _cell(shown: str) -> str:
    return _NO_FORMULA.get(shown[:1], shown[:1]) + shown[1:]


WRITERS: dict[str, tuple[Callable[..., str], str]] = {
    "srt": (srt, "application/x-subrip"),
    "vtt": (vtt, "text/vtt"),
    "txt": (txt, "text/plain"),
    "tsv": (tsv, "text/tab-separated-values"),
}
"""Format -> (writer, media type)."""
