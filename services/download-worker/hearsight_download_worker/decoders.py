"""Decoders, the next of which is started beforehand.

To start Python and to load FFmpeg takes longer than to decode a short recording.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hearsight_download_worker.child import ended, start


@dataclass(frozen=True)
class _Waiting:
    """A decoder that has no file yet, and our end of the socket on which it comes.

    It ends when that is closed, and so never outlives this process.
    """

    process: subprocess.Popen[bytes]
    socket: socket.socket

    @classmethod
    def started(cls) -> "_Waiting":
        ours, theirs = socket.socketpair()
        with theirs:
            process = start(
                "hearsight_download_worker.decoder", stdin=theirs, stderr=subprocess.PIPE
            )
        return cls(process, ours)

    def begin(self, files: Sequence[int], order: bytes) -> bool:
        """Hands it the file and what to do with it; False if it has ended meanwhile."""
        with self.socket:
            try:
                socket.send_fds(self.socket, [order], files)
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True


class Decoders:
    """Starts decoders; may be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._next: _Waiting | None = None

    def prepare(self) -> None:
        """Starts the next one, if none waits."""
        with self._guard:
            if self._next is None:
                self._next = _Waiting.started()

    @contextmanager
    def decoding(
        self, files: Sequence[int], order: Mapping[str, int | None]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A decoder at work on an open file; it ends with the block.

        `files` are the descriptors and `order` is what `decoder.py` wants to know.
        """
        told = json.dumps(order).encode()
        waiting = self._taken()
        if waiting is None or not waiting.begin(files, told):
            if waiting is not None:
                _end(waiting)
            waiting = _Waiting.started()
            # If this one has ended as well, it is asked why as any other that has said nothing.
            waiting.begin(files, told)
        with ended(waiting.process) as process:
            yield process

    def close(self) -> None:
        """Ends the one that waits."""
        waiting = self._taken()
        if waiting is not None:
            _end(waiting)

    def _taken(self) -> _Waiting | None:
        with self._guard:
            waiting, self._next = self._next, None
            return waiting


def _end(waiting: _Waiting) -> None:
    with waiting.socket, ended(waiting.process):
        pass
