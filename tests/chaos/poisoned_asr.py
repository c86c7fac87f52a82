"""`python -m tests.chaos.poisoned_asr`: the real ASR worker around a model that can be poisoned.

The model is the real one, and does to a batch with a poisonous stretch of speech in it what
libraries and devices do: it hangs, fails from then on, aborts the process, takes all memory.
"""

import os
import sys
import time
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from hearsight_asr_worker import __main__ as asr_worker
from hearsight_asr_worker import models
from tests.chaos.tones import Poison, poison_in

LONG_S = 3600
HOARD_BYTES = 16 * 1024 * 1024
STICKY = "CUDA failed with error an illegal memory access was encountered"


class PoisonedModel(WhisperModel):  # type: ignore[misc]  # faster-whisper ships no types
    """The real model, until it meets poison."""

    _broken = False

    def encode(self, features: NDArray[np.float32]) -> Any:  # noqa: ANN401  CTranslate2's own
        """What every batch goes through first."""
        filters = self.feature_extractor.mel_filters
        for stretch in features:
            self._suffer(poison_in(stretch, filters))
        if self._broken:
            raise RuntimeError(STICKY)
        return super().encode(features)

    def _suffer(self, poison: Poison | None) -> None:
        if poison is Poison.HANG:
            time.sleep(LONG_S)
        elif poison is Poison.STICKY:
            type(self)._broken = True
        elif poison is Poison.ABORT:
            os.abort()
        elif poison is Poison.MEMORY:
            hoard = []
            while True:
                hoard.append(bytearray(os.urandom(1)) * HOARD_BYTES)


if __name__ == "__main__":
    models.WhisperModel = PoisonedModel  # type: ignore[attr-defined]  # where it is loaded
    sys.exit(asr_worker.main())
