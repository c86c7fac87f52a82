"""Owners take turns, as real workers see it."""

import time
from pathlib import Path

from hearsight_core.contract import JobStatus
from hearsight_core.store.database import Database
from tests.servers.media import MediaServer
from tests.servers.stack import running_stack
from tests.store import fill, rows

MANY = 10_000
AHEAD = 8
"""Twice as many hints as are in flight for one worker of two slots: those that came first."""


def test_ten_thousand_jobs_of_one_owner_do_not_hold_up_another_s(
    tmp_path: Path, media: MediaServer
) -> None:
    with running_stack(tmp_path / "home", HEARSIGHT_DOWNLOAD_ALLOW_HOSTS=media.authority) as stack:
        database = Database(
            stack.state.environment["HEARSIGHT_DATABASE_URL"], pool_size=2, application="e2e"
        )
        fill(database, MANY, owners=["many"], url=media.url("/plain/silence.wav"))
        deadline = time.monotonic() + 60
        while not rows(database, "SELECT 1 FROM jobs WHERE status = 'completed' LIMIT 1"):
            assert time.monotonic() < deadline, stack.log.read_text()
            time.sleep(0.1)
        one = stack.submit(media.url("/plain/speech.mp3"))
        assert stack.outcome(one)["status"] == JobStatus.COMPLETED
        [passed] = rows(
            database,
            "SELECT count(*) AS count FROM jobs AS many, jobs AS one WHERE one.id = :one"
            " AND many.owner = 'many' AND many.started_at BETWEEN one.created_at AND"
            " one.started_at",
            one=one,
        )
        [waiting] = rows(
            database,
            "SELECT count(*) AS count FROM jobs WHERE owner = 'many' AND started_at IS NULL",
        )
        database.close()
    assert int(str(passed["count"])) <= AHEAD
    assert int(str(waiting["count"])) > MANY / 2
