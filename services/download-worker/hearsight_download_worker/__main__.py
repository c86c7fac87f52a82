"""`python -m hearsight_download_worker`: a download worker; `--check` tells what it has."""

import argparse
import json
import subprocess
import sys
from contextlib import closing

import structlog

from hearsight_core import environment
from hearsight_core.contract import TaskKind, queue_of
from hearsight_core.first_process import end_on_sigterm
from hearsight_core.settings import DownloadSettings
from hearsight_core.worker_process import configure_logs, serve

log = structlog.get_logger(__name__)

DEFAULT_SLOTS = 2


def tools() -> dict[str, str]:
    """The versions of what the worker is made of.

    Raises:
        OSError, subprocess.SubprocessError: the JavaScript runtime does not run.
    """
    import av  # noqa: PLC0415  only the check needs it in this process
    import deno  # noqa: PLC0415  as above
    from yt_dlp.version import __version__ as yt_dlp_version  # noqa: PLC0415  as above

    said = subprocess.run(
        [deno.find_deno_bin(), "--version"], capture_output=True, text=True, check=True, timeout=20
    )
    return {
        "yt_dlp": yt_dlp_version,
        "pyav": av.__version__,
        "ffmpeg_libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "deno": said.stdout.split()[1],
    }


def main() -> int:
    """Downloads until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="hearsight_download_worker", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say what is installed, end")
    if parser.parse_args().check:
        try:
            sys.stdout.write(json.dumps(tools()) + "\n")
        except (ImportError, OSError, subprocess.SubprocessError) as error:
            sys.stdout.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
            return 1
        return 0
    settings = environment.read(DownloadSettings)
    configure_logs(settings)
    # Imported here, so that --check can tell which of them is missing.
    from hearsight_download_worker.tasks import Downloader  # noqa: PLC0415

    with closing(Downloader(settings)) as work:
        return serve(
            queue_of(TaskKind.DOWNLOAD),
            settings,
            slots=settings.worker_concurrency or DEFAULT_SLOTS,
            work=work,
        )


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
