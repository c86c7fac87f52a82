"""Children in which what strangers sent is looked at: what they see of us, and how they are heard.

A decoder or a fetch that a bad file or page brings to a standstill, to its end, or to all memory
harms the child it runs in and nothing else.
"""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, Protocol

_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""All that a child sees of our environment, which holds keys and passwords."""

_POLL_MS: Final = 500
"""Time between two checks while a child is silent."""

_READ_BYTES: Final = 1024 * 1024

MAX_LINE_BYTES: Final = 1024 * 1024
"""Longest line a child may say."""


class Child(Protocol):
    """A child as those need it who began it: what `Popen` and children forked for us share."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where it reads."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it says."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or the signal that ended it as a negative number."""


def start(
    module: str,
    *arguments: str,
    stdin: IO[bytes] | socket.socket | int,
    stderr: IO[bytes] | int | None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Runs a module of ours as a child.

    `env` is what it sees on top of the few variables that a program needs to run.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-m", module, *arguments],
        stdin=stdin if isinstance(stdin, int) else stdin.fileno(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        | dict(env or {}),
    )


@dataclass(frozen=True)
class OnSocket:
    """A child that is told what to do on a socket, which is its standard input.

    It ends when our end of that is closed, and so never outlives this process.
    """

    process: subprocess.Popen[bytes]
    orders: socket.socket

    @classmethod
    def started(
        cls,
        module: str,
        *,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        stderr: IO[bytes] | int | None,
        env: Mapping[str, str] | None = None,
    ) -> "OnSocket":
        """Runs a module of ours, as `start` does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with theirs:
            return cls(start(module, stdin=theirs, stderr=stderr, env=env), ours)

    def take(self, message: bytes, files: Sequence[int]) -> bool:
        """Hands it a message and descriptors; False if it has ended."""
        try:
            socket.send_fds(self.orders, [message], files)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def close(self) -> None:
        """Closes our end, and waits for the child."""
        self.orders.close()
        with self.process:
            pass


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Ends a child with the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


class Heard:
    """What a child says on its standard output, read without waiting blindly."""

    def __init__(self, process: Child, check: Callable[[], None]) -> None:
        assert process.stdout is not None  # noqa: S101  it was asked for
        self._out: IO[bytes] = process.stdout
        self._check = check
        self._held = bytearray()

    def line(self) -> bytes | None:
        """The next line, without its end; None if no whole one of `MAX_LINE_BYTES` comes."""
        while (line_end := self._held.find(b"\n")) < 0:
            if len(self._held) > MAX_LINE_BYTES or not self._receive():
                return None
        line = bytes(self._held[:line_end])
        del self._held[: line_end + 1]
        return line

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end."""
        self._check()
        while len(self._held) < size and self._receive():
            pass
        block = bytes(self._held[:size])
        del self._held[:size]
        return block

    def _receive(self) -> bool:
        """Waits for more; False at the end."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while not poll.poll(_POLL_MS):
            self._check()
        received = os.read(self._out.fileno(), _READ_BYTES)
        self._held += received
        return bool(received)
