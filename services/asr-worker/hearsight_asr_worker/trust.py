"""How far a model's text can be trusted, by Whisper's own measures (openai/whisper, transcribe.py).

Both a model in the worker and an endpoint elsewhere are judged by these.
"""

import zlib

LEAST_NO_SPEECH_PROB = 0.6
LEAST_LOGPROB = -1.0
MOST_COMPRESSION_RATIO = 2.4


def compression_ratio(text: str) -> float:
    """Length of the text by its length compressed: how repetitive it is."""
    plain = text.encode()
    return len(plain) / len(zlib.compress(plain))


def is_silence(text: str, *, no_speech_prob: float, avg_logprob: float) -> bool:
    """Whether there is no speech: the model says so, and does not trust its own words.

    Or wrote none: of music it may make a row of full stops.
    """
    unsure = no_speech_prob > LEAST_NO_SPEECH_PROB and avg_logprob < LEAST_LOGPROB
    return unsure or not any(character.isalnum() for character in text)
