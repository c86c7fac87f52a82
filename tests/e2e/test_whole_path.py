"""Real speech, from an address or a file to a transcript, through the real stack."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from redis import Redis

from hearsight_core.contract import STAGE_PERCENT, JobStatus, ProgressData, Stage, progress_key
from tests.servers.media import SPEECH_S, MediaServer, media_folder
from tests.servers.stack import Stack
from tests.speech import joined, word_error_rate

WORST_WORD_ERROR_RATE = 0.15
"""tiny.en on these clips: mostly 0; 0.1 where it writes one counted row of digits as a number."""

EXAMPLE = Path(__file__).parents[2] / "examples" / "example.py"


def _heard(stack: Stack, job_id: int) -> float:
    """How far the job's transcript is from what was said in the media server's speech."""
    return word_error_rate(joined(SPEECH_S).text, str(stack.transcript(job_id)["text"]))


@pytest.mark.parametrize(
    "path",
    [
        "/plain/speech.mp3",
        "/plain/speech.m4a",
        "/slow/speech.mp3?rate=150000",
        "/broken/speech.mp3",
        "/chunked/speech.mp3",
        "/hls/hls/index.m3u8",
        "/hls/hls-aes/index.m3u8",
        "/plain/two-tracks.mp4",
        "/redirect?to=/plain/speech.mp3",
    ],
)
def test_speech_is_recognised_from_whatever_serves_it(
    stack: Stack, media: MediaServer, path: str
) -> None:
    job_id = stack.submit(media.url(path), language="en")
    last = stack.outcome(job_id)
    assert last["status"] == JobStatus.COMPLETED, last
    assert last["overall_percent"] == last["progress_percent"] == 100
    assert _heard(stack, job_id) < WORST_WORD_ERROR_RATE


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/status/404", "media.not_found"),
        ("/status/403", "network.http_4xx"),
        ("/status/500", "network.http_5xx"),
        ("/endless", "media.too_large"),
        ("/page", "media.unsupported"),
        ("/empty", "media.corrupt"),
        ("/plain/picture.mp4", "media.no_audio"),
        ("/silent", "network.timeout"),
    ],
)
def test_what_cannot_be_transcribed_fails_with_its_reason(
    stack: Stack, media: MediaServer, path: str, code: str
) -> None:
    job_id = stack.submit(media.url(path))
    last = stack.outcome(job_id)
    assert (last["status"], last["error_code"]) == (JobStatus.FAILED, code), last
    assert (last["stage"], last["progress_percent"]) == (Stage.ERROR, 0)
    assert last["error"]
    assert "Traceback" not in str(last["error"])


def test_silence_completes_with_an_empty_transcript(stack: Stack, media: MediaServer) -> None:
    job_id = stack.submit(media.url("/plain/silence.wav"))
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    transcript = stack.transcript(job_id)
    assert (transcript["text"], transcript["segments"]) == ("", [])
    assert transcript["partial"] is False


def test_a_file_that_breaks_off_is_recognised_as_far_as_it_goes(
    stack: Stack, tmp_path: Path
) -> None:
    whole = (media_folder() / "speech.m4a").read_bytes()
    (tmp_path / "half.m4a").write_bytes(whole[: len(whole) // 2])
    job_id = stack.upload(tmp_path / "half.m4a", language="en")
    last = stack.outcome(job_id)
    assert last["status"] == JobStatus.COMPLETED, last
    assert "breaks off" in str(last["message"])
    assert stack.http.get(f"/api/jobs/{job_id}").json()["truncated"] is True
    assert stack.transcript(job_id)["segments"]


def test_an_inner_address_is_not_fetched_even_behind_a_redirect(
    stack: Stack, media: MediaServer
) -> None:
    for inside in ("http://169.254.169.254/latest/meta-data", "http://localhost:1/x.mp3"):
        job_id = stack.submit(media.url(f"/redirect?to={inside}"))
        last = stack.outcome(job_id)
        assert last["error_code"] == "request.forbidden_address", last


def test_progress_goes_through_the_stages_and_never_back(stack: Stack, media: MediaServer) -> None:
    job_id = stack.submit(media.url("/slow/speech.mp3?rate=60000"), language="en")
    told = [
        ProgressData.model_validate(data)
        for kind, _, data in stack.events(job_id)
        if kind != "segment"
    ]
    stages = list(dict.fromkeys(news.stage for news in told))
    order = [stage for stage in Stage if stage in stages]
    assert stages == order
    assert {Stage.DOWNLOAD, Stage.ASR_PREPROCESSING, Stage.ASR_RECOGNIZING} <= set(stages)
    assert stages[-1] is Stage.COMPLETED
    overall = [news.overall_percent for news in told]
    assert overall == sorted(overall)
    downloading = [news for news in told if news.stage is Stage.DOWNLOAD and news.speed]
    assert downloading, "the transfer took seconds, so there was something to tell"
    assert all(news.current_bytes and news.total_bytes for news in downloading)
    first = {news.stage: news for news in reversed(told)}
    for stage in (Stage.ASR_PREPROCESSING, Stage.COMPLETED):
        assert first[stage].progress_percent == STAGE_PERCENT[stage]
    # Some of it may have been recognised while the rest was fetched.
    recognising = first[Stage.ASR_RECOGNIZING].progress_percent
    assert STAGE_PERCENT[Stage.ASR_RECOGNIZING] <= recognising
    redis = Redis.from_url(stack.state.environment["HEARSIGHT_REDIS_URL"], decode_responses=True)
    with redis:
        snapshot = redis.get(progress_key(job_id))
        assert isinstance(snapshot, str)
        assert json.loads(snapshot)["status"] == JobStatus.COMPLETED
        left_s = redis.ttl(progress_key(job_id))
        assert isinstance(left_s, int)
        assert 23 * 3600 < left_s <= 24 * 3600
        task_id = stack.http.post(
            "/api/tasks/process",
            json={
                "url": media.url("/slow/speech.mp3?rate=60000"),
                "language": "en",
                "job_id": job_id,
                "reuse": False,
            },
        ).json()["task_id"]
        result = redis.get(f"celery-task-meta-{task_id}")
        assert isinstance(result, str)
        assert json.loads(result)["status"] == "SUCCESS"


def test_a_watcher_that_comes_back_misses_nothing(stack: Stack) -> None:
    job_id = stack.upload(media_folder() / "speech.wav", language="en")
    first = next(event for event in stack.events(job_id) if event[0] == "segment")
    rest = [event for event in stack.events(job_id, after=first[1]) if event[0] == "segment"]
    numbers = [first[1], *(number for _, number, _ in rest)]
    stored = stack.transcript(job_id)["segments"]
    assert isinstance(stored, list)
    assert sorted(segment["seq"] for segment in stored) == numbers


def test_every_one_of_many_uploads_at_once_is_recognised(stack: Stack) -> None:
    path = media_folder() / "speech.mp3"
    jobs: list[int] = []
    threads = [
        threading.Thread(target=lambda: jobs.append(stack.upload(path, language="en")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(jobs)) == len(threads)
    assert Counter(str(stack.outcome(job)["status"]) for job in jobs) == {"completed": 6}
    assert max(_heard(stack, job) for job in jobs) < WORST_WORD_ERROR_RATE


def test_a_job_in_work_can_be_cancelled_and_retried(stack: Stack, media: MediaServer) -> None:
    job_id = stack.submit(media.url("/slow/speech.mp3?rate=20000"), language="en")
    for _, _, data in stack.events(job_id):
        if data.get("current_bytes"):
            break
    assert stack.http.post(f"/api/jobs/{job_id}/cancel").is_success
    assert stack.outcome(job_id)["status"] == JobStatus.CANCELLED
    assert stack.http.post(f"/api/jobs/{job_id}/retry").is_success
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    assert _heard(stack, job_id) < WORST_WORD_ERROR_RATE


def test_deleting_removes_media_and_transcript(stack: Stack) -> None:
    job_id = stack.upload(media_folder() / "speech.mp3", language="en")
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    media = stack.http.get(f"/api/jobs/{job_id}/media")
    assert media.content == (media_folder() / "speech.mp3").read_bytes()
    before = {path for path in stack.home.media.rglob("*") if path.is_file()}
    assert stack.http.delete(f"/api/jobs/{job_id}").status_code == httpx.codes.NO_CONTENT
    assert stack.http.get(f"/api/jobs/{job_id}/transcript").status_code == httpx.codes.NOT_FOUND
    gone = before - {path for path in stack.home.media.rglob("*") if path.is_file()}
    assert len(gone) == 1, "the upload; the parts went when the job was completed"


def test_words_have_times_when_asked_for(stack: Stack) -> None:
    job_id = stack.upload(media_folder() / "speech.mp3", language="en", word_timestamps="true")
    assert stack.outcome(job_id)["status"] == JobStatus.COMPLETED
    segments = stack.transcript(job_id)["segments"]
    assert isinstance(segments, list)
    for segment in segments:
        assert segment["start_ms"] <= segment["words"][0]["start_ms"]
        assert segment["words"][-1]["end_ms"] <= segment["end_ms"]
        # As Whisper has it: a word brings the space before it.
        assert "".join(word["word"] for word in segment["words"]).strip() == segment["text"]


def test_the_example_follows_a_job_over_http_and_redis(stack: Stack) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLE), str(media_folder() / "speech.mp3")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "HEARSIGHT_URL": stack.state.url,
            "HEARSIGHT_REDIS_URL": stack.state.environment["HEARSIGHT_REDIS_URL"],
        },
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "task_progress:" in run.stdout


def test_the_command_submits_and_watches(stack: Stack) -> None:
    async def hearsight(*arguments: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hearsight", *arguments),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "HEARSIGHT_URL": stack.state.url},
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    path = str(media_folder() / "speech.mp3")
    code, output = asyncio.run(hearsight("--json", "submit", path, "--language", "en", "--watch"))
    assert code == 0, output
    job_id = stack.http.get("/api/jobs", params={"limit": 1}).json()["jobs"][0]["job_id"]
    code, srt = asyncio.run(hearsight("transcript", str(job_id), "--format", "srt"))
    assert code == 0
    assert " --> " in srt
