"""A short choice of the faults that `python -m tests.chaos` injects: two rounds, one of each.

`CHAOS_SEED` chooses other moments; a failing test prints the command that repeats it.
"""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.kinds import FAULTS
from tests.chaos.rounds import Chaos, chaos

RUN_AT_LEAST = 12
"""Fewer than in the long run: it would take a third longer."""
SEED = int(os.environ.get("CHAOS_SEED", "7"))

CHOSEN = (
    "kill in recognition",
    "kill while writing segments",
    "kill a decoder child",
    "kill the dispatcher's owner",
    "take a hint and die",
    "end a worker, kill it in its grace",
    "kill between part and pointer",
)
STORES = (
    "Redis is out of memory",
    "kill Redis, its file is lost",
    "PostgreSQL fails over to another address",
    "a commit without an answer",
    "a worker's clock jumps an hour",
)
"""No process of HearSight may end at these: they are in a round of their own, which asks that."""


@pytest.fixture(scope="module")
def running() -> Iterator[Chaos]:
    with chaos() as up:
        yield up


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chosen", [CHOSEN, STORES], ids=["processes", "stores"])
def test_whatever_fails_every_accepted_job_ends_once_and_as_it_should(
    running: Chaos, chosen: tuple[str, ...]
) -> None:
    faults = [FAULTS[name] for name in chosen if not FAULTS[name].impossible(running.world)]
    again = " ".join(f'--fault "{fault.name}"' for fault in faults)
    try:
        running.round(faults, len(faults), SEED, at_least=RUN_AT_LEAST)
    except AssertionError as error:
        error.add_note(running.world.words())
        error.add_note(f"Again with: python -m tests.chaos --mixed --seed {SEED} {again}")
        raise
