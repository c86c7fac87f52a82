"""The folder that a local stack lives in: its lock, and what it remembers between runs."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hearsight_core.keys import new_token

LOCK_TRIES = 3
"""`running` takes the lock for an instant, which must not look like a stack."""


class State(BaseModel):
    """What `stack.json` holds. It stays when the stack stops, so that ports stay the same."""

    model_config = ConfigDict(extra="ignore")

    pid: int
    """The stack itself."""
    pids: dict[str, int] = {}
    """Its programs, by name."""
    ports: dict[str, int] = {}
    """The port of each program."""
    url: str
    """Address of the API."""
    environment: dict[str, str] = {}
    """The HEARSIGHT_ variables that the stack runs with, passwords included."""
    sample_job: int | None = None
    """The job that recognised the spoken sample in the last run."""


class AlreadyRunningError(Exception):
    """Another stack holds this home."""

    def __init__(self, state: State | None) -> None:
        self.state = state
        super().__init__("a stack runs in this home already")


class Home:
    """A stack's folder, open to nobody else where it is new."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()

    @property
    def state_file(self) -> Path:
        """Where the state lies; only its owner can read it."""
        return self.path / "stack.json"

    @property
    def media(self) -> Path:
        """Where media and results lie."""
        return self.path / "media"

    @property
    def scratch(self) -> Path:
        """Where workers keep files in work; of no use to a later run."""
        return self.path / "scratch"

    @property
    def key_file(self) -> Path:
        """Where the stack's own API key lies; only its owner can read it."""
        return self.path / "api-key"

    def api_key(self) -> str:
        """The stack's own API key, made when it is first asked for."""
        try:
            return self.key_file.read_text().strip()
        except FileNotFoundError:
            _write_secret(self.key_file, f"{new_token()}\n")
        return self.key_file.read_text().strip()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the home for the length of the block; the lock ends with the process.

        Raises:
            AlreadyRunningError: another process holds it.
            OSError: the folder can't be made or written.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as file:
            for tries_left in reversed(range(LOCK_TRIES)):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if not tries_left:
                        raise AlreadyRunningError(self.state()) from error
                time.sleep(0.1)
            yield

    def running(self) -> State | None:
        """The state of the stack that runs here now; None: none does."""
        try:
            file = (self.path / "lock").open("rb")
        except OSError:
            return None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return self.state()
        return None

    def state(self) -> State | None:
        """What the last run, or the present one, remembered; None: nothing that can be read."""
        try:
            return State.model_validate_json(self.state_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def remember(self, state: State) -> None:
        """Replaces the state, in one step."""
        fresh = self.state_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        _write_secret(fresh, state.model_dump_json(indent=2))
        fresh.replace(self.state_file)


def _write_secret(path: Path, text: str) -> None:
    """A new file that nobody else could read at any moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
