"""How batches are filled from all callers, halved, failed and ended; the device is a function."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pytest
import structlog
from structlog.testing import capture_logs

from hearsight_asr_worker.batching import BatchDone, Batcher
from hearsight_asr_worker.stopwatch import Stopwatch
from hearsight_core.errors import DeviceFailedError, OutOfMemoryError, RecognitionError

Run = Callable[[str, Sequence[int]], Sequence[int]]


class Device:
    """Doubles numbers, keeps the batches it was given, and can be held shut."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.busy = threading.Semaphore(0)
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        """From now on batches stay in work until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Lets all batches through."""
        self._open.set()

    def run(self, key: str, items: Sequence[int]) -> list[int]:
        """What a batcher calls."""
        self.batches.append((key, list(items)))
        self.busy.release()
        assert self._open.wait(30)
        return [2 * item for item in items]


def submit(batcher: Batcher[str, int, int], key: str, items: Sequence[int]) -> list[Future[int]]:
    return batcher.submit([(key, item) for item in items])


Make = Callable[..., Batcher[str, int, int]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Batcher[str, int, int]] = []

    def batcher(run: Run, *, streams: int = 1, batch_size: int = 8) -> Batcher[str, int, int]:
        made.append(Batcher(run, streams=streams, batch_size=batch_size))
        return made[-1]

    yield batcher
    for one in made:
        one.close()


@pytest.fixture
def device() -> Iterator[Device]:
    one = Device()
    yield one
    one.release()


def test_a_single_item_starts_at_once(make: Make, device: Device) -> None:
    assert [future.result(30) for future in submit(make(device.run), "en", [21])] == [42]


def test_items_of_several_callers_share_a_batch(make: Make, device: Device) -> None:
    batcher = make(device.run)
    device.hold()
    first = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    second, third = submit(batcher, "en", [1, 2]), submit(batcher, "en", [3])
    device.release()
    assert [future.result(30) for future in first + second + third] == [0, 2, 4, 6]
    assert device.batches == [("en", [0]), ("en", [1, 2, 3])]


def test_only_equal_requests_share_a_batch_and_the_oldest_goes_first(
    make: Make, device: Device
) -> None:
    batcher = make(device.run)
    device.hold()
    futures = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    futures += submit(batcher, "fr", [1])
    futures += submit(batcher, "en", [2])
    futures += submit(batcher, "fr", [3])
    device.release()
    assert [future.result(30) for future in futures] == [0, 2, 4, 6]
    assert device.batches == [("en", [0]), ("fr", [1, 3]), ("en", [2])]


def test_what_has_a_head_start_enters_the_next_batch_and_nothing_waits_longer_than_that(
    make: Make, device: Device
) -> None:
    batcher = make(device.run, batch_size=2)
    device.hold()
    futures = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    futures += submit(batcher, "en", [1, 2, 3])
    futures += batcher.submit([("en", 4)], head_start_s=600)
    futures += batcher.submit([("en", 5)], head_start_s=-600)
    futures += submit(batcher, "en", [6])
    device.release()
    assert [future.result(30) for future in futures] == [0, 2, 4, 6, 8, 10, 12]
    assert [items for _, items in device.batches] == [[0], [4, 1], [2, 3], [6, 5]]


def test_few_items_are_shared_evenly_among_idle_streams(make: Make, device: Device) -> None:
    batcher = make(device.run, streams=2)
    # Both streams have worked once and wait again before the items come.
    device.hold()
    warm = submit(batcher, "en", [0, 0])
    assert device.busy.acquire(timeout=30)
    assert device.busy.acquire(timeout=30)
    device.release()
    assert [future.result(30) for future in warm] == [0, 0]
    device.hold()
    futures = submit(batcher, "en", list(range(12)))
    assert device.busy.acquire(timeout=30)
    assert device.busy.acquire(timeout=30)
    device.release()
    assert [future.result(30) for future in futures] == [2 * item for item in range(12)]
    assert sorted(len(items) for _, items in device.batches[2:]) == [6, 6]


def test_a_stream_at_work_has_its_share_of_what_came_since_and_no_more(make: Make) -> None:
    began: queue.Queue[list[int]] = queue.Queue()
    ends = {item: threading.Event() for item in range(10)}

    def run(_: str, items: Sequence[int]) -> list[int]:
        began.put(list(items))
        assert ends[items[0]].wait(30)
        return [2 * item for item in items]

    batcher = make(run, streams=2)
    futures = submit(batcher, "en", [0, 1])
    assert sorted([began.get(timeout=30), began.get(timeout=30)]) == [[0], [1]]
    futures += submit(batcher, "en", [2, 3])
    futures += submit(batcher, "en", [4, 5])
    ends[0].set()
    assert began.get(timeout=30) == [2, 3], "the other stream will soon be idle"
    ends[1].set()
    assert began.get(timeout=30) == [4, 5], "that one has had its share"
    ends[4].set()
    futures += submit(batcher, "en", [6, 7, 8, 9])
    assert began.get(timeout=30) == [6, 7]
    ends[6].set()
    assert began.get(timeout=30) == [8], "of what came since"
    for end in ends.values():
        end.set()
    assert [future.result(30) for future in futures] == [2 * item for item in range(10)]


