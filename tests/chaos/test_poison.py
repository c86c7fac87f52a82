"""A short choice of what poisonous recordings do; `python -m tests.chaos --number 9` has all."""

import os

import pytest

from tests.chaos.kinds import FAULTS
from tests.chaos.poison import POISONED
from tests.chaos.rounds import chaos

SEED = int(os.environ.get("CHAOS_SEED", "7"))
CHOSEN = ("device fails for good", "engine aborts")


@pytest.mark.timeout(900)
def test_a_recording_that_ends_its_worker_is_given_up_and_no_other_is() -> None:
    faults = [FAULTS[name] for name in CHOSEN]
    again = " ".join(f'--fault "{fault.name}"' for fault in faults)
    with chaos(POISONED) as running:
        try:
            running.round(faults, len(faults), SEED)
        except AssertionError as error:
            error.add_note(running.world.words())
            error.add_note(f"Again with: python -m tests.chaos --mixed --seed {SEED} {again}")
            raise
