"""Which addresses may be fetched: the guard against reaching into our own networks.

Two lines of defence. `AddressGuard.check_url` judges what is written in a URL, without any look-up;
the API answers with it at once. `AddressGuard.connect` is the one that holds: it looks a name up
once, judges every address found and connects to exactly those, so that neither a redirect, nor a
name with an inner address, nor one that changes its address between two look-ups leads inside.
"""

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from hearsight_core.errors import ForbiddenAddressError, InvalidRequestError, UnsupportedUrlError

IpAddress = IPv4Address | IPv6Address

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

MAX_HOST: Final = 253
"""Characters of a host's name (RFC 1035)."""

_INNER_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform, though its address looks public
        "169.254.0.0/16",  # link-local; the clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, given up
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
"""IANA's IPv4 special-purpose registry (RFC 6890), and platforms of clouds. It stands here because
`ipaddress.is_global` differs between Python's patch versions."""

_OUTER_V6: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out for use on the Internet."""

_INNER_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)

_WRAPPED_V4: Final = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)
"""IPv6 networks that carry an IPv4 address, and how many bits lie behind it."""

_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""What stands before an IPv4 address in the lower half of a tunnel's address (RFC 5214)."""

_MAX_SHOWN_CHARS: Final = 100
"""How much of what is no host an error repeats."""

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Endpoint:
    """One address a name was found to have, as the socket module wants it."""

    family: int
    sockaddr: tuple[str | int | bytes, ...]

    @property
    def address(self) -> IpAddress:
        """The address alone, without port and zone."""
        return ip_address(str(self.sockaddr[0]).partition("%")[0])


Lookup = Callable[[str, int], Iterable[Endpoint]]


