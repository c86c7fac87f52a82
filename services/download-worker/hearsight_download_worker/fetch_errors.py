"""What yt-dlp says went wrong, as errors of ours.

yt-dlp wraps an error up to four times, and an extractor may know more than the network error at
the bottom: a refusal with HTTP 403 may be a bot check. So what it says is looked at first, where
that is unmistakable, then the errors it wraps, then the rest of what it says.
"""

import errno
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from yt_dlp import utils
from yt_dlp.networking import exceptions as networking

from hearsight_core.errors import (
    BotCheckError,
    CorruptError,
    DiskFullError,
    DnsError,
    GeoBlockedError,
    HearSightError,
    Http4xxError,
    Http5xxError,
    LiveError,
    NetworkError,
    NotFoundError,
    PrivateError,
    RateLimitedError,
    RefusedError,
    TimedOutError,
    TlsError,
    UnexpectedError,
    UnsupportedError,
)

_MAX_DETAIL_CHARS: Final = 300

_STATUSES: Final[dict[int, Callable[[str, int], HearSightError]]] = {
    401: lambda _, status: PrivateError(detail=f"HTTP {status}"),
    402: lambda _, status: PrivateError(detail=f"HTTP {status}"),
    404: lambda _, status: NotFoundError(status=status),
    408: lambda host, _: TimedOutError(host=host),
    410: lambda _, status: NotFoundError(status=status),
    429: lambda host, _: RateLimitedError(host=host),
    451: lambda _, status: GeoBlockedError(detail=f"HTTP {status}"),
}
"""The HTTP statuses that mean more than that the host refused."""

_FAILURES: Final[tuple[tuple[tuple[type[BaseException], ...], type[NetworkError]], ...]] = (
    ((socket.gaierror,), DnsError),
    ((ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError), RefusedError),
    ((ssl.SSLError,), TlsError),
    ((TimeoutError,), TimedOutError),
    ((networking.IncompleteRead, utils.ContentTooShortError), RefusedError),
    ((http.client.HTTPException,), RefusedError),
)
"""What errors of the connection mean; the first kind that fits counts."""

_BOT_CHECK: Final = (
    r"confirm you.{1,3}re not a (ro)?bot|anti-bot challenge|captcha|unusual traffic"
    r"|(prove|verify)( that)? you.{1,5}(a )?human"
)
_GEO_BLOCKED: Final = (
    r"not( made)?( this video)? available (from|in) your (country|location|region)"
    r"|geo.?(restrict|block)|blocked it in your country"
)
_LIVE: Final = (
    r"live event will begin|premieres in|this live event has ended"
    r"|(channel|user|stream) is (offline|not (currently )?live)"
)
_PRIVATE: Final = (
    r"private video|(video|playlist|post|account) is private|log ?in (required|to )|sign in (if|to)"
    r"|members[- ]only|registered users|confirm your age|protected by a password|video password"
    r"|requires? (a )?(log ?in|authentication|payment|purchase|subscription)|--cookies|rental"
)
_TELLING: Final[dict[type[HearSightError], re.Pattern[str]]] = {
    BotCheckError: re.compile(_BOT_CHECK, re.IGNORECASE),
    GeoBlockedError: re.compile(_GEO_BLOCKED, re.IGNORECASE),
    LiveError: re.compile(_LIVE, re.IGNORECASE),
    PrivateError: re.compile(_PRIVATE, re.IGNORECASE),
}
"""Words of yt-dlp and its extractors that say more than the error they wrap; first match counts."""

_GONE: Final = re.compile(
    r"(video|post|track|content|media)( is| was)? ?(unavailable|no longer available|not available"
    r"|(has been )?(removed|deleted)|does not exist|not found)|account.{0,30}terminated",
    re.IGNORECASE,
)
_GAVE_UP: Final = re.compile(r"giving up after|got error", re.IGNORECASE)
_CUT: Final = re.compile(r"downloaded \d+ bytes, expected \d+", re.IGNORECASE)
_EMPTY: Final = re.compile(r"did not get any data blocks|downloaded file is empty", re.IGNORECASE)
_UNPLAYABLE: Final = re.compile(
    r"DRM|no video formats|requested format|unsupported url scheme|unable to handle request"
    r"|unknown url type|redirect loop",
    re.IGNORECASE,
)
_HOST_ERRNOS: Final = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_DISK_ERRNOS: Final = {errno.ENOSPC, errno.EDQUOT}

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_BOILERPLATE: Final = re.compile(
    r"^ERROR: |\[download\] Got error: "
    r"|[;.]? *please report this issue on .*|\(caused by .*|\. Giving up after \d+ retries",
    re.IGNORECASE | re.DOTALL,
)


