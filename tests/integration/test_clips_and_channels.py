"""What a job asks for is cut: a stretch of its recording, each channel by itself."""

import io
import uuid
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hearsight_core.contract import RecognitionOptions
from hearsight_core.jobs import Job, Part
from hearsight_core.progress import News
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import ObjectStorage
from hearsight_core.store import listing, recut, submission, work
from hearsight_core.store.database import Database
from hearsight_core.store.submission import Submission, Upload
from tests.downloading import download_workers
from tests.speech import joined, silence
from tests.store import EN, a_part, claimed, downloading, rows, said

Cut = Callable[..., "Outcome"]


class Counting(ObjectStorage):
    """The real store; it tells how many parts it was given."""

    given = 0
    after_part: Callable[[int], object] = staticmethod(lambda _: None)

    def put_bytes(self, key: str, content: bytes) -> None:
        """Stores it, and says so."""
        super().put_bytes(key, content)
        if key.startswith("jobs/"):
            self.given += 1
            self.after_part(self.given)


class Outcome:
    """What became of a job's cut."""

    def __init__(self, database: Database, job_id: int) -> None:
        self.job: Job = listing.get(database, job_id)
        self.parts: list[Part] = recut.parts_of(database, job_id)


def recorded(*sides: NDArray[np.int16]) -> bytes:
    """A WAV file with these channels."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(len(sides))
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.stack(sides, axis=1).astype("<i2").tobytes())
    return content.getvalue()


@pytest.fixture
def settings(storage_url: str, broker_url: str, redis_url: str, tmp_path: Path) -> DownloadSettings:
    return DownloadSettings(
        broker_url=broker_url,
        redis_url=redis_url,
        storage_url=storage_url,
        scratch_dir=tmp_path / "scratch",
        part_target_s=30,
        part_shortest_s=30,
        heartbeat_s=0.1,
    )


@pytest.fixture
def cut(database: Database, news: News, settings: DownloadSettings) -> Iterator[Cut]:
    """Has a recording cut as the options say, into parts of half a minute.

    With `drains_after`, the first attempt is given back after so many parts, and another goes on.
    """
    with download_workers(
        settings, database, news, ObjectStorage.from_settings(settings)
    ) as downloads:

        def attempt(
            storage: Counting, task_id: str, drains_after: int | None, *, tried: int = 0
        ) -> object:
            worker = downloads.worker()
            storage.after_part = lambda count: worker.drain() if count == drains_after else None
            return downloads.run(worker, task_id, attempt=tried, storage=storage)

        def run(recording: bytes, *, drains_after: int | None = None, **options: object) -> Outcome:
            storage = Counting.from_settings(settings)
            assert isinstance(storage, Counting)
            key = f"uploads/{uuid.uuid4()}"
            storage.put_bytes(key, recording)
            wanted = Submission(
                url=None,
                upload=Upload(
                    key=key,
                    filename="call.wav",
                    size_bytes=len(recording),
                    media_type="audio/wav",
                    sha256="",
                ),
                options=RecognitionOptions.model_validate(options),
                priority="normal",
            )
            taken = submission.accept(database, wanted, EN)
            tried = 0
            if drains_after is not None:
                assert attempt(storage, taken.task_id, drains_after) == "given_back"
                tried = 1
            attempt(storage, taken.task_id, None, tried=tried)
            return Outcome(database, taken.job.id)

        yield run


def shape(part: Part) -> tuple[object, ...]:
    return part.index, part.start_ms, part.end_ms, part.chunks, part.channel


def test_only_the_stretch_is_cut_and_its_times_are_the_recordings(
    cut: Cut, database: Database
) -> None:
    speech = joined(120, seed=3)
    whole = cut(recorded(speech.audio)).parts
    database_usage = rows(database, "SELECT audio_ms FROM usage")
    found = cut(recorded(speech.audio), from_ms=40_000, to_ms=75_000)
    assert found.parts[0].start_ms >= 40_000
    assert found.parts[-1].end_ms <= 75_000
    assert sum(part.speech_ms for part in found.parts) > 25_000
    assert found.job.duration_ms == speech.duration_ms
    assert not found.job.truncated
    assert found.job.cut_done
    # Inside the stretch speech is where it is without one.
    inside = [
        chunk for part in whole for chunk in part.chunks if chunk[0] > 40_000 and chunk[1] < 75_000
    ]
    for start, end in inside:
        assert any(
            part.start_ms <= start + 500 and end - 500 <= part.end_ms for part in found.parts
        )
    # And it alone is counted.
    [before], [after] = database_usage, rows(database, "SELECT audio_ms FROM usage")
    charged = int(str(after["audio_ms"])) - int(str(before["audio_ms"]))
    assert charged == sum(part.end_ms - part.start_ms for part in found.parts) <= 35_000


def test_a_stretch_that_begins_after_the_end_fails_with_its_reason(cut: Cut) -> None:
    found = cut(recorded(joined(10).audio), from_ms=60_000)
    assert (found.job.status, found.job.error_code) == ("failed", "media.clip_outside")
    assert "60.0 seconds" in str(found.job.error)
    assert found.parts == []


def test_a_stretch_that_ends_after_the_end_is_the_rest(cut: Cut) -> None:
    speech = joined(20)
    found = cut(recorded(speech.audio), from_ms=5_000, to_ms=900_000)
    assert found.job.duration_ms == speech.duration_ms
    assert not found.job.truncated
    assert found.parts[-1].end_ms > 15_000


def test_each_channel_is_cut_by_itself(cut: Cut, storage: ObjectStorage) -> None:
    left = np.concatenate([joined(40, seed=1).audio, silence(40)])
    right = np.concatenate([silence(40), joined(40, seed=2).audio])
    length = min(len(left), len(right))
    sides = [left[:length], right[:length]]
    found = cut(recorded(*sides), split_channels=True)
    assert [part.index for part in found.parts] == list(range(len(found.parts)))
    for channel, side in enumerate(sides):
        own = [part for part in found.parts if part.channel == channel]
        assert own
        alone = cut(recorded(side)).parts[-len(own) :]
        assert [part.chunks for part in own] == [part.chunks for part in alone]
        for part in own:
            with wave.open(io.BytesIO(storage.get_bytes(part.object_key))) as file:
                sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            assert np.array_equal(sound, side[part.start_ms * 16 : part.end_ms * 16])


def test_mono_is_one_channel_and_no_split_none(cut: Cut) -> None:
    mono = recorded(joined(10).audio)
    assert {part.channel for part in cut(mono, split_channels=True).parts} == {0}
    stereo = recorded(joined(10).audio, joined(10).audio)
    assert {part.channel for part in cut(stereo).parts} == {None}


def test_more_channels_than_speakers_are_refused(cut: Cut) -> None:
    found = cut(recorded(*[joined(5).audio] * 17), split_channels=True)
    assert found.job.error_code == "media.unsupported"


@pytest.mark.parametrize("drains_after", [1, 3])
def test_a_cut_goes_on_in_the_channel_it_was_in(cut: Cut, drains_after: int) -> None:
    sides = [joined(70, seed=1).audio, joined(70, seed=2).audio]
    length = min(map(len, sides))
    call = recorded(*[side[:length] for side in sides])
    options = {"split_channels": True, "from_ms": 5_000, "to_ms": 65_000}
    whole = cut(call, **options)
    stopped = cut(call, drains_after=drains_after, **options)
    assert {part.channel for part in whole.parts} == {0, 1}
    assert len(whole.parts) >= 4
    assert list(map(shape, stopped.parts)) == list(map(shape, whole.parts))
    assert stopped.job.cut_done


def test_segments_have_their_parts_channel_and_come_in_the_order_of_time(
    database: Database,
) -> None:
    download = downloading(database).task
    for index in (0, 1):
        part = a_part(download.job_id, 0, chunks=1)
        task_id = str(uuid.uuid4())
        own = replace(part, index=index, channel=1 - index)
        work.add_part(database, download, own, task_id=task_id)
        claim = claimed(database, task_id)
        assert claim.part is not None
        assert claim.part.channel == 1 - index
        work.add_segments(
            database,
            claim.task,
            claim.part,
            chunk_index=0,
            found=said(f"first of {index}", f"second of {index}"),
            language=EN,
        )
    told = [one.segment for one in listing.transcript(database, download.job_id)]
    assert [(one.start_ms, one.channel) for one in told] == [(0, 0), (0, 1), (1000, 0), (1000, 1)]
    first = listing.since(database, download.job_id, 0).segments[0].segment
    assert first == said("first of 0")[0].model_copy(update={"channel": 1})
