"""Progress is told when there is some, never goes back, and ends what grows too large."""

import pytest

from hearsight_core.errors import Cancelled, TooLargeError, UnsupportedError
from hearsight_download_worker.guarded_http import Stop
from hearsight_download_worker.transfer import MAX_FRAGMENT_BYTES, FetchProgress, Transfer

GIB = 1024**3


def followed(max_bytes: int = 1000) -> tuple[Transfer, list[FetchProgress]]:
    told: list[FetchProgress] = []
    transfer = Transfer(max_bytes, told.append)
    transfer.begin("talk.mp3", {"filesize_approx": 400})
    return transfer, told


def test_a_known_length_gives_the_percentage() -> None:
    transfer, told = followed()
    transfer.hook(
        {
            "status": "downloading",
            "downloaded_bytes": 50,
            "total_bytes": 200,
            "speed": 7.0,
            "eta": 3,
        }
    )
    assert told == [FetchProgress(50, 200, 7.0, 3, 25.0, "talk.mp3")]


def test_pieces_give_the_percentage_of_a_stream() -> None:
    transfer, told = followed()
    for done in (0, 1, 2, 4):
        transfer.hook(
            {
                "status": "downloading",
                "downloaded_bytes": 10 * done + 5,
                "fragment_index": done,
                "fragment_count": 4,
            }
        )
    assert [one.percent for one in told] == [0, 25, 50, 99]
    assert all(one.total_bytes is None for one in told)


def test_without_a_length_the_sources_estimate_has_to_do() -> None:
    transfer, told = followed()
    transfer.hook({"status": "downloading", "downloaded_bytes": 100})
    transfer.hook({"status": "downloading", "downloaded_bytes": 900})
    transfer.hook({"status": "finished", "total_bytes": 900})
    assert [one.percent for one in told] == [25, 99, 100]


def test_the_percentage_never_goes_back_and_nothing_is_told_twice() -> None:
    transfer, told = followed()
    for current in (80, 80, 20, 90):
        transfer.hook({"status": "downloading", "downloaded_bytes": current, "total_bytes": 100})
    assert [(one.current_bytes, one.percent) for one in told] == [(80, 80), (20, 80), (90, 90)]


def test_nothing_is_known_without_an_estimate() -> None:
    told: list[FetchProgress] = []
    Transfer(1000, told.append).hook({"status": "downloading", "downloaded_bytes": 5})
    assert told[0].percent is None


@pytest.mark.parametrize("status", [{"downloaded_bytes": 1001}, {"total_bytes": 1001}])
def test_what_is_too_large_ends_the_fetch(status: dict[str, int]) -> None:
    transfer, told = followed()
    with pytest.raises(Stop) as caught:
        transfer.hook({"status": "downloading", **status})
    assert isinstance(caught.value.error, TooLargeError)
    assert told == []


def test_a_piece_too_large_for_memory_ends_the_fetch() -> None:
    transfer, _ = followed(max_bytes=100 * GIB)
    piece = {"status": "downloading", "fragment_count": 9}
    transfer.hook({**piece, "fragment_index": 1, "downloaded_bytes": GIB})
    transfer.hook({**piece, "fragment_index": 2, "downloaded_bytes": 2 * GIB})
    with pytest.raises(Stop) as caught:
        transfer.hook(
            {**piece, "fragment_index": 2, "downloaded_bytes": 2 * GIB + MAX_FRAGMENT_BYTES + 1}
        )
    assert isinstance(caught.value.error, UnsupportedError)


def test_whoever_is_told_may_stop_it() -> None:
    def cancel(_: FetchProgress) -> None:
        raise Cancelled

    with pytest.raises(Stop) as caught:
        Transfer(1000, cancel).hook({"status": "downloading", "downloaded_bytes": 5})
    assert isinstance(caught.value.error, Cancelled)
