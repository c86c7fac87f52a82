"""A seeded fuzzer over the guard of addresses: whatever it lets through is what it says."""

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hearsight_core.addresses import AddressGuard, is_inner
from hearsight_core.errors import RequestError

EXAMPLES = int(os.environ.get("HEARSIGHT_TEST_EXAMPLES", "0")) or 200
GUARD = AddressGuard()


def checked(url: str) -> str | None:
    """What the guard makes of a URL; None: it refuses it, with an error of ours."""
    try:
        return GUARD.check_url(url)
    except RequestError:
        return None


@st.composite
def spellings(draw: st.DrawFn, number: int) -> str:
    """One of the ways in which an IPv4 address can be written."""
    octets = list(number.to_bytes(4))
    kept = draw(st.integers(0, 3), label="octets by themselves")
    rest = int.from_bytes(bytes(octets[kept:]))
    parts = [*octets[:kept], rest]
    write = draw(
        st.lists(
            st.sampled_from(["{:d}", "0{:o}", "0x{:x}", "0X{:X}", "000{:o}"]),
            min_size=len(parts),
            max_size=len(parts),
        )
    )
    dot = draw(st.sampled_from([".", "\u3002", "\uff0e", "\uff61"]))
    shown = dot.join(form.format(part) for form, part in zip(write, parts, strict=True))
    shifted = draw(st.sampled_from([0, 0xFF10 - 0x30, 0x1D7CE - 0x30]), label="digits")
    shown = "".join(chr(ord(c) + shifted) if c.isdigit() and c.isascii() else c for c in shown)
    return shown + draw(st.sampled_from(["", ".", "\u00ad", "\u200b"]))


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.data(), st.integers(0, 2**32 - 1) | st.sampled_from([0x7F000001, 0xA9FEA9FE, 0]))
def test_no_spelling_of_an_address_hides_it(data: st.DataObject, number: int) -> None:
    host = data.draw(spellings(number))
    found = checked(f"http://{host}:81/")
    if is_inner(IPv4Address(number)):
        assert found is None, host
    elif found is not None:
        assert urlsplit(found).hostname == str(IPv4Address(number)), host


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@example(0x7F000001, 0)
@example(0xA9FEA9FE, 0x08080808)
def test_no_wrapping_of_an_inner_address_hides_it(inner: int, other: int) -> None:
    wrapped = [
        0xFFFF << 32 | inner,
        0xFFFF << 48 | inner,
        0x0064_FF9B << 96 | inner,
        0x2002 << 112 | inner << 80 | other,
        0x2606_4700 << 96 | 0x5EFE << 32 | inner,
    ]
    for number in wrapped:
        assert is_inner(IPv6Address(number)) == is_inner(IPv4Address(inner)), hex(number)
    teredo = 0x2001_0000 << 96 | other << 64 | (inner ^ 0xFFFF_FFFF)
    assert is_inner(IPv6Address(teredo))


@settings(max_examples=EXAMPLES * 2, deadline=None, derandomize=True)
@given(
    st.sampled_from(["http://", "https://", "HTTP:", "http:/", "//", "ftp://", ""]),
    st.text(
        st.characters(exclude_categories=["Cs"]) | st.sampled_from("@:/\\?#[]%.0x17"),
        max_size=40,
    ),
)
def test_whatever_is_let_through_is_read_alike_by_all(scheme: str, rest: str) -> None:
    """One reader must not see another host in it than the guard judged."""
    found = checked(scheme + rest)
    if found is None:
        return
    parts = urlsplit(found)
    assert parts.scheme in {"http", "https"}
    assert parts.username is None
    assert parts.password is None
    host = parts.hostname
    assert host
    assert host.isascii()
    assert checked(found) == found
    try:
        address = ip_address(host)
    except ValueError:
        # Nothing that the system's resolver would take for an address.
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(host)
    else:
        assert not is_inner(address)
