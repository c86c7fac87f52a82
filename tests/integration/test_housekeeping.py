"""What nobody needs any more goes, and nothing else does."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hearsight.stack.ports import free_port
from hearsight_core.contract import JobStatus
from hearsight_core.housekeeping import Housekeeper
from hearsight_core.progress import News
from hearsight_core.settings import CoreSettings
from hearsight_core.storage import PAGE_OBJECTS, ObjectStorage
from hearsight_core.store import control, outcomes, submission, work
from hearsight_core.store.database import Database
from hearsight_core.store.leadership import HOUSEKEEPER_LOCK, leading
from hearsight_core.store.work import Media
from tests.store import (
    EN,
    accepted,
    add_part,
    downloading,
    rows,
    states,
    transcribed,
    upload,
)

Keep = Callable[..., Housekeeper]
SOON_S = 20


@pytest.fixture
def housekeeper(database: Database, news: News, storage: ObjectStorage) -> Iterator[Keep]:
    """Makes housekeepers, for which an object is old at once."""
    made: list[Housekeeper] = []

    def make(*, objects: ObjectStorage = storage, age_s: float = -1) -> Housekeeper:
        made.append(
            Housekeeper(
                database=database,
                news=news,
                storage=objects,
                orphan_age_s=age_s,
                sweep_every_s=0,
            )
        )
        return made[-1]

    yield make
    for one in made:
        if one.alive():
            one.close()


def _keys(storage: ObjectStorage) -> set[str]:
    return {found.key for found in storage.list("")}


def _swept(one: Housekeeper) -> None:
    """Every page of a whole sweep."""
    for _page in range(5):
        one.sweep()


def test_a_deleted_job_goes_with_all_it_left(
    database: Database, housekeeper: Keep, storage: ObjectStorage, news: News
) -> None:
    download = downloading(database).task
    job_id = download.job_id
    for key in ("uploads/talk", f"jobs/{job_id}/parts/0", "uploads/another"):
        storage.put_bytes(key, b"x")
    media = Media(key="uploads/talk", filename="talk.mp4", size_bytes=1, media_type=None)
    work.set_media(database, download, media, "")
    one = housekeeper()
    control.mark_deleted(database, job_id, EN)
    one.remove_deleted()
    assert states(database, job_id) == ["running"], "its worker has not let go yet"
    outcomes.let_go(database, download, EN)
    one.remove_deleted()
    assert rows(database, "SELECT id FROM jobs") == []
    assert [found.key for found in storage.list("")] == ["uploads/another"]
    assert news.snapshot(job_id) is None


def test_a_job_whose_objects_can_not_be_removed_stays_until_they_can(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    job_id = accepted(database).job.id
    storage.put_bytes(f"jobs/{job_id}/media", b"x")
    control.mark_deleted(database, job_id, EN)
    away = ObjectStorage.from_settings(
        CoreSettings(
            storage_url="s3://bucket/prefix",
            storage_endpoint=f"http://127.0.0.1:{free_port()}",
            storage_access_key_id="key",
            storage_secret_access_key="key",  # noqa: S106  nobody is there to know it
        )
    )
    housekeeper(objects=away).remove_deleted()
    assert len(rows(database, "SELECT id FROM jobs")) == 1
    housekeeper().remove_deleted()
    assert rows(database, "SELECT id FROM jobs") == []
    assert [*storage.list("")] == []


def test_an_upload_that_was_never_accepted_is_swept_and_an_accepted_one_stays(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    for key in ("uploads/accepted", "uploads/never"):
        storage.put_bytes(key, b"x")
    submission.accept(database, upload("uploads/accepted"), EN)
    _swept(housekeeper())
    assert _keys(storage) == {"uploads/accepted"}


def test_what_a_fenced_attempt_left_is_swept_once_its_job_is_at_rest(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    download = downloading(database).task
    media, late = f"jobs/{download.job_id}/media/2", f"jobs/{download.job_id}/media/1"
    for key in (media, late):
        storage.put_bytes(key, b"x")
    pointer = Media(key=media, filename="talk.mp4", size_bytes=1, media_type=None)
    work.set_media(database, download, pointer, "")
    _swept(housekeeper())
    assert _keys(storage) == {media, late}, "a running task may be about to point at it"
    outcomes.let_go(database, download, EN)
    _swept(housekeeper())
    assert _keys(storage) == {media}


def test_parts_stay_until_their_job_is_completed(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    download = downloading(database).task
    task_id = add_part(database, download, 0)
    [part] = rows(database, "SELECT object_key FROM parts")
    key = str(part["object_key"])
    for stored in (key, f"jobs/{download.job_id}/parts/lost.flac"):
        storage.put_bytes(stored, b"x")
    work.finish_cut(database, download, 1000)
    outcomes.finish(database, download, EN)
    _swept(housekeeper())
    assert _keys(storage) == {key}
    assert transcribed(database, task_id).status is JobStatus.COMPLETED
    _swept(housekeeper())
    assert _keys(storage) == set()


def test_the_media_of_failed_and_cancelled_jobs_stays_for_another_try(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    storage.put_bytes("uploads/talk", b"x")
    made = submission.accept(database, upload("uploads/talk"), EN)
    control.cancel(database, made.job.id, EN)
    _swept(housekeeper())
    assert _keys(storage) == {"uploads/talk"}


def test_nothing_young_is_swept_and_nothing_of_others(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    accepted(database)
    for key in ("uploads/young", "jobs/7/media/young", "another/program"):
        storage.put_bytes(key, b"x")
    _swept(housekeeper(age_s=60))
    assert len(_keys(storage)) == 3
    _swept(housekeeper())
    assert _keys(storage) == {"another/program"}


def test_what_a_killed_upload_left_half_written_is_swept(
    housekeeper: Keep, storage: ObjectStorage, storage_url: str
) -> None:
    folder = Path(urlsplit(storage_url).path)
    storage.put_bytes("uploads/whole", b"x")
    for name in ("old#1", "young#12"):
        (folder / "uploads" / name).write_bytes(b"half")
    os.utime(folder / "uploads" / "old#1", (0, 0))
    _swept(housekeeper(age_s=60))
    left = {path.name for path in (folder / "uploads").iterdir()}
    assert left == {"whole", "young#12"}


def test_a_sweep_takes_a_page_a_step(
    housekeeper: Keep, storage: ObjectStorage, storage_url: str
) -> None:
    storage.put_bytes("uploads/first", b"x")
    folder = Path(urlsplit(storage_url).path) / "uploads"
    for number in range(PAGE_OBJECTS + 9):
        (folder / str(number)).write_bytes(b"")
    one = housekeeper()
    one.sweep()
    assert len(_keys(storage)) == 10
    one.sweep()
    assert _keys(storage) == set()


def test_one_keeps_house_at_a_time(
    database: Database, housekeeper: Keep, storage: ObjectStorage
) -> None:
    storage.put_bytes("uploads/never", b"x")
    one = housekeeper()
    with leading(database, HOUSEKEEPER_LOCK) as held:
        assert held is not None
        one.start()
        time.sleep(1.5)
        assert _keys(storage) == {"uploads/never"}
    deadline = time.monotonic() + SOON_S
    while _keys(storage):
        assert time.monotonic() < deadline
        time.sleep(0.05)
