"""The form in which speech is handed on: WAV, 16 kHz, mono, 16 bit."""

import io
import wave
from typing import Final

SAMPLE_RATE_HZ: Final = 16_000


def wav(pcm: bytes) -> bytes:
    """A WAV file of such samples, which are little-endian integers."""
    content = io.BytesIO()
    with wave.open(content, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(SAMPLE_RATE_HZ)
        audio.writeframes(pcm)
    return content.getvalue()
