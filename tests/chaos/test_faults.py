"""A short choice of the faults that `python -m tests.chaos` injects: one round, one of each.

`CHAOS_SEED` chooses other moments; a failing test prints the command that repeats it.
"""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.kinds import FAULTS
from tests.chaos.rounds import Chaos, chaos

SEED = int(os.environ.get("CHAOS_SEED", "7"))

CHOSEN = (
    "kill in recognition",
    "kill while writing segments",
    "kill a decoder child",
    "kill the dispatcher's owner",
    "take a hint and die",
    "end a worker, kill it in its grace",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Chaos]:
    with chaos() as up:
        yield up


@pytest.mark.timeout(600)
def test_whatever_dies_every_accepted_job_ends_once_and_as_it_should(running: Chaos) -> None:
    faults = [FAULTS[name] for name in CHOSEN]
    again = " ".join(f'--fault "{fault.name}"' for fault in faults)
    try:
        running.round(faults, len(faults), SEED)
    except AssertionError as error:
        error.add_note(running.world.words())
        error.add_note(f"Again with: python -m tests.chaos --mixed --seed {SEED} {again}")
        raise
