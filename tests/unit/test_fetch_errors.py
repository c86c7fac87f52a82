"""What yt-dlp says becomes an error that tells people what to do."""

import errno
import http.client
import io
import socket
import ssl
import urllib.error
from email.message import Message

import pytest
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import (
    CertificateVerifyError,
    HTTPError,
    IncompleteRead,
    TransportError,
)
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError

from hearsight_core import errors
from hearsight_download_worker.fetch_errors import cleaned, translate

HOST = "media.example"


def answered(status: int) -> HTTPError:
    return HTTPError(Response(io.BytesIO(), f"https://cdn.example/{status}", Message(), status))


def wrapped(error: Exception, words: str | None = None) -> DownloadError:
    """As yt-dlp raises it: its extractor's error, and around that its own."""
    extractor_error = ExtractorError(words or str(error), expected=True, cause=error)
    download_error = DownloadError(f"ERROR: {extractor_error}")
    download_error.__cause__ = extractor_error
    return download_error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.PrivateError),
        (402, errors.PrivateError),
        (403, errors.Http4xxError),
        (404, errors.NotFoundError),
        (407, errors.Http4xxError),
        (408, errors.TimedOutError),
        (410, errors.NotFoundError),
        (418, errors.Http4xxError),
        (429, errors.RateLimitedError),
        (451, errors.GeoBlockedError),
        (500, errors.Http5xxError),
        (503, errors.Http5xxError),
        (302, errors.UnsupportedError),
    ],
)
def test_a_status_says_what_to_do(status: int, kind: type[errors.HearSightError]) -> None:
    assert type(translate(wrapped(answered(status)), host=HOST)) is kind


def test_an_answer_names_the_host_that_gave_it() -> None:
    error = translate(wrapped(answered(503)), host=HOST)
    assert error.values == {"host": "cdn.example", "status": 503}


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), errors.DnsError),
        (urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "again")), errors.DnsError),
        (ConnectionRefusedError(), errors.RefusedError),
        (ConnectionResetError(), errors.RefusedError),
        (http.client.RemoteDisconnected("gone"), errors.RefusedError),
        (http.client.BadStatusLine("x"), errors.RefusedError),
        (OSError(errno.EHOSTUNREACH, "no route"), errors.RefusedError),
        (IncompleteRead(partial=3, expected=9), errors.RefusedError),
        (TimeoutError(), errors.TimedOutError),
        (ssl.SSLError("handshake"), errors.TlsError),
        (ssl.SSLEOFError("gone"), errors.RefusedError),
        (CertificateVerifyError(cause=ssl.SSLCertVerificationError("self")), errors.TlsError),
        (OSError(errno.ENOSPC, "full"), errors.DiskFullError),
        (OSError(errno.EDQUOT, "full"), errors.DiskFullError),
        (errors.ForbiddenAddressError(host="x"), errors.ForbiddenAddressError),
    ],
)
def test_a_broken_way_is_told_from_a_refusal(
    cause: Exception, kind: type[errors.HearSightError]
) -> None:
    assert type(translate(wrapped(TransportError(cause=cause)), host=HOST)) is kind
    assert type(translate(wrapped(cause), host=HOST)) is kind


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser", "BotCheckError"),
        ("Got HTTP Error 403 caused by Cloudflare anti-bot challenge; try", "BotCheckError"),
        ("The uploader has not made this video available in your country", "GeoBlockedError"),
        ("Private video. Sign in if you've been granted access", "PrivateError"),
        ("Join this channel to get access to members-only content", "PrivateError"),
        ("This video requires payment to watch", "PrivateError"),
        ("Sign in to confirm your age", "PrivateError"),
        ("This live event will begin in 3 hours", "LiveError"),
        ("The channel is not currently live", "LiveError"),
        ("Video unavailable. This video has been removed by the uploader", "NotFoundError"),
        ("This video is DRM protected", "UnsupportedError"),
        ("No video formats found!", "UnsupportedError"),
        ('Unable to handle request: Unsupported url scheme: "file"', "UnsupportedError"),
        ("Something else the extractor knows", "UnsupportedError"),
    ],
)
def test_the_words_of_an_extractor_count(words: str, kind: str) -> None:
    error = ExtractorError(words, expected=True)
    assert type(translate(wrapped(error, words), host=HOST)).__name__ == kind


def test_a_bot_check_counts_more_than_the_status_it_came_with() -> None:
    error = wrapped(answered(403), "Got HTTP Error 403 caused by Cloudflare anti-bot challenge")
    assert isinstance(translate(error, host=HOST), errors.BotCheckError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UnsupportedError("https://media.example/"), errors.UnsupportedError),
        (GeoRestrictedError("no", countries=["FR"]), errors.GeoBlockedError),
        (DownloadError("ERROR: Did not get any data blocks"), errors.CorruptError),
        (DownloadError("Downloaded 3 bytes, expected 9 bytes"), errors.RefusedError),
        (KeyError("title"), errors.UnexpectedError),
    ],
)
def test_what_yt_dlp_raises_by_itself(error: Exception, kind: type[errors.HearSightError]) -> None:
    assert type(translate(error, host=HOST)) is kind


def test_the_reason_counts_that_yt_dlp_forgot_when_it_gave_up() -> None:
    gave_up = DownloadError("ERROR: [download] Got error: timed out. Giving up after 3 retries")
    error = translate(gave_up, host=HOST, failure=TimeoutError())
    assert isinstance(error, errors.TimedOutError)


def test_an_earlier_failure_does_not_hide_another_reason() -> None:
    error = translate(DownloadError("DRM protected"), host=HOST, failure=answered(404))
    assert isinstance(error, errors.UnsupportedError)


def test_the_detail_is_fit_to_print() -> None:
    words = (
        "\x1b[0;31mERROR:\x1b[0m [site] 42: Unable to\n extract title; please report this issue on"
        "  https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the appropriate issue template."
        " Confirm you are on the latest version using  yt-dlp -U"
    )
    assert cleaned(words) == "[site] 42: Unable to extract title"
    assert len(cleaned("x" * 1000)) == 300
