"""What is asked of the model for a stretch of speech: what one batch has in common."""

from dataclasses import dataclass
from typing import Any

from hearsight_asr_worker.trust import Thresholds
from hearsight_core.contract import RecognitionOptions

FULL_FRAMES = 3000
"""The window Whisper was trained with: 30 s, in frames of 10 ms."""
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_BEST_OF = 5
"""How Whisper tries, and again by chance (openai/whisper, transcribe.py)."""


@dataclass(frozen=True)
class Request:
    """What all stretches of speech in one batch have in common.

    Their `window` is how many frames are encoded, and part of it so that a text does not depend on
    what else is in the batch.
    """

    language: str
    task: str
    initial_prompt: str | None
    hotwords: str | None
    beam_size: int
    temperatures: tuple[float, ...]
    thresholds: Thresholds
    window: int = FULL_FRAMES

    @classmethod
    def of(cls, options: RecognitionOptions, language: str, *, beam_size: int) -> "Request":
        """The request that `options` make, for speech in `language`.

        `beam_size` is for those that ask for none.
        """
        return cls(
            language=language,
            task=options.task,
            initial_prompt=options.initial_prompt,
            hotwords=options.hotwords,
            beam_size=options.beam_size or beam_size,
            temperatures=options.temperature or _TEMPERATURES,
            thresholds=Thresholds.of(options),
        )

    def decoding(self, temperature: float) -> dict[str, Any]:
        """CTranslate2's keywords for a try at `temperature`: the likeliest text, or by chance."""
        if temperature == 0:
            return {"beam_size": self.beam_size, "patience": 1}
        return {
            "beam_size": 1,
            "num_hypotheses": _BEST_OF,
            "sampling_topk": 0,
            "sampling_temperature": temperature,
        }
