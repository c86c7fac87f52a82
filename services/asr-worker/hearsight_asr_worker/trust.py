"""How far a model's text can be trusted, by Whisper's own measures (openai/whisper, transcribe.py).

Both a model in the worker and an endpoint elsewhere are judged by these.
"""

import zlib
from dataclasses import dataclass

from hearsight_core.contract import RecognitionOptions


@dataclass(frozen=True)
class Thresholds:
    """From where on a text is doubtful, or silence; as they are, Whisper's own.

    Attributes:
        compression_ratio: More is repetitive.
        log_prob: A mean log probability below it is low.
        no_speech: A probability above it means that nobody speaks, if the text is doubtful.
    """

    compression_ratio: float = 2.4
    log_prob: float = -1.0
    no_speech: float = 0.6

    @classmethod
    def of(cls, options: RecognitionOptions) -> "Thresholds":
        """The thresholds that a job asks for."""
        asked = {
            "compression_ratio": options.compression_ratio_threshold,
            "log_prob": options.log_prob_threshold,
            "no_speech": options.no_speech_threshold,
        }
        return cls(**{name: value for name, value in asked.items() if value is not None})

    def is_low(self, avg_logprob: float) -> bool:
        """Whether the model holds its own text for improbable."""
        return avg_logprob < self.log_prob

    def is_silence(self, text: str, *, no_speech_prob: float, avg_logprob: float) -> bool:
        """Whether there is no speech: the model says so, and does not trust its own words.

        Or wrote none: of music it may make a row of full stops.
        """
        unsure = no_speech_prob > self.no_speech and self.is_low(avg_logprob)
        return unsure or not any(character.isalnum() for character in text)


WHISPERS = Thresholds()


def compression_ratio(text: str) -> float:
    """Length of the text by its length compressed: how repetitive it is."""
    plain = text.encode()
    return len(plain) / len(zlib.compress(plain))
