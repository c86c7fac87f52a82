"""The way in which a part is recognised: what besides its audio decides its segments."""

import hashlib
import json
from importlib.metadata import version

from hearsight_asr_worker.engine import ModelInfo
from hearsight_core.contract import RecognitionOptions

REVISION = 1
"""Raise it with every change after which the same audio gives other segments than before."""

_LIBRARIES = ("faster-whisper", "ctranslate2")
_ELSEWHERE = {
    # What they decide is in the audio of the part, and in its chunks.
    *("from_ms", "to_ms", "split_channels"),
    *("vad_threshold", "vad_min_speech_duration_ms"),
    *("vad_min_silence_duration_ms", "vad_speech_pad_ms"),
    # How a job is done, not what comes of it.
    "reuse",
}


class Way:
    """How this process recognises, whatever it is asked."""

    def __init__(self, info: ModelInfo) -> None:
        self._own = [
            REVISION,
            *map(version, _LIBRARIES),
            *(info.name, info.revision, info.device, info.compute_type, info.decoding),
        ]

    def of(self, options: RecognitionOptions) -> str:
        """A digest, equal where equal audio is recognised equally.

        Options that are left out are the worker's own, which are in it; asking for the same by name
        is another way, for all that is known here.
        """
        asked = {name: value for name, value in options.stored().items() if name not in _ELSEWHERE}
        what = json.dumps([self._own, asked], sort_keys=True)
        return hashlib.sha256(what.encode()).hexdigest()
