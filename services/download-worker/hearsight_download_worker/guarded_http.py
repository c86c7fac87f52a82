"""yt-dlp's way to the network, with a guard at every connection and a check at every read.

`GuardedHandler` is the only request handler of `GuardedDownloader`. So pages, redirects, manifests,
segments and keys all open their connections through an `AddressGuard`, and every read passes
`Traffic.checkpoint`, where a job that is cancelled or takes too long stops. There are no schemes
but http and https, and no proxies: a proxy would connect for us, where the guard can't see to whom.
A page is held in memory, so it has a limit, before and after it is unpacked.
"""

import http.client
import io
import select
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final, NoReturn
from weakref import WeakSet

from yt_dlp import YoutubeDL
from yt_dlp.networking import _urllib
from yt_dlp.networking.common import RequestDirector
from yt_dlp.networking.exceptions import RequestError

from hearsight_core.addresses import AddressGuard
from hearsight_core.errors import HearSightError, TimedOutError, UnsupportedError

MAX_PAGE_BYTES: Final = 32 * 1024 * 1024
"""Largest page, manifest or key, bytes; media is read in pieces and has a limit of its own."""

_POLL_S: Final = 0.5
"""Seconds a silent host is waited for between two checks."""


class Stop(BaseException):
    """Carries an error of ours out of yt-dlp, past everything there that catches exceptions."""

    def __init__(self, error: HearSightError) -> None:
        self.error = error
        super().__init__(error)


@contextmanager
def stopping() -> Iterator[None]:
    """Turns an error of ours, raised where yt-dlp calls us, into a Stop."""
    try:
        yield
    except HearSightError as error:
        raise Stop(error) from error


class Traffic:
    """What one fetch may do on the network, and until when."""

    def __init__(self, guard: AddressGuard, check: Callable[[], None], timeout_s: float) -> None:
        self._guard = guard
        self._check = check
        self._deadline = time.monotonic() + timeout_s
        self._readers: WeakSet[io.BufferedReader] = WeakSet()
        self.host = ""
        """The host spoken to last."""
        self.failure: BaseException | None = None
        """Why the last request failed, if it did: yt-dlp forgets it when it gives up retrying."""

    def checkpoint(self) -> None:
        """Raises Stop if the work has to stop here or its time is up."""
        with stopping():
            self._check()
        if time.monotonic() > self._deadline:
            raise Stop(TimedOutError(host=self.host))

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        """Connects as `AddressGuard.connect` does; a refusal of the guard ends the fetch."""
        self.host = address[0]
        self.checkpoint()
        with stopping():
            return self._guard.connect(address, timeout, source_address)

    def keep(self, reader: io.BufferedReader) -> None:
        """Notes a response's body, to be closed at the end if yt-dlp does not."""
        self._readers.add(reader)

    def close(self) -> None:
        """Closes every connection that is still open."""
        for reader in list(self._readers):
            reader.close()

    def pause(self, duration_s: float) -> None:
        """Waits, and stops waiting when the work has to stop."""
        until = time.monotonic() + duration_s
        while (left := until - time.monotonic()) > 0:
            self.checkpoint()
            time.sleep(min(left, _POLL_S))


class _CheckedReader(io.RawIOBase):
    """Reads from a socket, with a checkpoint before every piece and while none comes."""

    def __init__(self, connection: socket.socket, traffic: Traffic) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)
        self._traffic = traffic

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401  any writable buffer, as in io
        self._await_bytes()
        return self._raw.readinto(buffer)

    def _await_bytes(self) -> None:
        self._traffic.checkpoint()
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        patience = self._connection.gettimeout()
        silent_until = None if patience is None else time.monotonic() + patience
        while not poll.poll(_POLL_S * 1000):
            self._traffic.checkpoint()
            if silent_until is not None and time.monotonic() > silent_until:
                raise TimeoutError("the host fell silent")

    def close(self) -> None:
        self._raw.close()
        super().close()


class _CheckedResponse(http.client.HTTPResponse):
    """A response whose bytes pass the checkpoints, and whose whole is limited when asked for."""

    def __init__(
        self,
        connection: socket.socket,
        debuglevel: int = 0,
        method: str | None = None,
        *,
        traffic: Traffic,
    ) -> None:
        super().__init__(connection, debuglevel, method)
        self._traffic = traffic
        self.fp.close()
        self.fp = io.BufferedReader(_CheckedReader(connection, traffic), 64 * 1024)
        traffic.keep(self.fp)

    def read(self, amt: int | None = None) -> bytes:
        try:
            return self._read(amt)
        except (OSError, http.client.HTTPException) as error:
            self._traffic.failure = error
            raise

    def _read(self, amt: int | None) -> bytes:
        if amt is not None or self.fp is None:
            return super().read(amt)
        wanted = MAX_PAGE_BYTES + 1 if self.length is None else min(self.length, MAX_PAGE_BYTES + 1)
        whole = super().read(wanted)
        if len(whole) > MAX_PAGE_BYTES:
            _refuse_page()
        if self.length:
            raise http.client.IncompleteRead(whole, self.length)
        self.close()
        return whole


