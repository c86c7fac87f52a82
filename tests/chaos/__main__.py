"""`python -m tests.chaos`: faults in a running system, at random moments that a seed fixes.

    python -m tests.chaos --list
    python -m tests.chaos --seed 7 --fault "kill in recognition" --times 5
    python -m tests.chaos --times 25 --record rounds.jsonl --resume
    python -m tests.chaos --report rounds.jsonl
    python -m tests.chaos --mixed --seed 7

A failing run says with which seed and command it is run again. The seed fixes what is done and when
it is tried; what the machine makes of it is its own.
"""

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from tests.chaos.faults import Fault
from tests.chaos.kinds import FAULTS
from tests.chaos.record import Record, Round
from tests.chaos.rounds import Chaos, chaos

A_ROUND = 13
"""Injections in one round, at most; what runs at its end has to be waited for."""


def main() -> int:
    """Runs what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the faults, end")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="all if unsaid")
    parser.add_argument("--number", type=int, help="only faults of this kind, 1 to 10")
    parser.add_argument("--times", type=int, default=5, help="injections of each fault")
    parser.add_argument("--mixed", action="store_true", help="one round, the faults in turn")
    parser.add_argument("--record", type=Path, help="add a line of JSON for each round to a file")
    parser.add_argument("--resume", action="store_true", help="count what this commit has recorded")
    parser.add_argument("--report", type=Path, help="print such a file as a table, end")
    asked = parser.parse_args()
    if asked.resume and not asked.record:
        parser.error("--resume takes --record FILE")
    chosen = [
        fault
        for fault in sorted(FAULTS.values(), key=lambda fault: fault.number)
        if (not asked.fault or fault.name in asked.fault)
        and (asked.number is None or fault.number == asked.number)
    ]
    if asked.list:
        sys.stdout.writelines(f"{fault.number:>3}  {fault.name}\n" for fault in chosen)
        return 0
    if asked.report:
        sys.stdout.writelines(f"{line}\n" for line in Record(asked.report).table())
        return 0
    # Whoever ends a long run leaves no server and no mounted disk behind, in the background too.
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, signal.default_int_handler)
    record = Record(asked.record) if asked.record else None
    done = record.injected() if record and asked.resume else {}
    chosen = [fault for fault in chosen if asked.mixed or done.get(fault.name, 0) < asked.times]
    for place in dict.fromkeys(fault.place for fault in chosen):
        with chaos(place) as running:
            running.injected.update(done)
            here = [one for one in chosen if one.place is place and possible(running, one)]
            if asked.mixed:
                running.round(here, len(here), asked.seed)
            elif not all(run(running, one, asked.times, asked.seed, record) for one in here):
                return 1
    return 0


def possible(running: Chaos, fault: Fault) -> bool:
    """Whether a fault can be done on this machine; says why it can't."""
    why_not = fault.impossible(running.world)
    if why_not:
        sys.stdout.write(f"{fault.name}: left out: {why_not}\n")
    return not why_not


def run(running: Chaos, fault: Fault, times: int, seed: int, record: Record | None) -> bool:
    """Rounds until the fault was injected `times`; says how it went, and how to do it again."""
    while (done := running.injected.get(fault.name, 0)) < times:
        started, jobs, chosen = time.monotonic(), running.jobs, seed + done
        error = ""
        try:
            running.round([fault], min(A_ROUND, times - done), chosen)
        except AssertionError as failure:
            error = str(failure) or repr(failure)
        made = Round(
            kind=fault.name,
            number=fault.number,
            seed=chosen,
            injections=running.injected.get(fault.name, 0) - done,
            jobs=running.jobs - jobs,
            seconds=round(time.monotonic() - started),
            error=error,
        )
        if record:
            record.add(made)
        if error:
            sys.stdout.write(
                f"FAILED: {fault.name}: {error}\n{running.world.words()}\n"
                f"Again with: python -m tests.chaos --seed {chosen} --fault '{fault.name}'"
                f" --times {min(A_ROUND, times - done)}\n"
            )
            return False
        sys.stdout.write(
            f"{fault.name}: {made.injections} times among {made.jobs} jobs, all is well"
            f" ({made.seconds} s, seed {chosen})\n"
        )
        sys.stdout.flush()
    return True


if __name__ == "__main__":
    sys.exit(main())
