"""A source that takes its time keeps nobody waiting for the words it has sent already."""

from hearsight_core.contract import JobStatus, ProgressData, Stage
from tests.servers.media import MediaServer, ffmpeg, media_folder
from tests.servers.stack import Stack
from tests.speech import joined, word_error_rate, write_wav

LENGTH_S = 180
WAIT_S = 120
WORST_WORD_ERROR_RATE = 0.05


def test_the_first_words_are_there_before_the_last_byte(stack: Stack, media: MediaServer) -> None:
    recording = joined(LENGTH_S, seed=3)
    whole = write_wav(media_folder() / "long.wav", recording.audio)
    ffmpeg("-i", whole, "-b:a", "64k", media_folder() / "long.mp3")
    job_id = stack.submit(media.url("/gated/long.mp3?then=go"), language="en")
    try:
        stack.until(lambda: bool(stack.transcript(job_id)["segments"]), within_s=WAIT_S)
        found = stack.transcript(job_id)
        told = ProgressData(**stack.http.get(f"/api/progress/task/{job_id}").json())
    finally:
        media.gate.set()
    assert found["partial"]
    assert (told.status, told.stage) == (JobStatus.PROCESSING, Stage.DOWNLOAD)
    assert 0 < told.progress_percent < 100
    assert told.position_ms
    *news, (_, _, last) = stack.events(job_id)
    stages = list(dict.fromkeys(data["stage"] for kind, _, data in news if kind == "progress"))
    assert stages[:2] == [Stage.DOWNLOAD, Stage.ASR_PREPROCESSING]
    assert Stage.ASR_RECOGNIZING in stages
    assert last["status"] == JobStatus.COMPLETED, last
    heard = stack.transcript(job_id)
    assert word_error_rate(recording.text, str(heard["text"])) < WORST_WORD_ERROR_RATE
