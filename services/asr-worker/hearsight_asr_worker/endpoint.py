"""An endpoint that recognises over HTTP as OpenAI's does: one request, and what its failures mean.

The wire format is that of the package `openai` (`audio.transcriptions.create` and
`audio.translations.create`), and a test compares the bytes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import quote, urlsplit

import httpx2
import structlog
from pydantic import BaseModel, SecretStr, ValidationError

from hearsight_asr_worker.verbose_json import Answer
from hearsight_core.errors import (
    RemoteAnswerError,
    RemoteBusyError,
    RemoteError,
    RemoteKeyError,
    RemoteModelError,
    RemoteRefusedError,
    RemoteTooLargeError,
    RemoteUnavailableError,
)
from hearsight_core.settings import is_loopback

log = structlog.get_logger(__name__)

_CONNECT_S = 10
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An answer about 30 s of speech has some ten thousand bytes."""
_MAX_REMARK = 300
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_ASK_EVERY_S = 0.25
"""How often a pause asks whether anybody still waits."""

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY}
"""Statuses below 500 that say no more than: not now."""
_USED_UP = "insufficient_quota"
"""What OpenAI calls an account without money, with the status of too many requests."""


@dataclass(frozen=True)
class Wish:
    """What the requests of one caller have in common."""

    translate: bool
    language: str | None
    prompt: str | None
    temperature: float | None = None

    @property
    def path(self) -> str:
        """Where such requests go, below the base address."""
        return "audio/translations" if self.translate else "audio/transcriptions"

    def fields(self, model: str) -> dict[str, str | list[str]]:
        """The fields of the form besides the file, in the order of the package `openai`."""
        fields: dict[str, str | list[str]] = {"model": model}
        if self.language is not None and not self.translate:
            fields["language"] = self.language
        if self.prompt is not None:
            fields["prompt"] = self.prompt
        fields["response_format"] = "verbose_json"
        if self.temperature is not None:
            fields["temperature"] = str(self.temperature)
        if not self.translate:
            # Words always: segments are cut as people read them, and that needs their times.
            fields["timestamp_granularities[]"] = ["word", "segment"]
        return fields


class _Refusal(BaseModel):
    """An error as OpenAI writes it."""

    class Inner(BaseModel):
        """What is in it."""

        message: str = ""
        code: str | int | None = None

    error: Inner | str


class _PassingError(Exception):
    """It may go well the next time; `after_s` is how long the endpoint asks to wait, if it does."""

    def __init__(self, error: RemoteError, after_s: float | None = None) -> None:
        self.error = error
        self.after_s = after_s
        super().__init__(str(error))