def system_lookup(host: str, port: int) -> list[Endpoint]:
    """Every address the system knows for `host`.

    Raises:
        socket.gaierror: the name has none, or the look-up failed.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found]


class AddressGuard:
    """Lets through what lies on the open Internet, and the hosts in `allow_hosts`.

    An entry of `allow_hosts` is a name or an address, for all its ports, or with one (`media.lan`,
    `media.lan:8080`, `10.0.0.7`, `[fd00::7]:8080`). It counts for the host as the URL names it: a
    name that leads to an allowed address is not allowed by that. `lookup` is for tests.

    Raises:
        ValueError: an entry is neither of these.
    """

    def __init__(self, allow_hosts: Iterable[str] = (), *, lookup: Lookup = system_lookup) -> None:
        self.allow_hosts = tuple(allow_hosts)
        self._allowed = frozenset(_allow_entry(entry) for entry in self.allow_hosts)
        self._lookup = lookup

    def check_url(self, url: str) -> str:
        """Judges a URL by what is written in it; no look-up, no connection.

        Returns:
            The URL with its host in lower-case ASCII (IDNA), a literal address in its usual form,
            and no default port; the rest as given.

        Raises:
            UnsupportedUrlError: neither http nor https.
            InvalidRequestError: not a well-formed URL, or one with a user name in it.
            ForbiddenAddressError: a literal inner address, or a name for this machine.
        """
        parts, port = _split(url)
        host = _plain_host(parts.hostname or "")
        if not self._allows(host, port):
            _refuse_inner_host(host)
        shown = f"[{host}]" if ":" in host else host
        if port != DEFAULT_PORTS[parts.scheme]:
            shown = f"{shown}:{port}"
        return urlunsplit((parts.scheme, shown, parts.path, parts.query, parts.fragment))

    def resolve(self, host: str, port: int) -> list[Endpoint]:
        """Every address of `host`, all of them judged.

        Raises:
            ForbiddenAddressError: at least one of them lies inside.
            InvalidRequestError: no host can have such a name.
            socket.gaierror: the name has no address.
        """
        host = _plain_host(host)
        allowed = self._allows(host, port)
        if not allowed:
            _refuse_inner_host(host)
        found = list(self._lookup(host, port))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        if not allowed and any(_is_inner_endpoint(endpoint) for endpoint in found):
            raise ForbiddenAddressError(host=host, field="url")
        return found

    def connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        """Opens a TCP connection, in place of `socket.create_connection`.

        The addresses are looked up once, judged, and tried in turn, `timeout` seconds each; who
        answers is judged once more.

        Raises:
            ForbiddenAddressError, InvalidRequestError: as `resolve`.
            OSError: none of the addresses answers; the first one's error.
        """
        host, port = address
        failures: list[OSError] = []
        for endpoint in self.resolve(host, port):
            try:
                connection = _open(endpoint, timeout, source_address)
            except OSError as error:
                failures.append(error)
                continue
            peer = Endpoint(endpoint.family, connection.getpeername())
            if peer.address != endpoint.address:
                connection.close()
                raise ForbiddenAddressError(host=host, field="url")
            return connection
        raise failures[0]

    def _allows(self, host: str, port: int) -> bool:
        return (host, None) in self._allowed or (host, port) in self._allowed


def is_inner(address: IpAddress) -> bool:
    """Whether `address` is anything but an address of its own on the open Internet.

    An IPv6 address that wraps an IPv4 one is judged by the one inside.
    """
    if isinstance(address, IPv4Address):
        return any(address in network for network in _INNER_V4)
    number = int(address)
    for network, behind in _WRAPPED_V4:
        if address in network:
            return is_inner(IPv4Address(number >> behind & 0xFFFF_FFFF))
    if address not in _OUTER_V6 or any(address in network for network in _INNER_V6):
        return True
    tunnelled = number >> 32 & 0xFFFF_FFFF in _ISATAP
    return tunnelled and is_inner(IPv4Address(number & 0xFFFF_FFFF))


def _is_inner_endpoint(endpoint: Endpoint) -> bool:
    zoned = "%" in str(endpoint.sockaddr[0]) or any(endpoint.sockaddr[3:4])
    return zoned or is_inner(endpoint.address)


def _open(
    endpoint: Endpoint, timeout: float | None, source_address: tuple[str, int] | None
) -> socket.socket:
    connection = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        if source_address is not None:
            connection.bind(source_address)
        connection.connect(endpoint.sockaddr)
    except OSError:
        connection.close()
        raise
    return connection


def _split(url: str) -> tuple[SplitResult, int]:
    """The parts of `url` and its port, or an error that says what is wrong with it."""
    if re.search(r"[\s\\\x00-\x1f\x7f-\x9f]", url):
        raise _invalid("the URL holds white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        # Python's own words repeat what it read: a password, if one was misplaced.
        raise _invalid("the URL's host or port can't be read") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise UnsupportedUrlError(field="url")
    if parts.username is not None or parts.password is not None:
        raise _invalid("the URL holds a user name; give the address without one")
    if not parts.hostname:
        raise _invalid("the URL names no host")
    if port == 0:
        raise _invalid("no host has a port 0")
    return parts, port or DEFAULT_PORTS[parts.scheme]


def _plain_host(host: str) -> str:
    """`host` in lower-case ASCII; a literal address, however written, in its usual form."""
    if ":" in host:
        return _plain_v6(host)
    if len(host) > MAX_HOST + 1:  # with the dot at its end; converting a long one takes long
        raise _invalid(f"no host can be called {_shown(host)}")
    try:
        plain = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise _invalid(f"no host can be called {_shown(host)}") from error
    labels = plain.split(".")
    if len(plain) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise _invalid(f"no host can be called {_shown(host)}")
    if not _NUMBER.fullmatch(labels[-1]):
        return plain
    try:
        # As the resolver reads it: decimal, octal, hexadecimal, and short forms such as 127.1.
        return str(IPv4Address(socket.inet_aton(plain)))
    except OSError as error:
        raise _invalid(f"{_shown(host)} is no address") from error


def _plain_v6(host: str) -> str:
    if "%" in host:
        raise ForbiddenAddressError(host=host, field="url")  # a zone is inside by its nature
    try:
        return str(IPv6Address(host))
    except ValueError as error:
        raise _invalid(f"{_shown(host)} is no address") from error


def _refuse_inner_host(host: str) -> None:
    if host == "localhost" or host.endswith(".localhost"):
        raise ForbiddenAddressError(host=host, field="url")
    try:
        address = ip_address(host)
    except ValueError:
        return
    if is_inner(address):
        raise ForbiddenAddressError(host=host, field="url")


def _allow_entry(entry: str) -> tuple[str, int | None]:
    """`host`, `host:port` or `[v6]:port` as a plain host and a port, or None for all ports."""
    bracketed = re.fullmatch(r"\[(.*)\](?::(\d+))?", entry)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    else:
        host, port = entry, ""
    try:
        return _plain_host(host), int(port) if port else None
    except (ValueError, InvalidRequestError) as error:
        raise ValueError(f"{entry!r} is neither a host nor host:port") from error


def _shown(host: str) -> str:
    # What stands before an @ may be a password.
    host = host.rpartition("@")[2]
    return repr(host if len(host) <= _MAX_SHOWN_CHARS else f"{host[:_MAX_SHOWN_CHARS]}...")


def _invalid(detail: str) -> InvalidRequestError:
    return InvalidRequestError(field="url", detail=detail)
