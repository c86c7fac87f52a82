"""Fetches the media behind an address, through yt-dlp, within limits.

yt-dlp is used for what it knows: finding the streams of a site, and fetching them by HTTP, HLS or
DASH. It writes one file, in one folder; it reads no configuration, no cookies, no plugins and no
environment, and starts neither ffmpeg nor any other downloader. (For YouTube it starts deno, which
runs the site's JavaScript without access to network or files.)
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import yt_dlp.globals
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

from hearsight_core.addresses import AddressGuard
from hearsight_core.errors import (
    Cancelled,
    CorruptError,
    HearSightError,
    InvalidRequestError,
    LiveError,
    TooLargeError,
    TooLongError,
    UnsupportedError,
)
from hearsight_download_worker.downloaders import downloader_for
from hearsight_download_worker.fetch_errors import translate
from hearsight_download_worker.formats import Format, best_sound
from hearsight_download_worker.guarded_http import GuardedDownloader, Stop, Traffic, stopping
from hearsight_download_worker.transfer import FetchProgress, Transfer

__all__ = ["FetchLimits", "FetchProgress", "Fetched", "fetch", "rehearse"]

_MEDIA_FILE: Final = "media"
GROWING_FILE: Final = f"{_MEDIA_FILE}.part"
"""What yt-dlp calls the file until it is whole; its bytes come in their order."""
_MAX_FILENAME_CHARS: Final = 200
_NOT_RECORDED_YET: Final = {"is_live", "is_upcoming", "post_live"}
_SMUGGLED: Final = "__youtubedl_smuggle"
"""yt-dlp's mark for orders to its extractors inside a URL's fragment."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchLimits:
    """How much a fetch may take.

    `timeout_s` is for the whole, `socket_timeout_s` for the longest silence of a host. A broken
    transfer is taken up again `retries` times, after a pause that begins at `retry_pause_s` and
    doubles.
    """

    max_bytes: int
    max_duration_s: float
    timeout_s: float
    socket_timeout_s: float
    retries: int = 5
    retry_pause_s: float = 0.5


@dataclass(frozen=True)
class Fetched:
    """The file that was fetched, and what its source says about it.

    `filename` is for people: the title, made safe, with an extension where one is known.
    `playlist_entries` is None unless the address is a playlist's, of which the first entry was
    fetched; an unknown number counts as 1.
    """

    path: Path
    filename: str
    title: str
    duration_ms: int | None
    extractor: str
    webpage_url: str
    playlist_entries: int | None
    size_bytes: int


