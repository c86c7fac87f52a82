"""Real speech with known words, for every test that needs some.

The clips and their texts come with the package pytest-audioeval; longer recordings are those clips
joined in shuffled orders with pauses between, so that every word and its place are known.
"""

import io
import random
import re
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jiwer
import numpy as np
import soundfile
from numpy.typing import NDArray
from pytest_audioeval.samples import registry

SAMPLE_RATE = 16_000

# fmt: off
_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# fmt: on


@dataclass(frozen=True)
class Sample:
    """A spoken clip: `audio` is mono int16 at 16 kHz, `text` what is said in it."""

    path: Path
    text: str
    audio: NDArray[np.int16]

    @property
    def duration_ms(self) -> int:
        """How long the clip is, milliseconds."""
        return len(self.audio) * 1000 // SAMPLE_RATE


@dataclass(frozen=True)
class Span:
    """Where in a recording a clip lies, milliseconds, and what is said there."""

    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class Recording:
    """Clips joined with pauses: mono int16 at 16 kHz, and what is said where."""

    audio: NDArray[np.int16]
    text: str
    words: list[str]
    spans: list[Span]

    @property
    def duration_ms(self) -> int:
        """How long the recording is, milliseconds."""
        return len(self.audio) * 1000 // SAMPLE_RATE

    def stretches(self, longest_ms: int) -> tuple[tuple[int, int], ...]:
        """Its speech in stretches from pause to pause, as long as allowed, in milliseconds."""
        found: list[tuple[int, int]] = []
        for span in self.spans:
            if found and span.end_ms + 100 - found[-1][0] <= longest_ms:
                found[-1] = (found[-1][0], span.end_ms + 100)
            else:
                found.append((span.start_ms - 100, span.end_ms + 100))
        return tuple(found)


@cache
def _samples(language: str) -> tuple[Sample, ...]:
    folder = Path(registry.__file__).parent / "audio" / language
    return tuple(_read(path) for path in sorted(folder.glob("*.wav")))


def _read(path: Path) -> Sample:
    # Read as floats: libsndfile does not scale float files when it is asked for integers.
    loudness, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE or loudness.ndim != 1:
        raise ValueError(f"{path} is not mono at {SAMPLE_RATE} Hz")
    return Sample(
        path=path,
        text=path.with_suffix(".txt").read_text("utf-8").strip(),
        audio=np.clip(np.round(loudness * 32768), -32768, 32767).astype(np.int16),
    )


def samples(language: str = "en") -> list[Sample]:
    """Every clip in `language` (en, es, fr, hi, it, ja, pl, pt or zh), by name."""
    found = _samples(language)
    if not found:
        raise ValueError(f"There are no spoken samples in {language}")
    return list(found)


def silence(duration_s: float) -> NDArray[np.int16]:
    """Digital silence of `duration_s` seconds."""
    return np.zeros(round(duration_s * SAMPLE_RATE), dtype=np.int16)


def joined(
    duration_s: float,
    *,
    seed: int = 0,
    pause_s: tuple[float, float] = (0.3, 1.2),
    language: str = "en",
) -> Recording:
    """Clips one after the other, in shuffled rounds, until `duration_s` seconds are reached.

    A pause of a random length within `pause_s` seconds stands before each clip and at the end. The
    same arguments give the same recording.
    """
    chance = random.Random(seed)  # noqa: S311  a test's shuffling, nothing secret
    pieces: list[NDArray[np.int16]] = []
    spans: list[Span] = []
    length = 0
    deck: list[Sample] = []
    while length < duration_s * SAMPLE_RATE:
        if not deck:
            deck = samples(language)
            chance.shuffle(deck)
        clip = deck.pop()
        pause = silence(chance.uniform(*pause_s))
        start = length + len(pause)
        length = start + len(clip.audio)
        spans.append(Span(start * 1000 // SAMPLE_RATE, length * 1000 // SAMPLE_RATE, clip.text))
        pieces += [pause, clip.audio]
    pieces.append(silence(chance.uniform(*pause_s)))
    text = " ".join(span.text for span in spans)
    return Recording(
        audio=np.concatenate(pieces), text=text, words=normalised(text).split(), spans=spans
    )


def wav(audio: NDArray[np.int16]) -> bytes:
    """Mono 16 kHz `audio` as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(audio.astype("<i2").tobytes())
    return content.getvalue()


def write_wav(path: Path, audio: NDArray[np.int16]) -> Path:
    """Writes mono 16 kHz `audio` as a WAV file and returns its path."""
    path.write_bytes(wav(audio))
    return path


def normalised(text: str) -> str:
    """`text` in lower case, without punctuation, numbers up to 99 written as words.

    So are those of a count that is written without spaces, as Whisper sometimes does.
    """
    plain = re.sub(r"[^\w\s']|_", " ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    plain = re.sub(r"\b123\d+\b", lambda found: _counted(found[0]), plain)
    return " ".join(re.sub(r"\b\d{1,2}\b", lambda found: _number(int(found[0])), plain).split())


def _number(value: int) -> str:
    if value < len(_UNITS):
        return _UNITS[value]
    tens, unit = divmod(value, 10)
    return _TENS[tens - 2] + (f" {_UNITS[unit]}" if unit else "")


def _counted(digits: str) -> str:
    """`12345` as `1 2 3 4 5`; anything but a count from one up as it is."""
    counts = (list(map(str, range(1, last + 1))) for last in range(3, 100))
    return next((" ".join(count) for count in counts if "".join(count) == digits), digits)


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Words wrong, missing or too many, as a share of the words of `reference`.

    Case and punctuation don't count, and `1, 2, 3` equals `one two three`.
    """
    return float(jiwer.wer(normalised(reference), normalised(hypothesis)))
