"""Decoders, the next of which is started beforehand.

To start Python and to load FFmpeg takes longer than to decode a short recording.
"""

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hearsight_download_worker.child import OnSocket, ended


class Decoders:
    """Starts decoders; may be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._next: OnSocket | None = None

    def prepare(self) -> None:
        """Starts the next one, if none waits."""
        with self._guard:
            if self._next is None:
                self._next = _started()

    @contextmanager
    def decoding(
        self, files: Sequence[int], order: Mapping[str, int | None]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A decoder at work on an open file; it ends with the block.

        `files` are the descriptors and `order` is what `decoder.py` wants to know.
        """
        told = json.dumps(order).encode()
        waiting = self._taken()
        if waiting is None or not _begun(waiting, files, told):
            if waiting is not None:
                _end(waiting)
            waiting = _started()
            # If this one has ended as well, it is asked why as any other that has said nothing.
            _begun(waiting, files, told)
        with ended(waiting.process) as process:
            yield process

    def close(self) -> None:
        """Ends the one that waits."""
        waiting = self._taken()
        if waiting is not None:
            _end(waiting)

    def _taken(self) -> OnSocket | None:
        with self._guard:
            waiting, self._next = self._next, None
            return waiting


def _started() -> OnSocket:
    return OnSocket.started("hearsight_download_worker.decoder", stderr=subprocess.PIPE)


def _begun(waiting: OnSocket, files: Sequence[int], order: bytes) -> bool:
    """Hands it the file and what to do with it; False if it has ended meanwhile."""
    with waiting.orders:
        return waiting.take(order, files)


def _end(waiting: OnSocket) -> None:
    with waiting.orders, ended(waiting.process):
        pass
