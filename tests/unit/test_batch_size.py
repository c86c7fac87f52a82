"""A device's memory decides how large a batch may be, and may change its mind."""

from hearsight_asr_worker.batch_size import BatchSize


def fit(size: BatchSize, times: int) -> None:
    for _ in range(times):
        size.fitted(size.limit)


def test_what_did_not_fit_is_halved_until_it_does() -> None:
    size = BatchSize(8)
    size.too_large(4)
    size.too_large(2)
    assert size.limit == 2


def test_after_many_that_fitted_larger_ones_are_tried_up_to_the_most() -> None:
    size = BatchSize(12)
    size.too_large(6)
    size.too_large(3)
    fit(size, 49)
    assert size.limit == 3
    fit(size, 1)
    assert size.limit == 6
    fit(size, 500)
    assert size.limit == 12


def test_small_batches_show_nothing() -> None:
    size = BatchSize(8)
    size.too_large(4)
    for _ in range(500):
        size.fitted(3)
    assert size.limit == 4


def test_each_try_that_fails_makes_the_next_one_wait_longer() -> None:
    size = BatchSize(8)
    size.too_large(4)
    for tries in (50, 100, 200):
        fit(size, tries - 1)
        assert size.limit == 4
        fit(size, 1)
        assert size.limit == 8
        size.too_large(4)
