"""A file decoded whole, as the download worker does it, and the children that do it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from hearsight_download_worker.audio import Audio, open_audio
from hearsight_download_worker.decoders import Decoders
from hearsight_download_worker.growing import Arrival
from tests.speech import silence


def opened(
    path: Path,
    *,
    start_ms: int = 0,
    from_ms: int = 0,
    max_duration_s: float = 3600,
    memory_mib: int = 512,
    arrival: Arrival | None = None,
    check: Callable[[], None] = lambda: None,
    decoders: Decoders | None = None,
) -> tuple[Audio, NDArray[np.int16]]:
    """What the file is, and all of its sound; the arguments are `open_audio`'s."""
    with open_audio(
        path,
        memory_mib=memory_mib,
        max_duration_s=max_duration_s,
        start_ms=start_ms,
        from_ms=from_ms,
        arrival=arrival,
        check=check,
        decoders=decoders,
    ) as audio:
        blocks = list(audio.blocks(7))
    return audio, np.concatenate(blocks) if blocks else silence(0)


def children() -> list[psutil.Process]:
    """The decoders of this process."""
    return [
        child
        for child in psutil.Process().children()
        if "hearsight_download_worker.decoder" in child.cmdline()
    ]