def translate(
    error: BaseException, *, host: str, failure: BaseException | None = None
) -> HearSightError:
    """The error of ours that says what `error`, raised by yt-dlp, means.

    Args:
        error: What yt-dlp raised.
        host: The host spoken to last, for errors that don't name theirs.
        failure: Why the last request failed; yt-dlp does not chain it when it gives up retrying.
    """
    chain = list(_chain(error))
    if failure is not None and _GAVE_UP.search(str(error)):
        chain += _chain(failure)
    words = cleaned(str(error))
    for found in chain:
        if isinstance(found, HearSightError):
            return found
        if isinstance(found, OSError) and found.errno in _DISK_ERRNOS:
            return DiskFullError(detail=words)
        if isinstance(found, MemoryError):
            return UnsupportedError(detail="it needs more memory than a fetch may use")
    return (
        _said(chain, words)
        or _first(chain, lambda found: _answered(found, host))
        or _first(chain, lambda found: _failed_on_the_way(found, host, words))
        or _said_at_last(chain, words, host)
    )


def cleaned(words: str) -> str:
    """What yt-dlp says, without colours, prefixes and the plea to report it; 300 characters."""
    plain = " ".join(_BOILERPLATE.sub("", _COLOURS.sub("", words)).split())
    return plain[:_MAX_DETAIL_CHARS]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything it wraps, by whatever name, each once."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        exc_info = getattr(found, "exc_info", None) or (None, None)
        waiting += [getattr(found, "cause", None), getattr(found, "reason", None), exc_info[1]]
        waiting += [found.__cause__, found.__context__]


def _first(
    chain: list[BaseException], judge: Callable[[BaseException], HearSightError | None]
) -> HearSightError | None:
    return next((judged for found in chain if (judged := judge(found))), None)


def _said(chain: list[BaseException], words: str) -> HearSightError | None:
    if any(isinstance(found, utils.GeoRestrictedError) for found in chain):
        return GeoBlockedError(detail=words)
    return next(
        (error(detail=words) for error, telling in _TELLING.items() if telling.search(words)), None
    )


def _answered(error: BaseException, host: str) -> HearSightError | None:
    """What an HTTP status means."""
    if not isinstance(error, networking.HTTPError):
        return None
    status: int = error.status
    host = urlsplit(error.response.url or "").hostname or host
    known = _STATUSES.get(status)
    if known is not None:
        return known(host, status)
    if 400 <= status < 500:  # noqa: PLR2004  what HTTP calls a client's error
        return Http4xxError(host=host, status=status)
    if 500 <= status < 600:  # noqa: PLR2004  what HTTP calls a server's error
        return Http5xxError(host=host, status=status)
    return UnsupportedError(detail=cleaned(str(error)))


def _failed_on_the_way(error: BaseException, host: str, words: str) -> HearSightError | None:
    """What an error of the connection means."""
    for kinds, meaning in _FAILURES:
        if isinstance(error, kinds):
            return meaning(host=host, detail=words)
    if isinstance(error, OSError) and error.errno in _HOST_ERRNOS:
        return RefusedError(host=host, detail=words)
    return None


def _said_at_last(chain: list[BaseException], words: str, host: str) -> HearSightError:
    if _CUT.search(words):
        return RefusedError(host=host, detail=words)
    if _EMPTY.search(words):
        return CorruptError(detail="the source sent nothing")
    if _GONE.search(words) and not _UNPLAYABLE.search(words):
        return NotFoundError(status=200, detail=words)
    if "ffmpeg could not be found" in words:  # which would be asked for what yt-dlp can't decrypt
        return UnsupportedError(detail="it is encrypted in a way that is not supported")
    from_extractor = any(isinstance(found, utils.ExtractorError) for found in chain)
    if from_extractor or _UNPLAYABLE.search(words):
        return UnsupportedError(detail=words)
    return UnexpectedError(detail=words)
