"""Cuts a recording while it is still being fetched, so that its first words need not wait."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Final, Self

from hearsight_core.errors import CorruptError, NoAudioError, UnsupportedError
from hearsight_core.telemetry.told import stage
from hearsight_download_worker.fetch import FetchProgress
from hearsight_download_worker.growing import Arrival
from hearsight_download_worker.recording_cut import Ending, RecordingCut

AFTER_S: Final = 1.0
"""A fetch that takes no longer than this is waited for: nothing would be gained."""


class _StoppedError(Exception):
    """What was cut may not be what is fetched now, or nobody waits for it any more."""


class EarlyCut:
    """The cut of one file while it grows, in a thread of its own, which ends with the block.

    Its calls come from the thread that fetches.
    """

    def __init__(self, cut: RecordingCut, path: Path) -> None:
        self._cut = cut
        self._arrival = Arrival(path)
        self._thread = ThreadPoolExecutor(1, "early-cut")
        self._stop = threading.Event()
        self._ending: Future[Ending | None] | None = None
        self._begin_at = time.monotonic() + AFTER_S
        self._seen_bytes = 0
        self.began_anew = False
        """Whether the source could not go on where the fetch broke off, and sent all again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.shutdown()
        self._arrival.close()

    def saw(self, progress: FetchProgress) -> None:
        """Notes how far the fetch has come."""
        if progress.current_bytes < self._seen_bytes:
            self.began_anew = True
            self._stop.set()
        self._seen_bytes = progress.current_bytes

    def look(self) -> None:
        """Begins to cut when the fetch has taken a while; ends the fetch when the cut has failed.

        Raises:
            HearSightError: what the cut raised.
        """
        if self._ending is not None:
            if self._ending.done():
                self._ending.result()
        elif self._seen_bytes and not self.began_anew and time.monotonic() > self._begin_at:
            self._ending = self._thread.submit(copy_context().run, self._run)

    def arrived(self) -> None:
        """Notes that the file is whole."""
        self._arrival.whole()
        if self.began_anew and self._ending is not None:
            wait([self._ending])

    def ending(self) -> Ending | None:
        """How the recording ended; None: some of it is not cut yet, or was cut of another file.

        Raises:
            HearSightError: what the cut raised.
        """
        if self._ending is None or self.began_anew:
            return None
        return self._ending.result()

    def _run(self) -> Ending | None:
        try:
            with stage("cut"):
                return self._cut.arriving(self._arrival, self._check)
        except (_StoppedError, FileNotFoundError):
            return None  # what is fetched has another name: it is whole already
        except (UnsupportedError, CorruptError, NoAudioError):
            if self._cut.last_part() is not None:
                raise
            return None  # it may be understood when it is whole

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError
