"""Begins the children of fetches: forked where that is safe, else started anew.

See `forker.py` for the process that is forked from, `fetcher.py` for what a child is and does.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Final

from hearsight_download_worker.child import Child, OnSocket, ended, start

FORKS: Final = sys.platform == "linux"
"""Elsewhere, what frameworks of the system keep for themselves may not survive a fork, as on macOS,
and nothing ends a child with its parent."""

_FORK: Final = b"\0"
"""A message to the forker; what counts are the descriptors with it."""
_NO_HOME: Final = {"HOME": os.devnull}
"""Whatever looks for settings of its user before there is an order finds none."""


@dataclass
class _Forked:
    """A child of the forker's."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    life: socket.socket
    forker: subprocess.Popen[bytes]
    code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, as `Popen.wait` tells it.

        Raises:
            subprocess.TimeoutExpired: it has not ended in `timeout` seconds.
        """
        if self.code is None:
            self.life.settimeout(timeout)
            try:
                told = self.life.recv(16)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("a fetch", timeout or 0) from error
            self.code = int(told) if told else self._forkers_fate(timeout)
        return self.code

    def kill(self) -> None:
        """Has it killed."""
        self.life.shutdown(socket.SHUT_WR)

    def _forkers_fate(self, timeout: float | None) -> int:
        """The forker is gone, and its children with it; without a signal, it could not start."""
        code = self.forker.wait(timeout)
        return -signal.SIGKILL if code < 0 else code


class Fetchers:
    """Begins children; may be used by several threads."""

    def __init__(self, *, forks: bool = FORKS) -> None:
        self._forks = forks
        self._guard = threading.Lock()
        self._forker: OnSocket | None = None

    @contextmanager
    def fetching(self, words: IO[bytes]) -> Iterator[Child]:
        """A child that waits for its order; it ends with the block.

        Args:
            words: A file for what it says on its standard error.
        """
        if not self._forks:
            cold = start(
                "hearsight_download_worker.fetcher",
                stdin=subprocess.PIPE,
                stderr=words,
                env=_NO_HOME,
            )
            with ended(cold):
                yield cold
            return
        with ExitStack() as kept:
            child = self._forked(kept, words)
            try:
                yield child
            finally:
                child.kill()
                child.wait()

    def close(self) -> None:
        """Ends the process that is forked from."""
        with self._guard:
            if self._forker is not None:
                self._forker.close()
                self._forker = None

    def _forked(self, kept: ExitStack, words: IO[bytes]) -> _Forked:
        with ExitStack() as given:
            their_in, our_in = _pipe(reads=given, writes=kept)
            our_out, their_out = _pipe(reads=kept, writes=given)
            our_life, their_life = socket.socketpair()
            kept.enter_context(our_life)
            given.enter_context(their_life)
            files = [file.fileno() for file in (their_in, their_out, words, their_life)]
            return _Forked(our_in, our_out, our_life, self._taken_by(files))

    def _taken_by(self, files: list[int]) -> subprocess.Popen[bytes]:
        """The forker that takes an order; a new one, if there is none or it has ended."""
        with self._guard:
            if self._forker is not None and self._forker.take(_FORK, files):
                return self._forker.process
            if self._forker is not None:
                self._forker.close()
            # Each message by itself: one order is never taken for two. What it has to say is about
            # our own installation, and goes where our own words go.
            self._forker = OnSocket.started(
                "hearsight_download_worker.forker",
                kind=socket.SOCK_SEQPACKET,
                stderr=None,
                env=_NO_HOME,
            )
            # If this one has ended as well, its child is asked why as any that has said nothing.
            self._forker.take(_FORK, files)
            return self._forker.process


def _pipe(*, reads: ExitStack, writes: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """A pipe, whose ends are closed with one and the other."""
    read, write = os.pipe()
    return (
        reads.enter_context(os.fdopen(read, "rb", buffering=0)),
        writes.enter_context(os.fdopen(write, "wb", buffering=0)),
    )
