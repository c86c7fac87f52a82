"""The API as the command sees it: every call, over HTTP alone."""

import io
import ipaddress
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from httpx_sse import connect_sse
from pydantic import BaseModel, ValidationError

from hearsight.documents import (
    Accepted,
    Event,
    Format,
    Job,
    JobPage,
    NumberedSegment,
    Options,
    Transcript,
)
from hearsight.failures import NotFoundError, RefusedError, UnreachableError
from hearsight_core.contract import TERMINAL, ProgressData

SILENCE_S = 45
"""The API sends a sign of life every 15 seconds; after three missed the connection is dead."""
GIVE_UP_S = 60
"""A stream of events that can't be had again for so long is given up."""
LONGEST_PAUSE_S = 5.0

Model = TypeVar("Model", bound=BaseModel)


class _Problem(BaseModel):
    """An error as the API writes it (RFC 9457)."""

    code: str
    detail: str
    request_id: str | None = None


class Client:
    """Speaks to the API at `url`; every method raises CommandErrors and nothing else.

    UnreachableError: no API answers. NotFoundError: there is no such job. RefusedError: any other
    answer that is an error.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(60, connect=5),
            trust_env=not _is_loopback(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def process(self, url: str, options: Options) -> Accepted:
        """Has the media at `url` transcribed."""
        body = {"url": url, **options.sent()}
        response = self._ask("POST", "/api/tasks/process", json=body)
        return _read(Accepted, response)

    def upload(
        self, path: Path, options: Options, sent: Callable[[int], object] = lambda _: None
    ) -> Accepted:
        """Has a file transcribed; it is read as it is sent, and `sent` told each count of bytes.

        Raises:
            OSError: the file can't be read.
        """
        fields = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in options.sent().items()
        }
        with _CountedFile(path, sent) as file:
            response = self._ask(
                "POST", "/api/upload", data=fields, files={"file": (path.name, file)}
            )
        return _read(Accepted, response)

    def progress(self, job_id: int) -> ProgressData:
        """What the job is doing now."""
        response = self._ask("GET", f"/api/progress/task/{job_id}")
        return _read(ProgressData, response)

    def jobs(self, *, limit: int, status: str | None) -> list[Job]:
        """The newest jobs, `limit` at most."""
        found: list[Job] = []
        cursor: str | None = None
        while len(found) < limit:
            wanted = {"limit": min(limit - len(found), 200), "status": status, "cursor": cursor}
            response = self._ask(
                "GET", "/api/jobs", params={k: v for k, v in wanted.items() if v is not None}
            )
            page = _read(JobPage, response)
            found += page.jobs
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def job(self, job_id: int) -> Job:
        """Everything known of the job but its transcript."""
        return _read(Job, self._ask("GET", f"/api/jobs/{job_id}"))

    def cancel(self, job_id: int) -> Job:
        """Stops the job."""
        return _read(Job, self._ask("POST", f"/api/jobs/{job_id}/cancel"))

    def retry(self, job_id: int) -> Job:
        """Puts a failed or cancelled job back into the queue."""
        return _read(Job, self._ask("POST", f"/api/jobs/{job_id}/retry"))

    def delete(self, job_id: int) -> None:
        """Removes the job, its media and its transcript."""
        self._ask("DELETE", f"/api/jobs/{job_id}")

    def transcript(self, job_id: int, wanted: Format) -> bytes:
        """The transcript as far as it is recognised, written as `wanted`."""
        path = f"/api/jobs/{job_id}/transcript"
        return self._ask("GET", path, params={"format": wanted}).content

    def segments(self, job_id: int) -> list[NumberedSegment]:
        """What is recognised so far."""
        path = f"/api/jobs/{job_id}/transcript"
        return _read(Transcript, self._ask("GET", path)).segments

    def events(self, job_id: int) -> Iterator[Event]:
        """Everything that happens to the job, to its end: the last is a terminal ProgressData.

        A connection that breaks is made anew and goes on after the last event seen.
        """
        seen = ""
        pause_s = 0.5
        give_up_at = time.monotonic() + GIVE_UP_S
        while True:
            try:
                for number, event in self._stream(job_id, seen):
                    seen, pause_s = number, 0.5
                    give_up_at = time.monotonic() + GIVE_UP_S
                    yield event
                    if isinstance(event, ProgressData) and event.status in TERMINAL:
                        return
            except UnreachableError:
                if time.monotonic() > give_up_at or not seen:
                    raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _stream(self, job_id: int, seen: str) -> Iterator[tuple[str, Event]]:
        """One connection's events, each with its number."""
        path = f"/api/progress/task/{job_id}/events"
        headers = {"Last-Event-ID": seen} if seen else {}
        timeout = httpx.Timeout(60, connect=5, read=SILENCE_S)
        with (
            self._reached(),
            connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source,
        ):
            if source.response.status_code == HTTPStatus.NO_CONTENT:
                yield seen, self.progress(job_id)
                return
            if source.response.is_error:
                source.response.read()
                _raise_problem(source.response)
            for told in source.iter_sse():
                if not told.data:
                    continue  # a comment that keeps the connection alive
                model = NumberedSegment if told.event == "segment" else ProgressData
                try:
                    event = model.model_validate_json(told.data)
                except ValidationError as error:
                    raise _stranger(source.response) from error
                yield told.id, event

    def _ask(self, method: str, path: str, **arguments: object) -> httpx.Response:
        with self._reached():
            response = self._http.request(method, path, **arguments)  # type: ignore[arg-type]  # httpx checks them
        if response.is_error:
            _raise_problem(response)
        return response

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UnreachableError(
                f"No HearSight answers at {self.url} ({_reason(error)})."
                " Start it with `hearsight up`, or name another with --url."
            ) from error


class _CountedFile(io.BufferedReader):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, told: Callable[[int], object]) -> None:
        super().__init__(io.FileIO(path))
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self._told(self.tell())
        return block


def _read(model: type[Model], response: httpx.Response) -> Model:
    """The answer as a `model`.

    Raises:
        RefusedError: it is something else, so this is no HearSight.
    """
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise _stranger(response) from error


def _raise_problem(response: httpx.Response) -> NoReturn:
    """Raises the CommandError that an error's answer stands for."""
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise _stranger(response) from error
    kind = NotFoundError if problem.code == NotFoundError.code else RefusedError
    raise kind(problem.detail, code=problem.code, request_id=problem.request_id)


def _stranger(response: httpx.Response) -> RefusedError:
    return RefusedError(
        f"{response.url.host}:{response.url.port} answered {response.status_code} and not as"
        " HearSight does. Name the address of the API with --url.",
        code=f"http.{response.status_code}",
    )


def _reason(error: Exception) -> str:
    """Why nobody answered, in few words."""
    if isinstance(error, httpx.TimeoutException):
        return "it took too long"
    return str(error) or type(error).__name__


def _is_loopback(url: str) -> bool:
    """Whether `url` names this machine, which no proxy leads to."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