def test_no_batch_is_larger_than_asked_for(make: Make, device: Device) -> None:
    batcher = make(device.run, batch_size=4)
    futures = submit(batcher, "en", list(range(10)))
    assert [future.result(30) for future in futures] == [2 * item for item in range(10)]
    assert max(len(items) for _, items in device.batches) == 4


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(make: Make) -> None:
    sizes: list[int] = []

    def tight(_: str, items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 3:
            raise RuntimeError("CUDA failed with error out of memory")
        return [2 * item for item in items]

    batcher = make(tight)
    first = submit(batcher, "en", list(range(8)))
    assert [future.result(30) for future in first] == [2 * item for item in range(8)]
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    second = submit(batcher, "en", list(range(8)))
    assert [future.result(30) for future in second] == [2 * item for item in range(8)]
    assert max(sizes[7:]) == 2  # what failed once is not tried again


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("mkl_malloc: failed to allocate memory"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_an_item_that_does_not_fit_alone_is_out_of_memory(make: Make, error: Exception) -> None:
    def full(_: str, __: Sequence[int]) -> list[int]:
        raise error

    for future in submit(make(full), "en", [1, 2, 3]):
        with pytest.raises(OutOfMemoryError):
            future.result(30)


def test_what_can_not_be_done_fails_alone_and_all_that_shared_its_batch_is_done(
    make: Make, device: Device
) -> None:
    def picky(key: str, items: Sequence[int]) -> list[int]:
        done = device.run(key, items)
        if 13 in items:
            raise ValueError("unlucky")
        return done

    batcher = make(picky)
    device.hold()
    first = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    futures = submit(batcher, "en", [10, 11, 12, 13, 14])
    device.release()
    assert first[0].result(30) == 0
    assert isinstance(futures[3].exception(30), RecognitionError)
    others = [future.result(30) for future in (*futures[:3], futures[4])]
    assert others == [20, 22, 24, 28]
    # The device had room for all of them: later batches are as large as before.
    device.hold()
    first = submit(batcher, "en", [0])
    again = submit(batcher, "en", list(range(20, 28)))
    device.release()
    assert [future.result(30) for future in [*first, *again]] == [0, *range(40, 56, 2)]
    assert max(len(items) for _, items in device.batches[-2:]) == 8


def test_the_time_of_the_oldest_batch_is_told_while_it_is_in_work(device: Device) -> None:
    stopwatch = Stopwatch()
    batcher = Batcher(device.run, streams=1, batch_size=8, stopwatch=stopwatch)
    try:
        assert stopwatch.longest_s() == 0
        device.hold()
        [running] = submit(batcher, "en", [1])
        assert device.busy.acquire(timeout=30)
        assert stopwatch.longest_s() > 0
        device.release()
        assert running.result(30) == 2
    finally:
        batcher.close()
    assert stopwatch.longest_s() == 0


def test_a_failure_reaches_every_caller_of_the_batch_as_an_error_of_its_own(make: Make) -> None:
    def broken(_: str, __: Sequence[int]) -> list[int]:
        raise ValueError("no such token")

    futures = submit(make(broken), "en", [1, 2])
    errors = [future.exception(30) for future in futures]
    assert errors[0] is not errors[1]
    for error in errors:
        assert type(error) is RecognitionError
        assert error.detail == "no such token"
        assert isinstance(error.__cause__, ValueError)


def test_a_failed_batch_does_not_end_the_stream(make: Make) -> None:
    def picky(_: str, items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]

    batcher = make(picky)
    assert isinstance(submit(batcher, "en", [13])[0].exception(30), RecognitionError)
    assert submit(batcher, "en", [1])[0].result(30) == 2


def test_too_few_results_are_a_failure(make: Make) -> None:
    def short(_: str, __: Sequence[int]) -> list[int]:
        return []

    for future in submit(make(short), "en", [1, 2]):
        assert isinstance(future.exception(30), RecognitionError)


def test_a_lost_device_fails_all_that_waits_and_all_that_comes(make: Make) -> None:
    arrived, broken = threading.Event(), threading.Event()

    def dying(_: str, __: Sequence[int]) -> list[int]:
        arrived.set()
        assert broken.wait(30)
        raise RuntimeError("CUDA failed with error an illegal memory access was encountered")

    batcher = make(dying)
    futures = submit(batcher, "en", [1])
    assert arrived.wait(30)
    futures += submit(batcher, "fr", [2])
    broken.set()
    assert all(isinstance(future.exception(30), DeviceFailedError) for future in futures)
    assert isinstance(submit(batcher, "en", [3])[0].exception(30), DeviceFailedError)


def test_a_cancelled_item_never_reaches_the_device(make: Make, device: Device) -> None:
    batcher = make(device.run)
    device.hold()
    running = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    waiting = submit(batcher, "en", [1, 2, 3])
    assert waiting[1].cancel()
    device.release()
    assert [running[0].result(30), waiting[0].result(30), waiting[2].result(30)] == [0, 2, 6]
    assert device.batches == [("en", [0]), ("en", [1, 3])]
    with pytest.raises(CancelledError):
        waiting[1].result()


def test_groups_are_withdrawn_behind_the_last_one_that_the_device_has_begun(
    make: Make, device: Device
) -> None:
    batcher = make(device.run, batch_size=3)
    device.hold()
    # By key, not in order: the batch takes of the first group, the second and the third.
    keys = ["en", "fr", "en", "fr", "en", "fr", "fr", "fr", "en"]
    futures = batcher.submit([(key, number) for number, key in enumerate(keys)])
    groups = [futures[0:2], futures[2:4], futures[4:6], [], futures[6:8], futures[8:]]
    assert device.busy.acquire(timeout=30)
    assert batcher.withdraw(groups) == 3
    assert [future.cancelled() for future in futures] == [False] * 6 + [True] * 3
    assert batcher.withdraw(groups[:3]) == 3
    device.release()
    assert [future.result(30) for future in futures[:6]] == [2 * number for number in range(6)]
    assert device.batches == [("en", [0, 2, 4]), ("fr", [1, 3, 5])]


def test_nothing_stays_of_groups_that_wait(make: Make, device: Device) -> None:
    batcher = make(device.run)
    device.hold()
    others = submit(batcher, "en", [0])
    assert device.busy.acquire(timeout=30)
    waiting = submit(batcher, "en", [1, 2])
    assert batcher.withdraw([[one] for one in waiting]) == 0
    assert batcher.withdraw([]) == 0
    device.release()
    assert others[0].result(30) == 0
    assert submit(batcher, "en", [3])[0].result(30) == 6
    assert device.batches == [("en", [0]), ("en", [3])]


def test_what_is_done_is_never_withdrawn(make: Make, device: Device) -> None:
    batcher = make(device.run)
    done = submit(batcher, "en", [1])
    assert done[0].result(30) == 2
    assert batcher.withdraw([done]) == 1
    assert done[0].result() == 2


def test_closing_fails_what_waits_and_finishes_what_runs(make: Make, device: Device) -> None:
    batcher = make(device.run)
    device.hold()
    running = submit(batcher, "en", [4])
    assert device.busy.acquire(timeout=30)
    waiting = submit(batcher, "en", [5])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert isinstance(waiting[0].exception(30), RecognitionError)
    device.release()
    closing.join(30)
    assert running[0].result(30) == 8
    assert isinstance(submit(batcher, "en", [6])[0].exception(30), RecognitionError)


def test_every_batch_done_is_told_with_its_size() -> None:
    told: list[BatchDone] = []
    batcher = Batcher[str, int, int](
        lambda _, items: items, streams=1, batch_size=4, observe=told.append
    )
    assert [future.result(30) for future in submit(batcher, "en", [1, 2, 3])] == [1, 2, 3]
    batcher.close()
    assert [one.size for one in told] == [3]
    assert told[0].duration_s >= 0


def test_a_line_about_a_batch_names_the_tasks_in_it(make: Make) -> None:
    def fail(_: str, __: Sequence[int]) -> Sequence[int]:
        raise ValueError("the engine's own word")

    batcher = make(fail)
    one, other = (
        {"job_id": n, "task_id": f"t{n}", "attempt": 1, "trace_id": f"{n}"} for n in (1, 2)
    )
    with capture_logs() as lines:
        with structlog.contextvars.bound_contextvars(**one):
            alone = submit(batcher, "key", [1, 2])
        assert all(future.exception(30) for future in alone)
    assert [line["batch_size"] for line in lines] == [1, 1, 1]
    assert all(one.items() <= line.items() for line in lines)
    device = Device()
    device.hold()

    def hold_then_fail(key: str, items: Sequence[int]) -> Sequence[int]:
        device.run(key, items)
        raise ValueError

    batcher = make(hold_then_fail)
    first = submit(batcher, "another", [0])
    assert device.busy.acquire(timeout=30)
    futures: list[Future[int]] = []
    for said in (one, other):
        with structlog.contextvars.bound_contextvars(**said):
            futures += submit(batcher, "key", [1])
    with capture_logs() as lines:
        device.release()
        assert all(future.exception(30) for future in [*first, *futures])
    [halved] = [line for line in lines if line["event"] == "asr_batch_halved"]
    assert (halved["task_ids"], halved["job_ids"]) == (["t1", "t2"], [1, 2])
    assert halved["trace_ids"] == ["1", "2"]
