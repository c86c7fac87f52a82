"""Which of a source's streams is fetched: the best sound, with as little picture as can be."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hearsight_core.errors import NoAudioError, UnsupportedError

Format = Mapping[str, Any]
"""One of yt-dlp's formats; its field names and their meaning are yt-dlp's."""

_PROTOCOLS: Final = ("http", "https", "m3u8", "m3u8_native", "http_dash_segments")

_SMALL_PICTURE: Final = 480
"""Lines up to which a picture that can't be left out is welcome: the sound is as good as that of
larger ones on the usual sites, at a tenth of the bytes."""


def best_sound(formats: Sequence[Format], language: str | None) -> Format:
    """The one stream to fetch; nothing is ever merged.

    Among the streams in `language`, where any says so, the best without a picture; else the best
    with a picture of up to 480 lines; else the smallest.

    Args:
        formats: What the source offers, worst first, as yt-dlp sorts them.
        language: ISO 639-1 code of the speech wanted, or None.

    Raises:
        UnsupportedError: no stream comes by HTTP, HLS or DASH.
        NoAudioError: none of them has sound.
    """
    reachable = [one for one in formats if one.get("protocol") in _PROTOCOLS]
    if not reachable:
        protocols = {str(one.get("protocol")) for one in formats}
        raise UnsupportedError(detail=f"it is offered by {', '.join(sorted(protocols))} only")
    sounding = [one for one in reachable if one.get("acodec") != "none"]
    if not sounding:
        raise NoAudioError
    spoken = [one for one in sounding if _is_in(one, language)] or sounding
    without_picture = [one for one in spoken if one.get("vcodec") == "none"]
    if without_picture:
        return without_picture[-1]
    small = [one for one in spoken if (one.get("height") or 0) <= _SMALL_PICTURE]
    return small[-1] if small else spoken[0]


def _is_in(one: Format, language: str | None) -> bool:
    named = str(one.get("language") or "")
    return language is not None and named.lower().partition("-")[0] == language