class Endpoint:
    """One endpoint, spoken to by many threads at once."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: SecretStr | None,
        timeout_s: float,
        max_wait_s: float,
    ) -> None:
        host = urlsplit(url).hostname or ""
        self.host = urlsplit(url).netloc
        """Its name for people."""
        self._model = model
        self._key = api_key.get_secret_value() if api_key else ""
        self._max_wait_s = max_wait_s
        self._http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/",
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            # The engine bounds what is sent at once.
            limits=httpx2.Limits(max_connections=None),
            trust_env=not is_loopback(host),
        )

    def check(self) -> None:
        """Finds out whether the endpoint is there and takes our key; recognises nothing.

        Not every endpoint can be asked for a model, so one that knows no such question passes.

        Raises:
            RemoteKeyError: it does not take the key.
            RemoteUnavailableError: it can't be reached.
        """
        try:
            response = self._http.get(f"models/{quote(self._model, safe='/')}")
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise self._refused(response.status_code, response.content, 0)
        if not response.is_success:
            log.info("the endpoint does not tell of its model", status=response.status_code)

    def ask(self, wish: Wish, sound: bytes, given_up: Callable[[], bool]) -> Answer | None:
        """What is said in `sound`, a WAV file; None once nobody waits for it.

        A request that is put off, fails or gets no answer is sent again for some time.

        Raises:
            RemoteError: it went wrong for good, or for too long.
        """
        give_up_at = time.monotonic() + self._max_wait_s
        pause_s = _FIRST_PAUSE_S
        while not given_up():
            try:
                return self._ask_once(wish, sound)
            except _PassingError as passing:
                wait_s = pause_s if passing.after_s is None else passing.after_s
                if time.monotonic() + wait_s > give_up_at:
                    raise passing.error from passing
                log.warning(
                    "the endpoint is asked again", error=str(passing.error), wait_s=round(wait_s, 1)
                )
                _pause(wait_s, given_up)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return None

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask_once(self, wish: Wish, sound: bytes) -> Answer:
        try:
            with self._http.stream(
                "POST",
                wish.path,
                data=wish.fields(self._model),
                files={"file": ("chunk.wav", sound, "audio/wav")},
            ) as response:
                body = self._body(response)
        except httpx2.DecodingError as error:
            raise RemoteAnswerError(host=self.host, detail=str(error)) from error
        except httpx2.TransportError as error:
            raise _PassingError(self._unreachable(error)) from error
        if response.is_success:
            return self._answer(body)
        raise self._failure(response, body, len(sound))

    def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        for block in response.iter_bytes():
            body += block
            if len(body) > _MAX_ANSWER_BYTES:
                detail = f"it is longer than {_MAX_ANSWER_BYTES} bytes"
                raise RemoteAnswerError(host=self.host, detail=detail)
        return bytes(body)

    def _answer(self, body: bytes) -> Answer:
        try:
            return Answer.model_validate_json(body)
        except ValidationError as error:
            # Without the input, which is somebody's speech.
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise RemoteAnswerError(host=self.host, detail=f"{where}: {first['msg']}") from None

    def _failure(self, response: httpx2.Response, body: bytes, size_bytes: int) -> Exception:
        status = response.status_code
        if status == HTTPStatus.TOO_MANY_REQUESTS and _code_of(body) != _USED_UP:
            return _PassingError(
                RemoteBusyError(host=self.host, detail=self._remark(body)), _retry_after_s(response)
            )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
            remark = f"HTTP {status} {self._remark(body)}".strip()
            return _PassingError(
                RemoteUnavailableError(host=self.host, detail=remark), _retry_after_s(response)
            )
        return self._refused(status, body, size_bytes)

    def _refused(self, status: int, body: bytes, size_bytes: int) -> RemoteError:
        kind: type[RemoteError] = RemoteRefusedError
        more: dict[str, object] = {}
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            kind = RemoteKeyError
        elif status == HTTPStatus.NOT_FOUND:
            kind, more = RemoteModelError, {"model": self._model}
        elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            kind, more = RemoteTooLargeError, {"size_bytes": size_bytes}
        return kind(host=self.host, status=status, detail=self._remark(body), **more)

    def _unreachable(self, error: httpx2.TransportError) -> RemoteUnavailableError:
        detail = self._without_key(str(error)) or type(error).__name__
        return RemoteUnavailableError(host=self.host, detail=detail)

    def _remark(self, body: bytes) -> str:
        """What the endpoint says of an error, in few words."""
        text = body.decode(errors="replace")
        try:
            said = _Refusal.model_validate_json(body).error
            text = said if isinstance(said, str) else said.message
        except ValidationError:
            pass  # another server's way to say it
        return self._without_key(" ".join(text.split()))[:_MAX_REMARK]

    def _without_key(self, text: str) -> str:
        """`text` without our key, which an endpoint may say back to us."""
        return text.replace(self._key, "***") if self._key else text


def _pause(wait_s: float, given_up: Callable[[], bool]) -> None:
    until = time.monotonic() + wait_s
    while (left_s := until - time.monotonic()) > 0 and not given_up():
        time.sleep(min(left_s, _ASK_EVERY_S))


def _code_of(body: bytes) -> str | int | None:
    try:
        said = _Refusal.model_validate_json(body).error
    except ValidationError:
        return None
    return None if isinstance(said, str) else said.code


def _retry_after_s(response: httpx2.Response) -> float | None:
    """How long the endpoint asks to wait (RFC 9110: seconds, or a date); None: it does not say."""
    value = response.headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
