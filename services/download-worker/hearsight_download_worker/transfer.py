"""How far a fetch has come, and whether it grows too large."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hearsight_core.errors import TooLargeError, UnsupportedError
from hearsight_download_worker.guarded_http import stopping

MAX_FRAGMENT_BYTES: Final = 512 * 1024 * 1024
"""Largest piece of an HLS or DASH stream, bytes: yt-dlp holds one in memory."""

_ALMOST_DONE: Final = 99.0
"""An estimate never says more; only the end is 100."""


@dataclass(frozen=True)
class FetchProgress:
    """Where a fetch stands; what is not known is None.

    `percent` never goes back. Where no total is known it counts the pieces of a stream, or goes by
    the bit rate and duration its source names.
    """

    current_bytes: int
    total_bytes: int | None
    speed: float | None
    eta_seconds: float | None
    percent: float | None
    filename: str | None


class Transfer:
    """Follows one fetch by yt-dlp's progress hook."""

    def __init__(self, max_bytes: int, on_progress: Callable[[FetchProgress], None]) -> None:
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        self._filename: str | None = None
        self._estimate_bytes: float | None = None
        self._percent: float | None = None
        self._told: tuple[int, int | None] | None = None
        self._fragment = 0
        self._fragment_start_bytes = 0

    def begin(self, filename: str, info: Mapping[str, Any]) -> None:
        """Notes what yt-dlp knows of the medium before its bytes come."""
        self._filename = filename
        self._estimate_bytes = info.get("filesize") or info.get("filesize_approx")

    def hook(self, status: Mapping[str, Any]) -> None:
        """Takes one call of yt-dlp's `progress_hooks`; its field names are yt-dlp's.

        Raises:
            Stop: with TooLargeError; or with what `on_progress` raised.
        """
        if status["status"] not in ("downloading", "finished"):
            return
        total: int | None = status.get("total_bytes")
        current = int(status.get("downloaded_bytes") or total or 0)
        with stopping():
            self._check_size(current, total, status.get("fragment_index"))
            if (current, total) == self._told:
                return
            self._told = (current, total)
            self._on_progress(
                FetchProgress(
                    current_bytes=current,
                    total_bytes=total,
                    speed=status.get("speed"),
                    eta_seconds=status.get("eta"),
                    percent=self._advance(current, total, status),
                    filename=self._filename,
                )
            )

    def _check_size(self, current: int, total: int | None, fragment: int | None) -> None:
        if max(current, total or 0) > self._max_bytes:
            raise TooLargeError(limit_bytes=self._max_bytes)
        if fragment is None:
            return
        if fragment != self._fragment:
            self._fragment, self._fragment_start_bytes = fragment, current
        elif current - self._fragment_start_bytes > MAX_FRAGMENT_BYTES:
            raise UnsupportedError(detail=f"a piece of more than {MAX_FRAGMENT_BYTES} bytes")

    def _advance(self, current: int, total: int | None, status: Mapping[str, Any]) -> float | None:
        percent = self._measured(current, total, status)
        if percent is not None:
            self._percent = max(self._percent or 0.0, percent)
        return self._percent

    def _measured(self, current: int, total: int | None, status: Mapping[str, Any]) -> float | None:
        if status["status"] == "finished":
            return 100.0
        if total:
            return min(100.0, 100.0 * current / total)
        fragments: int | None = status.get("fragment_count")
        if fragments:
            done: int = status.get("fragment_index", 0)
            return min(_ALMOST_DONE, 100 * done / fragments)
        if self._estimate_bytes:
            return min(_ALMOST_DONE, 100.0 * current / self._estimate_bytes)
        return None