def fetch(
    url: str,
    folder: Path,
    *,
    guard: AddressGuard,
    limits: FetchLimits,
    language: str | None = None,
    on_progress: Callable[[FetchProgress], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Fetched:
    """Fetches the best sound behind `url` into `folder`.

    A partial file that an earlier try left in `folder` is taken up again.

    Args:
        url: An http or https address of a medium, a manifest, or a page yt-dlp knows.
        folder: Where the file goes; made if it is missing. Whoever calls removes it.
        guard: Through which every connection goes.
        limits: How much it may take.
        language: ISO 639-1 code of the speech wanted, for sources with several; None: the source's.
        on_progress: Told of every change; it may raise to stop.
        check: Called before every read and at least each half second that a host is silent; it
            raises an Interruption to stop, which comes out of here as it is.

    Raises:
        RequestError, NetworkError, MediaError, DiskFullError, UnexpectedError: as they say.
    """
    url = guard.check_url(url)
    if _SMUGGLED in url:
        raise InvalidRequestError(field="url", detail="the URL's fragment holds orders for yt-dlp")
    folder.mkdir(parents=True, exist_ok=True)
    traffic = Traffic(guard, check, limits.timeout_s)
    transfer = Transfer(limits.max_bytes, on_progress)
    params = _params(folder, limits, traffic) | {
        "format": lambda offered: [_choose(offered["formats"], language)],
        "match_filter": lambda info, **_: _admit(info, limits),
    }
    try:
        with (
            _without_helpers(folder),
            closing(traffic),
            GuardedDownloader(params, traffic) as downloader,
        ):
            return _fetch(downloader, url, folder / _MEDIA_FILE, limits, transfer)
    except Stop as stop:
        raise stop.error from stop.error.__cause__
    except HearSightError:
        raise
    except Exception as error:  # yt-dlp and its extractors raise anything
        raise translate(error, host=traffic.host, failure=traffic.failure) from error


def rehearse() -> None:
    """Does what a fetch does before its first connection, most of which takes its time only once.

    Whoever is forked from this process has it behind it. The sites' extractors are left to whoever
    needs one: some make up the number of a device when they are loaded, which fetches must not
    share.
    """

    def stop() -> NoReturn:
        raise Cancelled

    limits = FetchLimits(max_bytes=1, max_duration_s=1, timeout_s=60, socket_timeout_s=1)
    with suppress(Cancelled):
        # The host is not looked for, and in the folder nothing is written.
        fetch(
            "http://hearsight.invalid/",
            Path(os.sep),
            guard=AddressGuard(),
            limits=limits,
            check=stop,
        )


def _fetch(
    downloader: GuardedDownloader, url: str, path: Path, limits: FetchLimits, transfer: Transfer
) -> Fetched:
    info, entries = _single(downloader.extract_info(url, download=False))
    _admit(info, limits)
    transport = downloader_for(info, downloader.params)(downloader, downloader.params)
    if (info.get("filesize") or 0) > limits.max_bytes:
        raise TooLargeError(limit_bytes=limits.max_bytes)
    transfer.begin(_filename(info), info)
    transport.add_progress_hook(transfer.hook)
    transport.download(str(path), info)
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise CorruptError(detail="the source sent nothing")
    duration_s = info.get("duration")
    return Fetched(
        path=path,
        filename=_filename(info),
        title=str(info.get("title") or _filename(info)),
        duration_ms=None if duration_s is None else round(duration_s * 1000),
        extractor=str(info.get("extractor") or "generic"),
        webpage_url=str(info.get("webpage_url") or url),
        playlist_entries=entries,
        size_bytes=size_bytes,
    )


def _params(folder: Path, limits: FetchLimits, traffic: Traffic) -> dict[str, Any]:
    """What yt-dlp is told; whatever is not named here is off by default."""

    def pause(n: int) -> float:
        traffic.pause(min(limits.retry_pause_s * 2**n, limits.socket_timeout_s))
        return 0

    return {
        "logger": _Quiet(),
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "cachedir": str(folder / "cache"),
        "outtmpl": {"default": _MEDIA_FILE},
        "noplaylist": True,
        "playlist_items": "1",
        "default_search": "error",
        "proxy": "",
        "socket_timeout": limits.socket_timeout_s,
        "retries": limits.retries,
        "fragment_retries": limits.retries,
        "retry_sleep_functions": {"http": pause, "fragment": pause, "extractor": pause},
        "skip_unavailable_fragments": False,  # a piece left out would be words left out
        "buffersize": 64 * 1024,
        "updatetime": False,
        "hls_prefer_native": True,
        "external_downloader": "native",
        "ffmpeg_location": str(folder / "no-ffmpeg"),
        "fixup": "never",
    }


@contextmanager
def _without_helpers(folder: Path) -> Iterator[None]:
    """No plugins, and no ffmpeg, not even to ask its version."""
    yt_dlp.globals.plugin_dirs.value = []
    token = FFmpegPostProcessor._ffmpeg_location.set(str(folder / "no-ffmpeg"))  # noqa: SLF001  as its own command does
    try:
        yield
    finally:
        FFmpegPostProcessor._ffmpeg_location.reset(token)  # noqa: SLF001


def _choose(formats: list[Format], language: str | None) -> Format:
    with stopping():
        return best_sound(formats, language)


def _admit(info: Format, limits: FetchLimits) -> None:
    """Refuses what is live, or too long, as soon as the source says so."""
    with stopping():
        if info.get("is_live") or info.get("live_status") in _NOT_RECORDED_YET:
            raise LiveError
        if (info.get("duration") or 0) > limits.max_duration_s:
            raise TooLongError(limit_s=limits.max_duration_s)


def _single(found: dict[str, Any] | None) -> tuple[dict[str, Any], int | None]:
    """The one medium to fetch, and how many entries the playlist has, if it is one."""
    entries: int | None = None
    while found is not None and found.get("_type") in ("playlist", "multi_video"):
        first = next(iter(found.get("entries") or ()), None)
        entries = entries or found.get("playlist_count") or 1
        found = first
    if found is None:
        raise UnsupportedError(detail="nothing to fetch was found there")
    return found, entries


def _filename(info: Format) -> str:
    """The title as a file's name: printable, no separators, at most 200 characters."""
    extension = str(info.get("ext") or "")
    ending = f".{extension}" if extension.isalnum() else ""
    title = str(info.get("title") or info.get("id") or "")
    shown = "".join(char if char.isprintable() and char not in "/\\" else " " for char in title)
    name = " ".join(shown.split()).strip(". ")[: _MAX_FILENAME_CHARS - len(ending)]
    return f"{name or _MEDIA_FILE}{ending}"


class _Quiet:
    """Where yt-dlp's own messages go: to the log, for whoever looks for trouble."""

    def debug(self, message: str) -> None:
        logger.debug(message)

    def warning(self, message: str) -> None:
        logger.debug(message)

    def error(self, message: str) -> None:
        logger.debug(message)
