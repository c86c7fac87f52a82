"""The sound of a file is decoded in a child process, and a bad file harms no more than that."""

import os
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import faster_whisper
import imageio_ffmpeg
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from hearsight_core.errors import (
    Cancelled,
    CorruptError,
    HearSightError,
    NoAudioError,
    TooLongError,
    UnsupportedError,
    WorkerLostError,
)
from hearsight_download_worker.audio import Audio, open_audio
from hearsight_download_worker.decoders import Decoders
from tests.decoding import children, opened
from tests.servers.media import ffmpeg, media_folder
from tests.speech import joined, silence, write_wav


def decoded(path: Path, *, start_ms: int = 0, max_duration_s: float = 3600) -> NDArray[np.int16]:
    return opened(path, start_ms=start_ms, max_duration_s=max_duration_s)[1]


def test_a_wav_file_comes_out_as_it_went_in() -> None:
    audio, sound = opened(media_folder() / "speech.wav")
    assert np.array_equal(sound, joined(40).audio)
    assert audio.info.container == "wav"
    assert audio.info.duration_ms == audio.duration_ms == joined(40).duration_ms
    assert [track.codec for track in audio.info.streams] == ["pcm_s16le"]
    assert not audio.truncated


@pytest.mark.parametrize("name", ["speech.mp3", "speech.m4a", "two-tracks.mp4"])
def test_the_engine_gets_the_sound_it_would_have_decoded_itself(name: str, tmp_path: Path) -> None:
    path = media_folder() / name
    if name == "two-tracks.mp4":  # the engine knows no default track
        path = tmp_path / "second.mp4"
        ffmpeg("-i", media_folder() / name, "-map", "0:a:1", "-c", "copy", path)
    expected = faster_whisper.decode_audio(str(path))
    sound = decoded(media_folder() / name)
    assert len(sound) == len(expected)
    assert np.abs(sound - expected * 32768).max() <= 1


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("flac", []),
        ("ogg", ["-c:a", "libvorbis"]),
        ("opus", ["-c:a", "libopus"]),
        ("webm", ["-c:a", "libopus"]),
        ("mkv", ["-c:a", "aac"]),
        ("ts", ["-c:a", "aac"]),
        ("aac", ["-c:a", "aac"]),
        ("wma", []),
        ("avi", ["-c:a", "libmp3lame"]),
        ("aiff", []),
        ("au", []),
        ("mp2", []),
        ("ac3", []),
        ("caf", []),
        ("amr", ["-ar", "8000"]),
        ("flv", ["-c:a", "libmp3lame", "-ar", "44100"]),
    ],
)
def test_the_usual_formats_are_read(ending: str, options: list[str], tmp_path: Path) -> None:
    path = tmp_path / f"speech.{ending}"
    source = media_folder() / "speech.wav"
    if ending == "amr" and not _can_encode("libopencore_amrnb"):
        pytest.skip("this ffmpeg writes no AMR")
    ffmpeg("-i", source, *options, path)
    audio, sound = opened(path)
    assert abs(len(sound) / 16 - joined(40).duration_ms) < 200
    assert not audio.truncated


def _can_encode(name: str) -> bool:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    listed = subprocess.run([program, "-encoders"], capture_output=True, text=True, check=True)
    return name in listed.stdout


@pytest.mark.parametrize("name", ["speech.wav", "speech.mp3", "speech.m4a"])
def test_a_later_start_gives_the_same_samples(name: str) -> None:
    whole = decoded(media_folder() / name)
    for start_ms in (1, 12_345, 40_000):
        audio, rest = opened(media_folder() / name, start_ms=start_ms)
        assert np.array_equal(rest, whole[start_ms * 16 :])
        assert audio.duration_ms == len(whole) // 16


def test_blocks_have_the_length_asked_for() -> None:
    with open_audio(media_folder() / "speech.mp3", memory_mib=512, max_duration_s=3600) as audio:
        lengths = [len(block) for block in audio.blocks(2.5)]
    assert set(lengths[:-1]) == {40_000}
    assert 0 < lengths[-1] <= 40_000


