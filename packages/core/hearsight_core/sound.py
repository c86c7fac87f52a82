"""The form in which speech is handed on: WAV, 16 kHz, mono, 16 bit."""

import hashlib
import io
import json
import wave
from collections.abc import Sequence
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


def digest(pcm: bytes, chunks: Sequence[tuple[int, int]], owner: str) -> str:
    """What is the same for equal sound in equal chunks, of one owner and nobody else.

    `chunks` are (start_ms, end_ms) in that sound. The owner is in it, so that what another owner
    has can't be found by it, nor guessed at.
    """
    what = json.dumps({"owner": owner, "chunks": [list(chunk) for chunk in chunks]})
    return hashlib.sha256(what.encode() + b"\0" + pcm).hexdigest()
