"""The downloaders of yt-dlp that are used: HTTP, HLS and DASH, all by its own request handler."""

from collections.abc import Mapping
from typing import Any, Final

from yt_dlp.downloader import DashSegmentsFD, FileDownloader, HlsFD, get_suitable_downloader
from yt_dlp.downloader.http import HttpFD

from hearsight_core.errors import UnsupportedError


class _ClosesItsFile:
    """Closes the file of a stream in pieces when it is interrupted, which yt-dlp leaves open."""

    _context: Mapping[str, Any] = {}

    def _prepare_frag_download(self, ctx: dict[str, Any]) -> None:
        self._context = ctx
        super()._prepare_frag_download(ctx)  # type: ignore[misc]  # yt-dlp ships no types

    def real_download(self, filename: str, info_dict: dict[str, Any]) -> bool:
        try:
            done: bool = super().real_download(filename, info_dict)  # type: ignore[misc]  # as above
            return done
        finally:
            if "dest_stream" in self._context:
                self._context["dest_stream"].close()


class _Hls(_ClosesItsFile, HlsFD):  # type: ignore[misc]  # yt-dlp ships no types
    pass


class _Dash(_ClosesItsFile, DashSegmentsFD):  # type: ignore[misc]  # yt-dlp ships no types
    pass


_USED: Final[dict[type[FileDownloader], type[FileDownloader]]] = {
    HttpFD: HttpFD,
    HlsFD: _Hls,
    DashSegmentsFD: _Dash,
}
"""What is used in place of the downloader that yt-dlp would use."""


def downloader_for(info: Mapping[str, Any], params: Mapping[str, Any]) -> type[FileDownloader]:
    """The downloader for a stream.

    Args:
        info: What yt-dlp knows of the stream; its field names are yt-dlp's.
        params: What yt-dlp was told.

    Raises:
        UnsupportedError: yt-dlp would start another program, or use another way to the network.
    """
    used = _USED.get(get_suitable_downloader(dict(info), params))
    if used is None:
        raise UnsupportedError(detail=f"it is offered by {info.get('protocol')} only")
    return used
