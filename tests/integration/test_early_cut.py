"""What has arrived of a recording is cut while the rest is fetched, and never cut wrongly."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from hearsight_core.contract import JobStatus, RecognitionOptions, Stage
from hearsight_core.errors import LeaseLost
from hearsight_core.jobs import Job, Part
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import control, listing, recut, submission
from hearsight_core.store.database import Database
from hearsight_core.store.submission import Accepted
from hearsight_download_worker.early import AFTER_S
from tests.downloading import Downloading, download_workers
from tests.servers.media import MediaServer, ffmpeg, media_server
from tests.speech import joined, write_wav
from tests.store import EN, claimed, recognise, request, rows, states

LENGTH_S = 240
WAIT_S = 60
RETRIES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """talk.mp3 and other.mp3, which begin with the same minute; late.mp4, with its index last."""
    made = tmp_path_factory.mktemp("talks")
    talk, other = joined(LENGTH_S, seed=1).audio, joined(LENGTH_S, seed=2).audio.copy()
    other[: 60 * 16_000] = talk[: 60 * 16_000]
    for name, audio in (("talk", talk), ("other", other)):
        ffmpeg("-i", write_wav(made / f"{name}.wav", audio), "-b:a", "48k", made / f"{name}.mp3")
    ffmpeg("-i", made / "talk.wav", "-b:a", "48k", made / "late.mp4")
    ffmpeg("-i", made / "talk.wav", "-b:a", "48k", "-movflags", "+faststart", made / "first.m4a")
    return made


@pytest.fixture
def media(folder: Path) -> Iterator[MediaServer]:
    with media_server(folder) as server:
        yield server


@pytest.fixture
def settings(download_settings: DownloadSettings) -> DownloadSettings:
    return download_settings.model_copy(
        update={
            "retry_backoff_s": 0.01,
            "retry_backoff_max_s": 0.01,
            "max_failures": RETRIES,
        }
    )


@pytest.fixture
def downloads(
    settings: DownloadSettings, database: Database, news: News, storage: ObjectStorage
) -> Iterator[Downloading]:
    with download_workers(settings, database, news, storage) as made:
        yield made


Begin = Callable[..., "Begun"]


class Begun:
    """A job whose media is held back after most of it, and of which something is cut already."""

    def __init__(self, made: Accepted, running: "Future[object]", first: Part) -> None:
        self.made = made
        self.id = made.job.id
        self.running = running
        self.first = first
        """The first part."""


@pytest.fixture
def begin(database: Database, media: MediaServer, downloads: Downloading) -> Iterator[Begin]:
    """Begins a download, and waits for the first part of it."""
    with ThreadPoolExecutor(1) as pool:

        def begun(path: str, options: RecognitionOptions | None = None) -> Begun:
            made = submission.accept(database, request(media.url(path), options=options), EN)
            running = pool.submit(downloads.run, downloads.worker(), made.task_id, attempt=0)
            give_up = time.monotonic() + WAIT_S
            while not (found := recut.parts_of(database, made.job.id)):
                assert not running.done(), running.result()
                assert time.monotonic() < give_up
                time.sleep(0.02)
            assert listing.get(database, made.job.id).media_key is None
            return Begun(made, running, found[0])

        yield begun
        media.gate.set()


def in_order(database: Database, job_id: int) -> list[Part]:
    """The parts of the recording, which lie in their order, apart."""
    found = recut.parts_of(database, job_id)
    for before, after in pairwise(found):
        assert before.end_ms <= after.start_ms
    return found


def undisturbed(database: Database, media: MediaServer, downloads: Downloading, name: str) -> Job:
    """The job of a recording that was fetched at once."""
    made = submission.accept(database, request(media.url(f"/plain/{name}")), EN)
    assert downloads.run(downloads.worker(), made.task_id, attempt=0) == "done"
    return listing.get(database, made.job.id)


def test_a_part_is_there_before_the_last_byte_and_the_whole_is_cut(
    database: Database, media: MediaServer, downloads: Downloading, begin: Begin
) -> None:
    begun = begin("/gated/talk.mp3?then=go")
    assert listing.get(database, begun.id).stage is Stage.DOWNLOAD
    assert "waiting" in states(database, begun.id)[1:]
    media.gate.set()
    assert begun.running.result(WAIT_S) == "done"
    job, whole = (
        listing.get(database, begun.id),
        undisturbed(database, media, downloads, "talk.mp3"),
    )
    assert job.cut_done
    assert not job.truncated
    assert job.media_bytes == whole.media_bytes
    assert job.duration_ms is not None
    assert whole.duration_ms is not None
    assert abs(job.duration_ms - whole.duration_ms) < 30
    spoken = sum(part.speech_ms for part in in_order(database, whole.id))
    assert sum(part.speech_ms for part in in_order(database, job.id)) == pytest.approx(spoken, 0.01)
    assert recut.parts_of(database, job.id)[0] == begun.first


def recognise_first(database: Database, job_id: int) -> list[str]:
    """Recognises the first chunk of the first part; returns what is heard so far."""
    recognise(database, claimed(database, task_of(database, job_id, 0)), chunks=1)
    return texts(database, job_id)


def texts(database: Database, job_id: int) -> list[str]:
    return [stored.segment.text for stored in listing.transcript(database, job_id)]


def test_a_download_that_fails_keeps_what_was_recognised_and_a_retry_goes_on_from_there(
    database: Database, media: MediaServer, downloads: Downloading, begin: Begin
) -> None:
    begun = begin("/gated/talk.mp3?then=fail")
    before = recut.parts_of(database, begun.id)
    said = recognise_first(database, begun.id)
    assert said
    media.gate.set()
    assert begun.running.result(WAIT_S) == "network.http_5xx"
    for attempt in range(1, RETRIES):
        assert downloads.run(downloads.worker(), begun.made.task_id, attempt=attempt) != "done"
    failed = listing.get(database, begun.id)
    assert (failed.status, failed.error_code) == (JobStatus.FAILED, "network.http_5xx")
    assert texts(database, begun.id) == said

    media.gate.clear()
    control.retry(database, begun.id, EN)
    rows(
        database, "UPDATE jobs SET source_url = :url RETURNING 1", url=media.url("/plain/talk.mp3")
    )
    assert downloads.run(downloads.worker(), begun.made.task_id, attempt=RETRIES) == "done"
    after = in_order(database, begun.id)
    assert [part.object_key for part in after[: len(before)]] == [p.object_key for p in before]
    assert after[0].chunks_done == 1
    assert texts(database, begun.id) == said
    assert listing.get(database, begun.id).cut_done


@pytest.mark.parametrize("ranges", ["", "&whole=1"])
def test_a_transfer_that_broke_off_is_cut_once(
    database: Database, media: MediaServer, downloads: Downloading, begin: Begin, ranges: str
) -> None:
    """Taken up where it broke off, or sent anew: it is the same recording."""
    begun = begin(f"/gated/talk.mp3?then=break{ranges}")
    before = recut.parts_of(database, begun.id)
    media.gate.set()
    assert begun.running.result(WAIT_S) == "done"
    after = in_order(database, begun.id)
    assert after[: len(before)] == before
    whole = undisturbed(database, media, downloads, "talk.mp3")
    spoken = sum(part.speech_ms for part in in_order(database, whole.id))
    assert sum(part.speech_ms for part in after) == pytest.approx(spoken, 0.01)


def test_a_source_that_sends_another_recording_loses_what_is_not_of_it(
    database: Database, media: MediaServer, downloads: Downloading, begin: Begin
) -> None:
    begun = begin("/gated/talk.mp3?then=break&after=other.mp3&whole=1")
    deadline = time.monotonic() + WAIT_S
    while len(before := recut.parts_of(database, begun.id)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    said = recognise_first(database, begun.id)
    lost = claimed(database, task_of(database, begun.id, 1))
    recognise(database, lost, chunks=1)
    media.gate.set()
    assert begun.running.result(WAIT_S) == "done"

    after, other = (
        in_order(database, begun.id),
        undisturbed(database, media, downloads, "other.mp3"),
    )
    assert after[0].object_key == before[0].object_key
    assert after[0].chunks_done == 1
    assert after[1].audio_digest not in {part.audio_digest for part in before}
    assert texts(database, begun.id) == said
    spoken = sum(part.speech_ms for part in in_order(database, other.id))
    job = listing.get(database, begun.id)
    assert job.speech_ms == sum(part.speech_ms for part in after) == pytest.approx(spoken, 0.01)
    assert job.recognised_ms == sum(end - start for start, end in after[0].chunks[:1])
    with pytest.raises(LeaseLost):
        recognise(database, lost)


def task_of(database: Database, job_id: int, part_index: int) -> str:
    [row] = rows(
        database,
        "SELECT id FROM tasks WHERE job_id = :job AND part_index = :part",
        job=job_id,
        part=part_index,
    )
    return str(row["id"])


def test_a_drain_in_the_middle_keeps_the_parts_and_their_text(
    database: Database, media: MediaServer, downloads: Downloading, begin: Begin
) -> None:
    begun = begin("/gated/talk.mp3?then=go")
    before = recut.parts_of(database, begun.id)
    said = recognise_first(database, begun.id)
    downloads.made[0].drain()
    assert begun.running.result(WAIT_S) == "given_back"
    media.gate.set()
    assert downloads.run(downloads.worker(), begun.made.task_id, attempt=1) == "done"
    after = in_order(database, begun.id)
    assert [part.object_key for part in after[: len(before)]] == [p.object_key for p in before]
    assert texts(database, begun.id) == said


def test_a_recording_that_is_too_long_ends_its_download(
    database: Database,
    news: News,
    storage: ObjectStorage,
    media: MediaServer,
    settings: DownloadSettings,
) -> None:
    shorter = settings.model_copy(update={"max_duration_s": 120.0})
    path = media.url("/gated/first.m4a?then=go")
    made = submission.accept(database, request(path), EN)
    with download_workers(shorter, database, news, storage) as downloads:
        # The gate is closed: it ends without the rest of the file, or never.
        outcome = downloads.run(downloads.worker(), made.task_id, attempt=0)
    assert outcome == "media.too_long"
    assert recut.parts_of(database, made.job.id) == []


def test_a_stretch_that_has_arrived_is_cut_and_the_rest_is_fetched(
    database: Database, media: MediaServer, begin: Begin
) -> None:
    options = RecognitionOptions(from_ms=20_000, to_ms=100_000)
    begun = begin("/gated/talk.mp3?then=go", options)
    media.gate.set()
    assert begun.running.result(WAIT_S) == "done"
    job, found = listing.get(database, begun.id), in_order(database, begun.id)
    assert found[0].start_ms >= 20_000
    assert found[-1].end_ms <= 100_000
    assert job.duration_ms == pytest.approx(LENGTH_S * 1000, rel=0.05)
    assert not job.truncated


def test_a_stretch_that_was_cut_to_its_end_is_cut_anew_of_another_recording(
    database: Database, media: MediaServer, begin: Begin
) -> None:
    """Its cut has ended before the source turns out to send another recording."""
    options = RecognitionOptions(to_ms=100_000)
    begun = begin("/gated/talk.mp3?then=break&after=other.mp3&whole=1", options)
    deadline = time.monotonic() + WAIT_S
    while (before := recut.parts_of(database, begun.id))[-1].end_ms < 90_000:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(AFTER_S)
    media.gate.set()
    assert begun.running.result(WAIT_S) == "done"
    after = in_order(database, begun.id)
    assert after[0] == before[0]
    assert after[-1].audio_digest not in {part.audio_digest for part in before}
    assert 90_000 < after[-1].end_ms <= 100_000


def test_a_file_with_its_index_last_is_cut_when_it_is_whole(
    database: Database, media: MediaServer, downloads: Downloading
) -> None:
    made = submission.accept(database, request(media.url("/gated/late.mp4?then=go")), EN)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(downloads.run, downloads.worker(), made.task_id, attempt=0)
        # Well after an early cut would have begun.
        time.sleep(3 * AFTER_S)
        assert recut.parts_of(database, made.job.id) == []
        media.gate.set()
        assert running.result(WAIT_S) == "done"
    assert in_order(database, made.job.id)
