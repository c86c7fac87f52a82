"""Which chunks of a recording tell its language."""

import numpy as np
import pytest

from hearsight_asr_worker.engine import Chunk, places


def chunks(count: int, *, silent: frozenset[int] = frozenset()) -> list[Chunk]:
    return [
        Chunk(np.full(160, 0 if number in silent else 1_000, np.int16), number)
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(0, []), (1, [0]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 4]), (100, [0, 33, 66, 99])],
)
def test_they_are_spread_over_all_of_it(count: int, chosen: list[int]) -> None:
    assert [chunk.start_ms for chunk in places(chunks(count))] == chosen


def test_silence_tells_nothing() -> None:
    found = places(chunks(6, silent=frozenset({0, 1, 5})))
    assert [chunk.start_ms for chunk in found] == [2, 3, 4]
