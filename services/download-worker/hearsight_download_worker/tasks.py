"""One job's media, from its address to parts that can be recognised."""

import mimetypes
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hearsight_core.addresses import AddressGuard
from hearsight_core.jobs import Job
from hearsight_core.lease import Lease
from hearsight_core.messages import render
from hearsight_core.settings import DownloadSettings
from hearsight_core.storage import job_prefix
from hearsight_core.store import work
from hearsight_core.store.work import Media
from hearsight_core.telemetry.metrics import DOWNLOADED_BYTES
from hearsight_core.telemetry.told import stage
from hearsight_core.worker_process import Context
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.download_news import DownloadNews
from hearsight_download_worker.early import EarlyCut
from hearsight_download_worker.fetch import GROWING_FILE, Fetched, FetchLimits, FetchProgress
from hearsight_download_worker.fetchers import Fetchers
from hearsight_download_worker.fetching import fetch_apart
from hearsight_download_worker.recording_cut import Ending, RecordingCut

SCRATCH_PREFIX = "hearsight-"
SCRATCH_KEPT_S = 24 * 3600


def sweep_scratch(folder: Path) -> None:
    """Removes what killed workers left in the scratch folder more than a day ago."""
    for left in folder.glob(f"{SCRATCH_PREFIX}*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > SCRATCH_KEPT_S:
            shutil.rmtree(left, ignore_errors=True)


class Downloader:
    """What a download worker does with a task: fetch, store, decode, find the speech, cut."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._scratch = settings.scratch_dir or Path(tempfile.gettempdir())
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._guard = AddressGuard(settings.allow_hosts)
        self._decoders = Decoders()
        self._fetchers = Fetchers()
        sweep_scratch(self._scratch)

    def close(self) -> None:
        """Ends the decoder that waits for the next job, and what fetches are forked from."""
        self._decoders.close()
        self._fetchers.close()

    def __call__(self, lease: Lease, context: Context) -> None:
        """Brings the leased job to the point where only recognition is left.

        Every step starts where an earlier attempt got to: media that is stored is not fetched
        again, and cutting goes on after the last part.

        Raises:
            HearSightError: as its steps raise it; an Interruption from the lease.
        """
        cut = RecordingCut(lease, context, self._settings, self._decoders)
        # Each attempt has a folder of its own: an earlier one may still be writing in its own.
        with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=self._scratch) as made:
            folder, ending = Path(made), None
            try:
                if lease.job.media_key is None:
                    path, ending = self._bring(lease, context, cut, folder)
                else:
                    with stage("fetch"):
                        path = self._stored(lease, context, lease.job.media_key, folder)
                    if not lease.job.speech_ms:
                        cut.tell()
                if ending is None:
                    with stage("cut"):
                        ending = cut.rest(path)
            finally:
                self._decoders.prepare()
        worker = context.worker
        worker.publish(
            work.finish_cut(
                worker.database, lease.task, ending.duration_ms, truncated=ending.truncated
            )
        )

    def _bring(
        self, lease: Lease, context: Context, cut: RecordingCut, folder: Path
    ) -> tuple[Path, Ending | None]:
        """Fetches the media and stores it; what is cut of it meanwhile is of this very file."""
        # No source sends its media again and again while there is nowhere to put it.
        context.storage.ping()
        # Parts that are there already are of a file that an earlier attempt fetched.
        cut_before = lease.job.speech_ms > 0
        may_begin = not (cut_before or lease.job.options.split_channels)
        told = DownloadNews(lease, context)
        with EarlyCut(cut, folder / GROWING_FILE) as early:

            def saw(progress: FetchProgress) -> None:
                early.saw(progress)
                told(progress)

            def check() -> None:
                lease.check()
                if may_begin:
                    early.look()

            with stage("fetch"):
                fetched = self._fetch(lease.job, folder, saw, check)
            early.arrived()
            if cut_before or early.began_anew:
                with stage("compare"):
                    cut.compare(fetched.path)
            with stage("store_media"):
                self._store(lease, context, fetched)
            cut.tell()
            ending = early.ending()
        return fetched.path, ending and cut.confirm(fetched.path, ending)

    def _fetch(
        self,
        job: Job,
        folder: Path,
        on_progress: Callable[[FetchProgress], None],
        check: Callable[[], None],
    ) -> Fetched:
        assert job.source_url is not None, "a job without media has a URL"  # noqa: S101
        settings = self._settings
        return fetch_apart(
            job.source_url,
            folder,
            fetchers=self._fetchers,
            guard=self._guard,
            limits=FetchLimits(
                max_bytes=settings.max_download_bytes,
                max_duration_s=settings.max_duration_s,
                timeout_s=settings.download_timeout_s,
                socket_timeout_s=settings.socket_timeout_s,
            ),
            memory_mib=settings.fetcher_memory_mib,
            language=job.options.language,
            on_progress=on_progress,
            check=check,
        )

    def _store(self, lease: Lease, context: Context, fetched: Fetched) -> None:
        """Stores the original; no later attempt fetches it again."""
        worker = context.worker
        key = f"{job_prefix(lease.job.id)}media/{lease.task.id}-{lease.task.attempt}"
        context.storage.put_file(key, fetched.path)
        lease.check_held()
        DOWNLOADED_BYTES.inc(fetched.size_bytes)
        worker.publish(
            work.set_media(
                worker.database,
                lease.task,
                Media(
                    key=key,
                    filename=fetched.filename,
                    size_bytes=fetched.size_bytes,
                    media_type=mimetypes.guess_type(fetched.filename)[0],
                ),
                self._message(fetched, context),
            )
        )

    @staticmethod
    def _message(fetched: Fetched, context: Context) -> str:
        if fetched.playlist_entries is not None:
            return render(
                "progress.download_first_entry",
                context.worker.language,
                entries=fetched.playlist_entries,
            )
        return render("progress.download", context.worker.language)

    @staticmethod
    def _stored(lease: Lease, context: Context, key: str, folder: Path) -> Path:
        path = folder / "media"
        for _ in context.storage.get_file(key, path):
            lease.check()
        return path