class _Connections(_urllib.HTTPHandler):  # type: ignore[misc]  # yt-dlp ships no types
    """Opens connections through the guard, and unpacks pages only up to the limit."""

    def __init__(self, traffic: Traffic, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._traffic = traffic
        self._tls = context

    def http_open(self, req: urllib.request.Request) -> Any:  # noqa: ANN401  as in urllib
        return self.do_open(self._http, req)

    def https_open(self, req: urllib.request.Request) -> Any:  # noqa: ANN401  as in urllib
        return self.do_open(self._https, req)

    def _http(self, host: str, timeout: float) -> http.client.HTTPConnection:
        return self._guarded(http.client.HTTPConnection(host, timeout=timeout))

    def _https(self, host: str, timeout: float) -> http.client.HTTPConnection:
        return self._guarded(http.client.HTTPSConnection(host, timeout=timeout, context=self._tls))

    def _guarded(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        connection._create_connection = self._traffic.connect  # type: ignore[attr-defined]  # noqa: SLF001  the one place where http.client opens its socket
        connection.response_class = partial(_CheckedResponse, traffic=self._traffic)  # type: ignore[assignment]
        return connection

    @staticmethod
    def gz(data: bytes) -> bytes:
        """Unpacks gzip, up to the limit of a page."""
        return _unpack(data, zlib.MAX_WBITS | 16)

    @staticmethod
    def deflate(data: bytes) -> bytes:
        """Unpacks raw or zlib-wrapped deflate, up to the limit of a page."""
        try:
            return _unpack(data, -zlib.MAX_WBITS)
        except zlib.error:
            return _unpack(data, zlib.MAX_WBITS)

    @staticmethod
    def brotli(data: bytes) -> NoReturn:
        """Refuses brotli, which is never asked for: its unpacker knows no limit."""
        raise Stop(UnsupportedError(detail=f"{len(data)} bytes in brotli, which was not asked for"))


class _Redirects(_urllib.RedirectHandler):  # type: ignore[misc]  # yt-dlp ships no types
    """Follows redirects, and takes no password along to another place."""

    def redirect_request(  # noqa: PLR0917  urllib's signature
        self,
        req: urllib.request.Request,
        fp: Any,  # noqa: ANN401  as in urllib
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request:
        onward: urllib.request.Request = super().redirect_request(
            req, fp, code, msg, headers, newurl
        )
        if (onward.type, onward.host) != (req.type, req.host):
            onward.remove_header("Authorization")
        return onward


class GuardedHandler(_urllib.UrllibRH):  # type: ignore[misc]  # yt-dlp ships no types
    """yt-dlp's urllib handler without proxies, files, FTP and data URLs, behind the guard."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    _SUPPORTED_PROXY_SCHEMES: ClassVar[tuple[str, ...]] = ()
    RH_KEY = "Guarded"
    RH_NAME = "guarded"

    def __init__(self, *, traffic: Traffic, **options: object) -> None:
        super().__init__(**options)
        self.enable_file_urls = False
        self._traffic = traffic

    def _send(self, request: object) -> Any:  # noqa: ANN401  yt-dlp's own
        self._traffic.failure = None
        try:
            return super()._send(request)
        except RequestError as error:
            self._traffic.failure = error
            raise

    def _get_proxies(self, _request: object) -> dict[str, str]:
        return {}

    def _prepare_headers(self, _request: object, headers: Any) -> None:  # noqa: ANN401  yt-dlp's own
        _urllib.add_accept_encoding_header(headers, ["gzip", "deflate"])

    def _create_instance(
        self,
        proxies: dict[str, str],  # noqa: ARG002  always empty here
        cookiejar: Any,  # noqa: ANN401  yt-dlp's own
        legacy_ssl_support: bool | None = None,  # noqa: FBT001  yt-dlp's signature
    ) -> urllib.request.OpenerDirector:
        opener = urllib.request.OpenerDirector()
        context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        for handler in (
            _Connections(self._traffic, context),
            urllib.request.HTTPCookieProcessor(cookiejar),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener


class GuardedDownloader(YoutubeDL):  # type: ignore[misc]  # yt-dlp ships no types
    """YoutubeDL that knows no way to the network but `GuardedHandler`."""

    def __init__(self, params: dict[str, Any], traffic: Traffic) -> None:
        self._traffic = traffic
        super().__init__(params)

    def build_request_director(
        self,
        handlers: Iterable[object],  # noqa: ARG002  all of yt-dlp's own are left out
        preferences: Iterable[object] | None = None,  # noqa: ARG002  there is nothing to prefer
    ) -> RequestDirector:
        """A director with the guarded handler alone."""
        return super().build_request_director([partial(GuardedHandler, traffic=self._traffic)])


def _unpack(data: bytes, window_bits: int) -> bytes:
    unpacker = zlib.decompressobj(window_bits)
    whole = unpacker.decompress(data, MAX_PAGE_BYTES)
    if unpacker.unconsumed_tail:
        _refuse_page()
    if data and not unpacker.eof:
        raise zlib.error("the packed page is cut off")
    return whole


def _refuse_page() -> NoReturn:
    raise Stop(UnsupportedError(detail=f"a page of more than {MAX_PAGE_BYTES} bytes"))
