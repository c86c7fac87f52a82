"""How soon the work of a dead worker goes on, and how much of it is done twice.

`python -m tests.chaos.recovery --kills 100` kills busy workers with the settings as they come and
prints the table in docs/reliability.md.
"""

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hearsight_core.contract import TERMINAL, JobStatus
from tests.chaos import world
from tests.chaos.faults import process_of
from tests.chaos.jobs import Asking, status_of
from tests.chaos.places import Place
from tests.chaos.processes import Process, until
from tests.chaos.world import World
from tests.servers.media import media_server
from tests.speech import joined, write_wav

TOLD = Place("an engine that is told", asr_module="tests.chaos.told_asr")
RECORDING = "five-minutes.wav"
RECORDING_S = 300.0
BYTES_A_SECOND = 3_000_000
"""How fast recordings are downloaded: slowly enough to be killed at it."""
PACE = 0.15
"""Seconds of work for a second of audio: killed workers are in the middle of it."""
LOOK_S = 0.01
PATIENCE_S = 300.0


@dataclass
class Measured:
    """What was seen: seconds from a kill to the next attempt at a task of the killed worker."""

    resumed_s: dict[str, list[float]] = field(
        default_factory=lambda: {"download": [], "transcribe": []}
    )
    kills: int = 0
    audio_ms: int = 0
    twice_ms: int = 0


@dataclass(frozen=True)
class _Held:
    task_id: str
    kind: str
    attempt: int


def main() -> int:
    """Kills, measures, prints; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    measured = measure(asked.kills, asked.seed)
    for line in table(measured):
        sys.stdout.write(f"{line}\n")
    return 0


def measure(kills: int, seed: int) -> Measured:
    """Kills `kills` busy workers one after the other, each when its like are well again."""
    chance = random.Random(seed)  # noqa: S311  a test's chance, nothing secret
    measured = Measured()
    with TemporaryDirectory(prefix="hearsight-recovery-") as folder:
        home = Path(folder)
        served, heard = home / "served", home / "heard"
        served.mkdir()
        heard.touch()
        write_wav(served / RECORDING, joined(RECORDING_S, seed=5).audio)
        settings = {
            "CELERY_WORKER_CONCURRENCY": "3",
            "CHAOS_PACE": str(PACE),
            "CHAOS_HEARD": str(heard),
            # Only so that no job is given up: the same one is hit many times here.
            "HEARSIGHT_MAX_FAILURES": "1000",
        }
        with (
            media_server(served) as media,
            world.running(home, media, place=TOLD, settings=settings) as up,
        ):
            jobs = [0]
            while measured.kills < kills:
                _keep_busy(up, jobs)
                _kill(up, chance, measured)
            asked_for = range(1, jobs[0] + 1)
            until(
                lambda: all(status_of(up, job_id) in TERMINAL for job_id in asked_for),
                PATIENCE_S,
                up.words,
            )
            assert {status_of(up, job_id) for job_id in asked_for} == {JobStatus.COMPLETED}
            [stored] = up.rows("SELECT sum(recognised_ms) AS ms FROM jobs")
            measured.audio_ms = int(str(stored["ms"]))
        measured.twice_ms = sum(map(int, heard.read_text("ascii").split())) - measured.audio_ms
    return measured


def _keep_busy(up: World, jobs: list[int]) -> None:
    """Asks for another job when the last but one has ended."""
    open_jobs = [n for n in range(1, jobs[0] + 1) if status_of(up, n) not in TERMINAL]
    if len(open_jobs) < 2:
        jobs[0] += 1
        Asking(up, jobs[0]).submit(up.media.url(f"/slow/{RECORDING}?rate={BYTES_A_SECOND}"))


def _kill(up: World, chance: random.Random, measured: Measured) -> None:
    """Kills a busy worker, of each kind by turns, once its like are well; waits for its tasks."""
    like = (up.downloads, up.asrs)[measured.kills % 2]
    found = [process for process in _busy(up) if process in like]
    if not found:
        time.sleep(LOOK_S)
        return
    victim = chance.choice(found)
    for process in like:
        process.await_ready()
    time.sleep(chance.uniform(0, 1))
    held = _busy(up).get(victim)
    if not held:
        return
    victim.kill()
    measured.kills += 1
    _await_resumption(up, {task.task_id: task for task in held}, measured)


def _busy(up: World) -> dict[Process, list[_Held]]:
    found: dict[Process, list[_Held]] = {}
    for row in up.rows("SELECT id, kind, attempt, owner FROM tasks WHERE state = 'running'"):
        process = process_of(up, row["owner"])
        if process is not None:
            task = _Held(str(row["id"]), str(row["kind"]), int(str(row["attempt"])))
            found.setdefault(process, []).append(task)
    return found


def _await_resumption(up: World, held: dict[str, _Held], measured: Measured) -> None:
    """Notes when each task of the worker killed now runs again, unless it was done by then."""
    killed = time.monotonic()
    taken_back: dict[str, float] = {}
    while held:
        for row in up.rows(
            "SELECT id, state, attempt FROM tasks WHERE id = ANY(CAST(:ids AS uuid[]))",
            ids=list(held),
        ):
            since, task = time.monotonic() - killed, held[str(row["id"])]
            if row["state"] == "waiting":
                taken_back.setdefault(task.task_id, since)
            elif row["state"] == "done":
                del held[task.task_id]
            elif int(str(row["attempt"])) > task.attempt:
                del held[task.task_id]
                measured.resumed_s[task.kind].append(since)
                sys.stderr.write(
                    f"{measured.kills}: {task.kind} taken back after"
                    f" {taken_back.get(task.task_id, since):.2f} s, resumed after {since:.2f} s\n"
                )
        assert time.monotonic() - killed < PATIENCE_S, f"{held} never resumed:\n{up.words()}"
        time.sleep(LOOK_S)


def table(measured: Measured) -> list[str]:
    """The result as rows of Markdown."""
    lines = ["| Killed while | Tasks | Median | 99 of 100 | Longest |", "|---|---|---|---|---|"]
    for kind, seconds in measured.resumed_s.items():
        if seconds:
            ranked = sorted(seconds)
            lines.append(
                f"| {kind} | {len(ranked)} | {_rank(ranked, 0.5):.1f} s |"
                f" {_rank(ranked, 0.99):.1f} s | {ranked[-1]:.1f} s |"
            )
    twice_s = measured.twice_ms / 1000
    lines.append(
        f"\n{measured.kills} kills; {measured.audio_ms / 1000:.0f} s of speech,"
        f" {twice_s:.0f} s of it begun again: {twice_s / measured.kills:.1f} s a kill."
    )
    return lines


def _rank(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))]


if __name__ == "__main__":
    sys.exit(main())
