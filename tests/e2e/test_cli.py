"""The command against the real stack: what people type, and what scripts read."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from hearsight.failures import Exit
from hearsight.stack import spoken
from tests.servers.command import environment, hearsight
from tests.servers.media import MediaServer
from tests.servers.stack import Stack

ROOT = Path(__file__).parents[2]


def test_a_file_is_submitted_watched_and_read(stack: Stack, tmp_path: Path) -> None:
    home = stack.home.path
    done = hearsight("submit", spoken.RECORDING, "--watch", home=home)
    assert done.returncode == Exit.OK, done.stderr
    assert "0:00  This program listens to videos and recordings." in done.stdout
    job_id = done.stdout.split("hearsight transcript ")[1].split()[0]
    for form, start in {"srt": "1\n00:00:00,", "vtt": "WEBVTT", "tsv": "start\t"}.items():
        file = tmp_path / f"sample.{form}"
        assert hearsight("transcript", job_id, "-o", file, home=home).returncode == Exit.OK
        assert file.read_text().startswith(start)
    text = hearsight("transcript", job_id, home=home).stdout
    assert "You can watch the words appear" in text
    assert hearsight("delete", job_id, "--yes", home=home).returncode == Exit.OK
    assert hearsight("show", job_id, home=home).returncode == Exit.NOT_FOUND


def test_scripts_get_json_lines_and_nothing_else(stack: Stack) -> None:
    done = hearsight("--json", "submit", spoken.RECORDING, "--watch", home=stack.home.path)
    first, *events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == Exit.OK
    assert done.stderr == ""
    assert first["source"] == str(spoken.RECORDING)
    assert {event["job_id"] for event in events} == {first["job_id"]}
    assert {event["event"] for event in events} == {"progress", "segment", "end"}
    assert events[-1]["status"] == "completed"
    overall = [event["overall_percent"] for event in events if event["event"] != "segment"]
    assert overall == sorted(overall)


def test_a_failed_job_is_an_exit_code_with_its_reason(stack: Stack, media: MediaServer) -> None:
    url = media.url("/status/404")
    done = hearsight("submit", url, "--watch", home=stack.home.path)
    assert done.returncode == Exit.FAILED
    assert "[media.not_found]" in done.stdout
    listed = hearsight("jobs", "--status", "failed", "--json", home=stack.home.path)
    assert url in [json.loads(line)["source_url"] for line in listed.stdout.splitlines()]


def test_several_jobs_are_watched_at_once(stack: Stack) -> None:
    sources = [spoken.RECORDING, spoken.RECORDING]
    done = hearsight("submit", *sources, "--watch", home=stack.home.path)
    assert done.returncode == Exit.OK
    assert done.stdout.count("Completed") == 2


def test_ctrl_c_leaves_the_watched_job_running(stack: Stack, media: MediaServer) -> None:
    home = stack.home.path
    job_id = str(stack.submit(media.url("/slow/speech.mp3?rate=2000")))
    watching = subprocess.Popen(
        [sys.executable, "-m", "hearsight", "watch", job_id],
        env=environment(HEARSIGHT_HOME=str(home), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, which may be running these tests, has Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no threads
    )
    assert watching.stdout is not None
    assert f"#{job_id}" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    rest, errors = watching.communicate(timeout=30)
    assert watching.returncode == Exit.INTERRUPTED
    assert f"hearsight watch {job_id}" in rest
    assert errors == ""
    assert json.loads(hearsight("--json", "show", job_id, home=home).stdout)["status"] in {
        "pending",
        "processing",
    }
    assert hearsight("cancel", job_id, home=home).returncode == Exit.OK
    assert hearsight("watch", job_id, home=home).returncode == Exit.CANCELLED


def test_the_example_runs_on_the_stack(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/example.py")],
        env=environment(HEARSIGHT_HOME=str(stack.home.path)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert stack.state.environment["HEARSIGHT_REDIS_URL"] in done.stdout
    assert "Redis read back: written by example.py" in done.stdout
    job_id = done.stdout.split("Job: ")[1].split()[0]
    assert f"task_progress:{job_id} completed" in done.stdout
