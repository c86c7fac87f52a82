"""Poisonous input: recordings that end, hang or break whatever process works on them.

Each fault asks for one more job of that kind, which is sent among the others. It has to be given up
for its own reason, and all that shared its batches and processes has to come out as ever.
"""

import random
import struct
from pathlib import Path

from hearsight_core.contract import JobStatus
from tests.chaos.faults import fault
from tests.chaos.jobs import SHORT_S, Asking
from tests.chaos.places import Place
from tests.chaos.tones import Poison, poisoned
from tests.chaos.wanted import Wanted
from tests.chaos.world import World
from tests.speech import joined, write_wav

NUMBER = 9
ABSURD = "absurd.wav"
ABSURD_RATE_HZ = 2**31 - 1
"""To resample this takes a table of gigabytes."""
TIMES_POISON = (2.0, 6.0)


def _file(poison: Poison) -> str:
    return f"poison-{poison.name.lower()}.wav"


def make_poison(folder: Path) -> None:
    """The poisonous recordings of a round."""
    for poison in Poison:
        audio = joined(SHORT_S, seed=20 + poison % 7).audio
        write_wav(folder / _file(poison), poisoned(audio, poison))
    form = struct.pack("<HHIIHH", 1, 1, ABSURD_RATE_HZ, ABSURD_RATE_HZ, 2, 16)
    sound = bytes(20_000)
    riff = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    riff += b"data" + struct.pack("<I", len(sound)) + sound
    (folder / ABSURD).write_bytes(b"RIFF" + struct.pack("<I", len(riff)) + riff)


POISONED = Place(
    "an ASR worker that can be poisoned",
    asr_module="tests.chaos.poisoned_asr",
    media=make_poison,
    asr_memory_mib=1500,
    settings={
        # As few tries as in production: no innocent may use them up on the guilty's account.
        "HEARSIGHT_MAX_FAILURES": "3",
        "HEARSIGHT_ASR_BATCH_SIZE": "3",
        "HEARSIGHT_ASR_BATCH_TIMEOUT_S": "20",
    },
)


def _ask(world: World, name: str, code: str) -> None:
    """One more job, that has to fail with `code`."""
    failed = frozenset({JobStatus.FAILED})
    guest = Wanted(world.guest_id(), "poison", name, failed, codes=frozenset({code}))
    world.guests.append(guest)
    Asking(world, guest.job_id).submit(world.media.url(f"/plain/{name}"))


def _ends_processes(name: str, poison: Poison, code: str, exit_code: int) -> None:
    """A recording that ends each ASR worker that hears it with `exit_code`."""

    def ask(world: World, _: random.Random) -> None:
        _ask(world, _file(poison), code)

    def replaced(world: World) -> None:
        # Others may have ended the processes of its first tries; that of the last it had alone.
        ended = [code for worker in world.asrs for code in worker.codes]
        alone = [guest for guest in world.guests if guest.medium == _file(poison)]
        assert ended.count(exit_code) >= len(alone), (exit_code, ended)

    fault(NUMBER, name, pause_s=TIMES_POISON, place=POISONED, after=replaced)(ask)


_ends_processes("engine hangs", Poison.HANG, "asr.hung", 70)
_ends_processes("device fails for good", Poison.STICKY, "asr.device_failed", 71)
_ends_processes("engine aborts", Poison.ABORT, "worker.lost", -6)
_ends_processes("recording takes all memory", Poison.MEMORY, "worker.lost", -9)


@fault(NUMBER, "decoder needs too much memory", pause_s=TIMES_POISON, place=POISONED)
def _ask_for_absurd(world: World, _: random.Random) -> None:
    """The decoder's child ends at its limit, and nothing else does."""
    _ask(world, ABSURD, "media.corrupt")
