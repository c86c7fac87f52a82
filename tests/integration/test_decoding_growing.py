"""A file is decoded while it is still being fetched, to the sample as if it were whole."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hearsight_core.errors import CorruptError, UnsupportedError
from hearsight_download_worker.audio import open_audio
from hearsight_download_worker.growing import Arrival
from tests.decoding import children, opened
from tests.servers.media import ffmpeg, media_folder

PIECES = 7


def written(folder: Path, ending: str, *options: str) -> Path:
    path = folder / f"whole.{ending}"
    ffmpeg("-i", media_folder() / "speech.wav", *options, path)
    return path


@contextmanager
def arriving(whole: Path, *, until: float = 1.0) -> Iterator[Arrival]:
    """The file as it comes in, piece by piece; only a part of it if the rest gets lost."""
    content = whole.read_bytes()
    content = content[: round(len(content) * until)]
    path = whole.with_suffix(".part")
    path.touch()
    arrival = Arrival(path)

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            for number in range(PIECES):
                time.sleep(0.02)
                size = len(content)
                file.write(content[number * size // PIECES : (number + 1) * size // PIECES])
        path.rename(whole.with_suffix(".done"))
        arrival.whole()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield arrival
    finally:
        writing.join()
        arrival.close()


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("wav", []),
        ("mp3", ["-b:a", "64k"]),
        ("m4a", ["-movflags", "+faststart"]),
        ("mp4", ["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]),
        ("flac", []),
        ("ogg", ["-c:a", "libvorbis"]),
        ("opus", ["-c:a", "libopus"]),
        ("webm", ["-c:a", "libopus"]),
        ("mkv", ["-c:a", "aac"]),
        ("ts", ["-c:a", "aac"]),
        ("aac", ["-c:a", "aac"]),
        ("ac3", []),
    ],
)
def test_what_has_arrived_sounds_as_in_the_whole_file(
    ending: str, options: list[str], tmp_path: Path
) -> None:
    whole = written(tmp_path, ending, *options)
    expected, sound = opened(whole)
    with arriving(whole) as arrival:
        audio, heard = opened(arrival.path, arrival=arrival)
    assert np.array_equal(heard[: len(sound)], sound)
    # An encoder's padding at the end of an MP3 is known by its size only.
    assert len(heard) / 16 - len(sound) / 16 < (30 if ending == "mp3" else 1)
    assert not audio.truncated
    assert audio.info.streams == expected.info.streams


def test_sound_is_there_before_the_last_byte(tmp_path: Path) -> None:
    content = (media_folder() / "speech.mp3").read_bytes()
    path = tmp_path / "media.part"
    path.write_bytes(content[: len(content) // 2])
    arrival = Arrival(path)
    with open_audio(path, memory_mib=512, max_duration_s=3600, arrival=arrival) as audio:
        blocks = audio.blocks(1)
        for _ in range(15):
            assert len(next(blocks)) == 16_000
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])
        arrival.whole()
        rest = list(blocks)
    arrival.close()
    assert 15_000 + sum(map(len, rest)) // 16 == audio.duration_ms
    assert not audio.truncated


def test_a_later_start_gives_the_same_samples(tmp_path: Path) -> None:
    whole = written(tmp_path, "m4a", "-movflags", "+faststart")
    _, sound = opened(whole)
    with arriving(whole) as arrival:
        _, rest = opened(arrival.path, arrival=arrival, start_ms=12_345, from_ms=12_345)
    assert np.array_equal(rest, sound[12_345 * 16 :])


def test_a_file_that_breaks_off_is_told(tmp_path: Path) -> None:
    whole = written(tmp_path, "m4a", "-movflags", "+faststart")
    with arriving(whole, until=0.6) as arrival:
        audio, heard = opened(arrival.path, arrival=arrival)
    assert audio.truncated
    assert 16_000 < len(heard) / 16 < 30_000


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_a_file_with_its_index_at_its_end_is_left_until_it_is_whole(
    ending: str, tmp_path: Path
) -> None:
    whole = written(tmp_path, ending)
    path = tmp_path / "media.part"
    path.write_bytes(whole.read_bytes()[:-1000])
    arrival = Arrival(path)
    with pytest.raises(UnsupportedError):
        opened(path, arrival=arrival)
    arrival.close()


@pytest.mark.parametrize(
    ("ending", "options"), [("avi", ["-c:a", "libmp3lame"]), ("aiff", []), ("wma", [])]
)
def test_what_may_have_to_be_jumped_about_in_is_left_until_it_is_whole(
    ending: str, options: list[str], tmp_path: Path
) -> None:
    whole = written(tmp_path, ending, *options)
    with arriving(whole) as arrival, pytest.raises(UnsupportedError):
        opened(arrival.path, arrival=arrival)


def test_what_is_no_media_is_refused_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<html>" + "words " * 100_000)
    with arriving(path) as arrival, pytest.raises(UnsupportedError):
        opened(arrival.path, arrival=arrival)


def test_boxes_without_end_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "media.part"
    path.write_bytes(bytes([0, 0, 0, 8]) + b"ftyp" + (bytes([0, 0, 0, 8]) + b"free") * 100_000)
    arrival = Arrival(path)
    with pytest.raises(UnsupportedError):
        opened(path, arrival=arrival)
    arrival.close()


def test_a_decoder_ends_when_nobody_can_tell_it_any_more(tmp_path: Path) -> None:
    path = tmp_path / "media.part"
    path.write_bytes((media_folder() / "speech.mp3").read_bytes()[:50_000])
    arrival = Arrival(path)
    with open_audio(path, memory_mib=512, max_duration_s=3600, arrival=arrival) as audio:
        blocks = audio.blocks(1)
        next(blocks)
        arrival.close()
        with pytest.raises(CorruptError):
            list(blocks)


def test_a_decoder_of_a_growing_file_can_open_nothing_else(tmp_path: Path) -> None:
    """It holds the file, its two outputs and the news; there is no place for another."""
    path = tmp_path / "media.part"
    path.write_bytes((media_folder() / "speech.mp3").read_bytes()[:50_000])
    arrival = Arrival(path)
    with open_audio(path, memory_mib=512, max_duration_s=3600, arrival=arrival) as audio:
        next(audio.blocks(1))
        [child] = children()
        held = sorted(int(one.name) for one in Path(f"/proc/{child.pid}/fd").iterdir())
        [most] = [
            line.split()[3]
            for line in Path(f"/proc/{child.pid}/limits").read_text().splitlines()
            if line.startswith("Max open files")
        ]
    arrival.close()
    assert held == [0, 1, 2, 3]
    assert most == "4"
