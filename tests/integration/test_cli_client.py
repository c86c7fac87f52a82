"""The command's client against servers that misbehave: broken streams, strangers, nobody."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hearsight.client import Client
from hearsight.documents import NumberedSegment, Options
from hearsight.failures import Exit, NotFoundError, RefusedError, UnreachableError
from hearsight.stack.ports import free_port
from hearsight_api.options import JobOptions
from hearsight_core.contract import JobStatus, ProgressData
from tests.servers.command import hearsight

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each request with the next of `answers`, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        queue = list(answers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append((self.path, dict(self.headers)))
                length = int(self.headers.get("Content-Length", 0))
                outer.bodies.append(self.rfile.read(length))
                (queue.pop(0) if len(queue) > 1 else queue[0])(self)

            do_POST = do_GET  # noqa: N815  the name is http.server's

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*answers: Answer) -> Server:
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def answer(status: int, body: str, media_type: str = "application/json") -> Answer:
    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", media_type)
        request.send_header("Content-Length", str(len(body.encode())))
        request.end_headers()
        request.wfile.write(body.encode())

    return write


def stream(*events: tuple[str, int, dict[str, object]], breaks: bool = False) -> Answer:
    """Events as they go over the wire, a comment after each that keeps the connection alive.

    `breaks`: the connection ends before the body does.
    """
    text = "".join(
        f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n: ping\n\n"
        for kind, number, data in events
    )

    def write(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Content-Length", str(len(text) + (1000 if breaks else 0)))
        request.end_headers()
        request.wfile.write(text.encode())

    return write


def progress(number: int, status: str = "processing") -> tuple[str, int, dict[str, object]]:
    kind = "end" if status in {"completed", "failed", "cancelled"} else "progress"
    return kind, number, {"job_id": 7, "status": status, "version": number}


def segment(number: int) -> tuple[str, int, dict[str, object]]:
    data: dict[str, object] = {
        "seq": number,
        "start_ms": 0,
        "end_ms": 900,
        "text": f"sentence {number}",
        "avg_logprob": -0.2,
        "no_speech_prob": 0.0,
        "compression_ratio": 1.1,
    }
    return "segment", number, data


def test_a_broken_stream_goes_on_after_the_last_event_seen(serve: Callable[..., Server]) -> None:
    server = serve(
        stream(progress(1), segment(2), breaks=True),
        stream(segment(3), breaks=False),
        stream(segment(4), progress(5, "completed")),
    )
    with Client(server.url) as client:
        events = list(client.events(7))
    assert [event.seq for event in events if isinstance(event, NumberedSegment)] == [2, 3, 4]
    assert isinstance(events[-1], ProgressData)
    assert events[-1].status is JobStatus.COMPLETED
    assert [headers.get("Last-Event-ID") for _, headers in server.requests] == [None, "2", "3"]


def test_a_stream_whose_end_was_missed_ends_with_the_present_state(
    serve: Callable[..., Server],
) -> None:
    server = serve(
        stream(progress(1), breaks=True),
        lambda request: (request.send_response(204), request.end_headers())[-1],
        answer(200, json.dumps(progress(5, "failed")[2])),
    )
    with Client(server.url) as client:
        *_, last = client.events(7)
    assert isinstance(last, ProgressData)
    assert last.status is JobStatus.FAILED
    assert server.requests[-1][0] == "/api/progress/task/7"


def test_a_job_that_is_deleted_meanwhile_ends_the_stream(serve: Callable[..., Server]) -> None:
    problem = {"code": "job.not_found", "detail": "There is no job 7.", "request_id": "r1"}
    server = serve(stream(progress(1)), answer(404, json.dumps(problem)))
    with Client(server.url) as client, pytest.raises(NotFoundError, match="no job 7") as caught:
        list(client.events(7))
    assert caught.value.request_id == "r1"


def test_a_file_is_sent_with_its_fields_before_it_and_counted(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answer(202, '{"job_id": 9, "task_id": "t", "status": "pending"}'))
    file = tmp_path / "talk.mp3"
    file.write_bytes(bytes(range(256)) * 1000)
    counts: list[int] = []
    with Client(server.url) as client:
        options = Options(job_id=9, word_timestamps=True, language="en")
        accepted = client.upload(file, options, counts.append)
    assert accepted.job_id == 9
    assert counts == sorted(counts)
    assert counts[-1] == file.stat().st_size
    assert len(counts) > 2, "it is read in pieces"
    names = re.findall(rb'name="(\w+)"', server.bodies[0])
    assert names == [b"job_id", b"language", b"word_timestamps", b"file"]
    assert b"\r\n\r\ntrue\r\n" in server.bodies[0]
    assert file.read_bytes() in server.bodies[0]


@pytest.mark.parametrize(
    "stranger",
    [
        answer(200, "<html>It works!</html>", "text/html"),
        answer(404, "<html>Not Found</html>", "text/html"),
        answer(502, "Bad Gateway", "text/plain"),
        answer(200, '{"something": "else"}'),
    ],
)
def test_a_stranger_at_the_address_is_called_one(
    serve: Callable[..., Server], stranger: Answer
) -> None:
    with (
        Client(serve(stranger).url) as client,
        pytest.raises(RefusedError, match="not as HearSight does"),
    ):
        client.job(7)


def test_nobody_at_the_address_is_said_with_what_to_do(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url) as client, pytest.raises(UnreachableError, match="hearsight up"):
        client.job(7)
    for command in (["jobs"], ["submit", "http://example.org/a.mp3"], ["watch", "7"]):
        done = hearsight("--url", url, *command, home=tmp_path)
        assert done.returncode == Exit.UNREACHABLE
        assert url in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url", ["no-address", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_an_error_not_a_traceback(tmp_path: Path, url: str) -> None:
    done = hearsight("jobs", "--url", url, home=tmp_path)
    assert done.returncode == Exit.UNREACHABLE
    assert "Traceback" not in done.stderr


def test_a_pool_is_asked_for_only_if_it_is_named(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answer(202, '{"job_id": 7, "task_id": "a", "status": "pending"}'))
    for option in (["--pool", "large"], []):
        submit = ["submit", "http://example.org/a.mp3", *option]
        assert hearsight(*submit, "--url", server.url, home=tmp_path).returncode == Exit.OK
    named, unnamed = map(json.loads, server.bodies)
    assert named["pool"] == "large"
    assert "pool" not in unnamed


def test_options_are_sent_by_the_names_of_the_api(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answer(202, '{"job_id": 7, "task_id": "a", "status": "pending"}'))
    flags = ["--from", "1:30", "--to", "95.5", "--split-channels", "--temperature", "0,0.4"]
    flags += ["--vad-speech-pad-ms", "200", "--no-speech-threshold", "0.5", "--beam-size", "3"]
    file = tmp_path / "a.wav"
    file.write_bytes(b"RIFF")
    for source in ("http://example.org/a.mp3", str(file)):
        done = hearsight("submit", source, *flags, "--url", server.url, home=tmp_path)
        assert done.returncode == Exit.OK, done.stderr
    as_json, as_form = server.bodies
    sent = json.loads(as_json)
    assert JobOptions.model_validate({k: v for k, v in sent.items() if k != "url"}) == JobOptions(
        **{"from": 90},
        to=95.5,
        split_channels=True,
        temperature=(0, 0.4),
        vad_speech_pad_ms=200,
        no_speech_threshold=0.5,
        beam_size=3,
    )
    for name, value in sent.items():
        if name != "url":
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            assert f'name="{name}"\r\n\r\n{shown}\r\n'.encode() in as_form


def test_a_problem_is_shown_with_its_code_and_the_request_id(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    problem = {"code": "job.conflict", "detail": "Job 7 exists already.", "request_id": "abc123"}
    server = serve(answer(409, json.dumps(problem), "application/problem+json"))
    done = hearsight("submit", "http://example.org/a.mp3", "--url", server.url, home=tmp_path)
    assert done.returncode == Exit.REFUSED
    assert done.stderr == "Error: Job 7 exists already. [job.conflict, request abc123]\n"
    as_json = hearsight("--json", "retry", "7", "--url", server.url, home=tmp_path)
    assert as_json.returncode == Exit.REFUSED
    assert as_json.stdout == ""
    assert json.loads(as_json.stderr) == problem


def test_wrong_settings_are_named_without_their_values(tmp_path: Path) -> None:
    done = hearsight("jobs", home=tmp_path, HEARSIGHT_PORT="hunter2")
    assert done.returncode == Exit.USAGE
    assert "HEARSIGHT_PORT" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