def test_the_default_track_is_decoded() -> None:
    audio, _ = opened(media_folder() / "two-tracks.mp4")
    languages = {track.index: track.language for track in audio.info.streams}
    assert languages == {1: "spa", 2: "eng"}
    assert audio.info.chosen == 2


def test_a_track_for_the_blind_is_not_decoded_if_there_is_another(tmp_path: Path) -> None:
    path = tmp_path / "described.mkv"
    tracks = ("-map", "0:a", "-map", "1:a", "-c:a", "aac")
    marks = ("-disposition:a:0", "default+visual_impaired", "-disposition:a:1", "0")
    described, plain = media_folder() / "spanish.wav", media_folder() / "speech.wav"
    ffmpeg("-i", described, "-i", plain, *tracks, *marks, path)
    audio, _ = opened(path)
    assert audio.info.chosen == 1


def test_sound_that_begins_late_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    picture, speech = media_folder() / "picture.mp4", media_folder() / "speech.wav"
    late = ("-itsoffset", "4", "-i", speech)
    ffmpeg("-i", picture, *late, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "flac", path)
    sound = decoded(path)
    assert not sound[: 4 * 16_000 - 800].any()
    assert np.array_equal(sound[-len(joined(40).audio) :], joined(40).audio)


def test_media_without_sound_say_so() -> None:
    with pytest.raises(NoAudioError):
        decoded(media_folder() / "picture.mp4")


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("name", ["speech.mp3", "speech.m4a"])
def test_a_truncated_file_is_decoded_as_far_as_it_goes(
    name: str, share: float, tmp_path: Path
) -> None:
    content = (media_folder() / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    audio, sound = opened(path)
    assert audio.truncated
    assert len(sound) / len(joined(40).audio) == pytest.approx(share, abs=0.1)


def test_a_hole_in_a_file_costs_no_more_than_the_hole(tmp_path: Path) -> None:
    content = bytearray((media_folder() / "speech.mp3").read_bytes())
    content[100_000:110_000] = os.urandom(10_000)
    path = tmp_path / "hole.mp3"
    path.write_bytes(content)
    assert len(decoded(path)) / 16 > joined(40).duration_ms - 2_500


def made(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("empty.mp3", b"", CorruptError),
        ("page.mp3", b"<!doctype html><html><body>hello</body></html>", UnsupportedError),
        ("noise.mp3", bytes(range(256)) * 1000, UnsupportedError),
        ("text.txt", b"once upon a time\n" * 1000, UnsupportedError),
        ("header.mp4", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", CorruptError),
        ("header.flac", b"fLaC\0\0\0\x22" + bytes(34), CorruptError),
    ],
)
def test_what_can_not_be_decoded_is_told_apart(
    tmp_path: Path, name: str, content: bytes, kind: type[HearSightError]
) -> None:
    with pytest.raises(HearSightError) as caught:
        decoded(made(tmp_path, name, content))
    assert type(caught.value) is kind


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:50\n#EXTINF:40,\n{target}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "list.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT40S"><Period><AdaptationSet mimeType="audio/mp4">'
    '<Representation id="a" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("prefix", ["", "file:", "subfile,,start,0,end,0,,:", "concat:"])
def test_a_list_of_files_opens_none_of_them(tmp_path: Path, name: str, prefix: str) -> None:
    target = write_wav(tmp_path / "secret.wav", joined(40).audio)
    content = PLAYLISTS[name].format(target=f"{prefix}{target}")
    with pytest.raises(UnsupportedError):
        decoded(made(tmp_path, name, content.encode()))


def test_the_child_can_open_no_file_and_no_connection_and_start_nothing(tmp_path: Path) -> None:
    attempts = """
import json, os, socket, sys
from hearsight_download_worker import decoder
decoder._confine(512, 60, 2)
done = []
for name, attempt in {
    "file": lambda: open("/etc/passwd"),
    "own": lambda: open(sys.argv[1], "w"),
    "socket": lambda: socket.socket(),
    "pipe": lambda: os.pipe(),
    "memory": lambda: bytearray(600 * 1024 * 1024),
    "process": lambda: os.fork() or os._exit(0),
}.items():
    try:
        attempt()
    except (OSError, MemoryError):
        continue
    done.append(name)
print(json.dumps(done))
"""
    said = subprocess.run(
        [sys.executable, "-c", attempts, str(tmp_path / "written")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    # Root may start processes beyond any limit; whoever runs a worker as root was warned.
    assert said.stdout.strip() == ('["process"]' if os.geteuid() == 0 else "[]")
    assert not (tmp_path / "written").exists()


def test_the_child_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARSIGHT_STORAGE_SECRET_ACCESS_KEY", "hush")
    with open_audio(media_folder() / "speech.wav", memory_mib=512, max_duration_s=3600):
        [child] = children()
        assert set(child.environ()) <= {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE"}


@pytest.mark.parametrize("ending", [signal.SIGSEGV, signal.SIGABRT, signal.SIGXCPU])
def test_a_file_that_ends_its_decoder_is_said_to_be_damaged(
    ending: signal.Signals, tmp_path: Path
) -> None:
    path = write_wav(tmp_path / "long.wav", joined(300).audio)
    with open_audio(path, memory_mib=512, max_duration_s=3600) as audio:
        blocks = audio.blocks(1)
        next(blocks)
        [child] = children()
        child.send_signal(ending)
        with pytest.raises(CorruptError, match=ending.name):
            list(blocks)


def test_a_decoder_that_is_killed_from_outside_is_no_fault_of_the_file(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", joined(300).audio)
    with open_audio(path, memory_mib=512, max_duration_s=3600) as audio:
        blocks = audio.blocks(1)
        next(blocks)
        [child] = children()
        child.kill()
        with pytest.raises(WorkerLostError, match="decoder was killed"):
            list(blocks)


def test_a_decoder_that_needs_too_much_memory_is_said_to_fail() -> None:
    with pytest.raises(CorruptError):
        opened(media_folder() / "speech.wav", memory_mib=60)


def test_too_long_is_seen_in_the_header_and_in_the_sound(tmp_path: Path) -> None:
    with pytest.raises(TooLongError) as caught:
        decoded(media_folder() / "speech.m4a", max_duration_s=30)
    assert caught.value.values == {"limit_s": 30}
    stream = tmp_path / "headless.aac"  # which has no length in its header that could be trusted
    ffmpeg("-i", media_folder() / "speech.wav", "-f", "adts", stream)
    with open_audio(stream, memory_mib=512, max_duration_s=30) as audio:
        blocks = audio.blocks(10)
        assert [len(next(blocks)) for _ in range(3)] == [160_000] * 3
        with pytest.raises(TooLongError):
            next(blocks)


def test_the_child_ends_when_nobody_listens_any_more() -> None:
    with open_audio(media_folder() / "speech.wav", memory_mib=512, max_duration_s=3600) as audio:
        next(audio.blocks(1))
        assert len(children()) == 1
    assert children() == []


def test_a_check_stops_decoding_and_its_child() -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        opened(media_folder() / "speech.wav", check=check)
    assert children() == []


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders()
    yield made
    made.close()
    assert children() == []


def test_the_child_that_waits_takes_the_next_file(decoders: Decoders) -> None:
    decoders.prepare()
    decoders.prepare()
    [waiting] = children()
    path = media_folder() / "speech.wav"
    with open_audio(path, memory_mib=512, max_duration_s=3600, decoders=decoders) as audio:
        assert children() == [waiting]
        assert np.array_equal(np.concatenate(list(audio.blocks(7))), joined(40).audio)


def test_a_child_that_died_while_it_waited_costs_no_job(decoders: Decoders) -> None:
    decoders.prepare()
    [waiting] = children()
    waiting.kill()
    waiting.wait()
    _, sound = opened(media_folder() / "speech.wav", decoders=decoders)
    assert np.array_equal(sound, joined(40).audio)


def test_the_child_that_waits_ends_with_its_worker() -> None:
    worker = """
import sys, time
from hearsight_download_worker.decoders import Decoders
decoders = Decoders()
decoders.prepare()
print(flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [waiting] = psutil.Process(process.pid).children()
        process.kill()
    waiting.wait(60)


def stretch(
    path: Path, start_ms: int, to_ms: int | None, *, jump: bool, channel: int | None = None
) -> tuple[Audio, NDArray[np.int16]]:
    """What lies between; with a jump the decoder need not go through what is before."""
    with open_audio(
        path,
        memory_mib=512,
        max_duration_s=3600,
        start_ms=start_ms,
        from_ms=start_ms if jump else 0,
        to_ms=to_ms,
        channel=channel,
    ) as audio:
        blocks = list(audio.blocks(7))
    return audio, np.concatenate(blocks) if blocks else silence(0)


def stereo(folder: Path, seconds: float) -> tuple[Path, list[NDArray[np.int16]]]:
    """Two speakers, each on a channel of its own."""
    sides = [joined(seconds, seed=seed).audio for seed in (1, 2)]
    length = min(map(len, sides))
    sides = [side[:length] for side in sides]
    path = folder / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.stack(sides, axis=1).astype("<i2").tobytes())
    return path, sides


def test_each_channel_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path, sides = stereo(tmp_path, 20)
    for channel, side in enumerate(sides):
        audio, sound = stretch(path, 0, None, jump=False, channel=channel)
        assert audio.info.channels == 2
        assert np.array_equal(sound, side)
    mixed = stretch(path, 0, None, jump=False)[1]
    assert not any(np.array_equal(mixed, side) for side in sides)


def test_the_one_channel_of_a_mono_file_is_its_sound() -> None:
    audio, sound = stretch(media_folder() / "speech.wav", 0, None, jump=False, channel=0)
    assert audio.info.channels == 1
    assert np.array_equal(sound, joined(40).audio)


@pytest.mark.parametrize(("start_ms", "to_ms"), [(5_000, 9_000), (70_000, 75_000), (70_000, None)])
def test_a_stretch_is_the_same_samples_and_no_others(
    tmp_path: Path, start_ms: int, to_ms: int | None
) -> None:
    path, sides = stereo(tmp_path, 90)
    audio, sound = stretch(path, start_ms, to_ms, jump=True, channel=1)
    assert np.array_equal(sound, sides[1][start_ms * 16 : to_ms and to_ms * 16])
    assert audio.duration_ms == (to_ms or len(sides[1]) // 16)
    assert not audio.truncated


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("flac", []),
        ("m4a", ["-c:a", "aac"]),
        ("mp4", ["-c:a", "aac", "-ar", "48000"]),
        ("mkv", ["-c:a", "aac"]),
        ("webm", ["-c:a", "libopus"]),
        ("aiff", []),
        ("caf", []),
        ("mp3", []),
        ("ogg", ["-c:a", "libvorbis"]),
    ],
)
def test_a_jump_lands_where_decoding_all_before_would_have_come(
    tmp_path: Path, ending: str, options: list[str]
) -> None:
    path = tmp_path / f"call.{ending}"
    ffmpeg("-i", stereo(tmp_path, 90)[0], *options, path)
    straight = stretch(path, 70_000, 80_000, jump=False)[1].astype(np.float64)
    audio, sound = stretch(path, 70_000, 80_000, jump=True)
    assert len(sound) == len(straight) == 160_000
    assert audio.duration_ms == 80_000
    # By how many samples it would have to be moved to fit best; none is more than 20 ms.
    middle = slice(1_000, -1_000)
    fits = {
        shift: np.abs(np.roll(straight, shift)[middle] - sound[middle]).sum()
        for shift in range(-640, 641, 16)
    }
    best = min(fits, key=lambda shift: float(fits[shift]))
    assert abs(best) <= 320


@pytest.mark.parametrize("ending", ["wav", "m4a", "mp3"])
def test_a_stretch_beyond_the_end_is_empty_and_the_length_is_told(
    tmp_path: Path, ending: str
) -> None:
    call, sides = stereo(tmp_path, 70)
    path = tmp_path / f"talk.{ending}"
    ffmpeg("-i", call, path)
    audio, sound = stretch(path, 600_000, 700_000, jump=True)
    assert len(sound) == 0
    assert audio.duration_ms == pytest.approx(len(sides[0]) / 16, abs=200)
