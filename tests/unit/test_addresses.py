"""Nothing inside is reached, however it is written, wrapped or looked up."""

from collections.abc import Iterable
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

import pytest

from hearsight_core.addresses import AddressGuard, Endpoint, is_inner
from hearsight_core.errors import ForbiddenAddressError, InvalidRequestError, UnsupportedUrlError

PUBLIC = "93.184.215.14"

INNER = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2606:4700::5efe:127.0.0.1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::5efe:8.8.8.8",
    "fec0::1",
    "ff02::1",
]

OUTER = [
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


def guard_for(
    answers: dict[str, list[str]], allow_hosts: Iterable[str] = ()
) -> tuple[AddressGuard, list[str]]:
    """A guard whose names have these addresses, and the look-ups it made."""
    asked: list[str] = []

    def lookup(host: str, port: int) -> list[Endpoint]:
        asked.append(host)
        found = answers.get(host, [host])
        return [Endpoint(AF_INET6 if ":" in one else AF_INET, (one, port)) for one in found]

    return AddressGuard(allow_hosts, lookup=lookup), asked


@pytest.mark.parametrize("address", INNER)
def test_an_inner_address_is_refused_as_a_literal_and_behind_a_name(address: str) -> None:
    assert is_inner(ip_address(address))
    guard, _ = guard_for({"media.example": [PUBLIC, address]})
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(ForbiddenAddressError):
        guard.check_url(f"http://{literal}/")
    with pytest.raises(ForbiddenAddressError):
        guard.resolve("media.example", 443)


@pytest.mark.parametrize("address", OUTER)
def test_an_address_on_the_open_internet_is_let_through(address: str) -> None:
    guard, _ = guard_for({"media.example": [address]})
    literal = f"[{address}]" if ":" in address else address
    assert guard.check_url(f"https://{literal}/a?b#c").startswith("https://")
    assert [str(found.address) for found in guard.resolve("media.example", 443)] == [
        str(ip_address(address))
    ]


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "0x7f.1",
        "0177.0.0.01",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[fe80::1%25eth0]",
        "localhost",
        "LOCALHOST.",
        "api.localhost",
    ],
)
def test_no_spelling_hides_this_machine(host: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        AddressGuard().check_url(f"http://{host}:8080/")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://media.example/a", "data:audio/wav;base64,AA", "media.example/a"],
)
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(UnsupportedUrlError) as caught:
        AddressGuard().check_url(url)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///a",
        "http://user:pass@media.example/",
        "http://user@media.example/",
        "http://@127.0.0.1/",
        "http://media.example:0/",
        "http://media.example:65536/",
        "http://media.example:http/",
        "http://media.example/a b",
        "http://media.example/a\nb",
        "http://media.example\\@127.0.0.1/",
        "http://media..example/",
        "http://-media.example/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://4294967296/",
        "http://media.example.0x7f/",
        "http://[::1",
        "http://[::g]/",
        f"http://{'a' * 64}.example/",
        # The hyphens count for nothing, but for the time that it takes to find that out.
        "http://" + "\N{SOFT HYPHEN}" * 300 + "media.example/",
    ],
)
def test_a_malformed_url_is_said_to_be_one(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        AddressGuard().check_url(url)
    assert caught.value.field == "url"
    assert caught.value.detail


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTPS://Media.Example:443/A?B=C#D", "https://media.example/A?B=C#D"),
        ("http://b\u00fccher.example:8080", "http://xn--bcher-kva.example:8080"),
        ("http://0x5db8d70e/", f"http://{PUBLIC}/"),
        ("http://[2606:4700:0:0::1111]:81/", "http://[2606:4700::1111]:81/"),
    ],
)
def test_a_url_is_normalised_in_its_host_alone(url: str, normal: str) -> None:
    assert AddressGuard().check_url(url) == normal


@pytest.mark.parametrize(
    "entry", ["127.0.0.1", "127.0.0.1:8000", "0x7f.1:8000", " 127.0.0.1 ", "2130706433"]
)
def test_an_allowed_address_is_let_through(entry: str) -> None:
    guard, _ = guard_for({}, [entry.strip()])
    assert guard.check_url("http://127.0.0.1:8000/")
    assert guard.resolve("127.0.0.1", 8000)


@pytest.mark.parametrize("entry", ["Media.LAN", "media.lan:80", "media.lan."])
def test_an_allowed_name_may_lead_inside(entry: str) -> None:
    guard, _ = guard_for({"media.lan": ["10.0.0.7"]}, [entry])
    assert guard.resolve("media.lan", 80)


def test_an_allowance_holds_for_its_host_and_port_alone() -> None:
    guard, _ = guard_for(
        {"other.lan": ["10.0.0.7"]}, ["127.0.0.1:8000", "[fd00::7]:81", "10.0.0.7"]
    )
    assert guard.check_url("http://[fd00::7]:81/")
    for host, port in [
        ("127.0.0.1", 8001),
        ("127.0.0.2", 8000),
        ("fd00::7", 80),
        ("other.lan", 80),
    ]:
        with pytest.raises(ForbiddenAddressError):
            guard.resolve(host, port)


@pytest.mark.parametrize("entry", ["media.lan:http", "a b", "", "[::1", "http://media.lan"])
def test_a_broken_allowance_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host nor host:port"):
        AddressGuard([entry])


def test_a_zone_makes_an_address_an_inner_one() -> None:
    scoped = Endpoint(AF_INET6, ("2606:4700::1111", 80, 0, 2))
    guard = AddressGuard(lookup=lambda _host, _port: [scoped])
    with pytest.raises(ForbiddenAddressError):
        guard.resolve("media.example", 80)


def test_checking_a_url_looks_nothing_up() -> None:
    guard, asked = guard_for({})
    guard.check_url("http://media.example/")
    assert asked == []
