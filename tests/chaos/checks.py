"""What has to be so after every fault, read from the database and the object store alone."""

from dataclasses import dataclass

from hearsight_core.contract import TERMINAL, JobStatus
from tests.chaos.processes import until
from tests.chaos.wanted import Wanted
from tests.chaos.watching import Watcher
from tests.chaos.world import World
from tests.speech import word_error_rate

SAME_WORDS = 0.01
SETTLE_S = 1200.0
"""Until all has ended. A dozen recordings that hang take three processes each, and 20 s of each."""
SWEPT_S = 90.0


@dataclass(frozen=True)
class Undisturbed:
    """What a recording gives when nothing happens: the text, and where each segment belongs."""

    text: str
    places: list[tuple[int, int, int]]


def recognised(world: World, job_id: int) -> Undisturbed:
    """What is stored of a job."""
    found = world.rows(
        "SELECT part_index, chunk_index, position, text FROM segments WHERE job_id = :id"
        " ORDER BY part_index, chunk_index, position",
        id=job_id,
    )
    return Undisturbed(
        text=" ".join(str(row["text"]).strip() for row in found),
        places=[
            (int(str(row["part_index"])), int(str(row["chunk_index"])), int(str(row["position"])))
            for row in found
        ],
    )


def _open(world: World, jobs: list[Wanted]) -> list[dict[str, object]]:
    return world.rows(
        "SELECT id, status, stage, message FROM jobs"
        " WHERE id = ANY(:ids) AND NOT status = ANY(:ended)",
        ids=[job.job_id for job in jobs],
        ended=[status.value for status in TERMINAL],
    )


def all_ended(world: World, jobs: list[Wanted]) -> None:
    """Every accepted job is terminal, as it should be, and nothing of it is waiting or running."""
    until(
        lambda: not _open(world, jobs),
        SETTLE_S,
        lambda: f"these have not ended: {_open(world, jobs)}; their tasks: {_tasks(world)}",
    )
    status = {
        int(str(row["id"])): row
        for row in world.rows("SELECT id, status, error_code, error FROM jobs")
    }
    for job in jobs:
        found = status[job.job_id]
        assert JobStatus(str(found["status"])) in job.may_be, (
            job,
            found,
            _tasks(world, job.job_id),
        )
        assert not job.codes or found["error_code"] in job.codes, (job, found)
    until(lambda: not _busy(world), SETTLE_S, lambda: f"still in work: {_busy(world)}")


def _busy(world: World) -> list[dict[str, object]]:
    """Tasks that wait or run though their jobs have ended; leases of the dead among them."""
    return world.rows(
        "SELECT tasks.* FROM tasks JOIN jobs ON jobs.id = job_id"
        " WHERE state IN ('waiting', 'running') AND status = ANY(:ended)",
        ended=[status.value for status in TERMINAL],
    )


def _tasks(world: World, job_id: int | None = None) -> list[dict[str, object]]:
    return world.rows(
        "SELECT job_id, kind, part_index, state, attempt, failures, owner, lease_until, ready_at,"
        " hinted_at, error_code, error, now() FROM tasks WHERE state <> 'done'"
        " AND (job_id = :id OR CAST(:id AS bigint) IS NULL)",
        id=job_id,
    )


def one_result(world: World, jobs: list[Wanted], undisturbed: dict[str, Undisturbed]) -> None:
    """Each completed job has one whole result, the same as if nothing had happened."""
    for job in jobs:
        [row] = world.rows(
            "SELECT status, cut_done, speech_ms, recognised_ms,"
            " (SELECT count(*) FROM parts WHERE job_id = jobs.id"
            "  AND chunks_done < jsonb_array_length(chunks)) AS open_parts,"
            " (SELECT count(*) FROM tasks WHERE job_id = jobs.id"
            "  AND state <> 'done') AS open_tasks,"
            " (SELECT count(*) FROM tasks WHERE job_id = jobs.id"
            "  AND (failures > :cap OR store_failures > :store_cap)) AS beyond"
            " FROM jobs WHERE id = :id",
            id=job.job_id,
            cap=int(world.environment["HEARSIGHT_MAX_FAILURES"]),
            store_cap=int(world.environment["HEARSIGHT_MAX_STORE_FAILURES"]),
        )
        assert row["beyond"] == 0, (job, _tasks(world, job.job_id))
        if row["status"] != JobStatus.COMPLETED:
            continue
        assert row["cut_done"], job
        assert row["open_parts"] == row["open_tasks"] == 0, (job, row)
        assert row["recognised_ms"] == row["speech_ms"], (job, row)
        found, expected = recognised(world, job.job_id), undisturbed[job.medium]
        assert found.places == expected.places, (job, found, expected)
        rate = word_error_rate(expected.text, found.text)
        assert rate <= SAME_WORDS, (job, rate, found.text, expected.text)


def no_orphans(world: World) -> None:
    """Once swept, the object store holds what jobs point at, and nothing else."""
    until(lambda: not _orphans(world), SWEPT_S, lambda: f"orphans: {_orphans(world)}")


def _orphans(world: World) -> set[str]:
    needed = world.rows(
        "SELECT media_key AS key FROM jobs"
        " UNION SELECT object_key FROM parts JOIN jobs ON jobs.id = job_id"
        " WHERE status <> 'completed'",
    )
    stored = {found.key for found in world.storage.list("")}
    half_written = {str(path) for path in (world.home / "media").rglob("*#*")}
    return (stored - {str(row["key"]) for row in needed}) | half_written


def nothing_missed(world: World, watchers: list[Watcher]) -> None:
    """Who watched and came back after every cut saw each segment once, in order, to the end."""
    for watcher in watchers:
        assert watcher.ended, f"job {watcher.job_id}: the watcher never saw the end"
        stored = [
            int(str(row["seq"]))
            for row in world.rows(
                "SELECT seq FROM segments WHERE job_id = :id ORDER BY seq",
                id=watcher.job_id,
            )
        ]
        assert watcher.segments == stored, (watcher.job_id, watcher.connections)
        assert watcher.ids == sorted(watcher.ids), watcher.job_id


def none_ended(world: World, starts: list[int]) -> None:
    """Each process of HearSight is the one it was: a store that fails is no reason to end."""
    ended = {
        process.name: process.codes
        for process, before in zip(world.services, starts, strict=True)
        if process.starts != before
    }
    assert not ended, f"processes that ended, and with which codes: {ended}"
