"""When a watchdog bites, and what it says before; that the process ends is in test_alone.py."""

import threading
from collections.abc import Iterator
from queue import Queue

import pytest
from structlog.testing import capture_logs

from hearsight_core.errors import EngineHungError, HearSightError
from hearsight_core.watchdog import Watchdog, stacks

LIMIT_S = 0.2


class Engine:
    """Says how long it has been busy."""

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.asked = threading.Event()

    def tell(self) -> float:
        """What a watchdog asks."""
        self.asked.set()
        return self.busy_s


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def ends() -> "Queue[HearSightError]":
    """How the process was ended."""
    return Queue()


@pytest.fixture
def watchdog(engine: Engine, ends: "Queue[HearSightError]") -> Iterator[Watchdog]:
    made = Watchdog(engine.tell, LIMIT_S)
    made.start(ends.put)
    yield made
    made.close()


def test_an_engine_that_comes_back_in_time_is_left_alone(
    engine: Engine, watchdog: Watchdog, ends: "Queue[HearSightError]"
) -> None:
    engine.busy_s = LIMIT_S
    for _ in range(3):
        engine.asked.clear()
        assert engine.asked.wait(30)
    assert watchdog.healthy() is None
    assert ends.empty()


def test_an_engine_that_does_not_come_back_ends_the_process_and_fails_the_probe(
    engine: Engine, watchdog: Watchdog, ends: "Queue[HearSightError]"
) -> None:
    with capture_logs() as lines:
        engine.busy_s = 7
        error = ends.get(timeout=30)
    assert isinstance(error, EngineHungError)
    assert "7 s" in str(error)
    assert watchdog.healthy() == "the engine has not come back for 7 s"
    [line] = [line for line in lines if line["log_level"] == "critical"]
    assert "MainThread" in line["threads"]


def test_the_stacks_name_every_thread_and_where_it_is() -> None:
    hold = threading.Event()
    thread = threading.Thread(target=hold.wait, name="somebody-who-waits")
    thread.start()
    try:
        assert "somebody-who-waits:" in stacks()
        assert "test_watchdog.py" in stacks()
    finally:
        hold.set()
        thread.join()
