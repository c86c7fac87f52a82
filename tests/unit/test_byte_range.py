"""What a `Range` header asks for: one range as [start, end), the whole, or too much."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from hearsight_api.routes.media import byte_range

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-499", (0, 500)),
        ("bytes=500-", (500, 1000)),
        ("bytes=999-", (999, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-500", (500, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=900-5000", (900, 1000)),
        ("bytes= 1 - 2 ", (1, 3)),
        ("Bytes=1-2", (1, 3)),
        (f"bytes=0-{10**17}", (0, 1000)),
    ],
)
def test_one_range_is_cut_to_what_is_there(header: str, asked: tuple[int, int]) -> None:
    assert byte_range(header, SIZE) == asked


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "bytes=a-b",
        "bytes=-1-2",
        "bytes=1.5-2",
        "bytes=\N{SUPERSCRIPT TWO}-",
        "seconds=0-1",
        f"bytes={'9' * 5000}-",
        f"bytes=-{'9' * 5000}",
    ],
)
def test_what_is_not_understood_means_the_whole(header: str | None) -> None:
    assert byte_range(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(HTTPException) as refused:
        byte_range(header, SIZE)
    assert refused.value.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    assert refused.value.headers == {"Content-Range": "bytes */1000"}


def test_an_empty_recording_has_no_range() -> None:
    with pytest.raises(HTTPException):
        byte_range("bytes=0-", 0)


@given(
    first=st.integers(0, 2000) | st.just(""),
    last=st.integers(0, 2000) | st.just(""),
    size=st.integers(1, 1500),
)
def test_a_range_is_never_empty_nor_outside(first: int | str, last: int | str, size: int) -> None:
    try:
        asked = byte_range(f"bytes={first}-{last}", size)
    except HTTPException:
        return
    if asked is not None:
        start, end = asked
        assert 0 <= start < end <= size
