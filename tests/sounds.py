"""What is heard beside speech: noise below it, music between."""

import numpy as np
from numpy.typing import NDArray

from tests.speech import SAMPLE_RATE, Recording

_CHORDS_HZ = (
    (261.6, 329.6, 392.0),
    (220.0, 261.6, 329.6),
    (174.6, 220.0, 261.6),
    (196.0, 246.9, 293.7),
)
"""C, A minor, F, G."""
_NOTE_S = 0.25
_FADE_S = 0.1
_MUSIC_BELOW_DB = 6
_OVERTONES = (1.0, 0.5, 0.25, 0.12)


def noisy(recording: Recording, below_db: float) -> Recording:
    """The recording with white noise, `below_db` below the speech."""
    level = _level(recording.audio) * 10 ** (-below_db / 20)
    noise = np.random.default_rng(0).normal(0, level, len(recording.audio))
    return _with(recording, noise)


def with_music(recording: Recording) -> Recording:
    """The recording with music in its pauses, none over the speech."""
    music = np.zeros(len(recording.audio))
    edges = [0]
    for span in recording.spans:
        edges += [span.start_ms, span.end_ms]
    edges.append(recording.duration_ms)
    for start_ms, end_ms in zip(edges[::2], edges[1::2], strict=True):
        start, end = (ms * SAMPLE_RATE // 1000 for ms in (start_ms, end_ms))
        music[start:end] = _music(end - start)
    level = _level(recording.audio) * 10 ** (-_MUSIC_BELOW_DB / 20)
    return _with(recording, music * level / _level(music))


def _music(size: int) -> NDArray[np.float64]:
    """Broken chords, one a second, from and to silence."""
    note = round(_NOTE_S * SAMPLE_RATE)
    at = np.arange(note) / SAMPLE_RATE
    notes = [
        sum(
            loud * np.sin(2 * np.pi * pitch * (number + 1) * at)
            for number, loud in enumerate(_OVERTONES)
        )
        * np.exp(-4 * at)
        for chord in _CHORDS_HZ
        for pitch in (*chord, chord[1])
    ]
    tune: NDArray[np.float64] = np.resize(np.concatenate(notes), size)
    fade = np.minimum(1, np.arange(size) / (_FADE_S * SAMPLE_RATE))
    return tune * fade * fade[::-1]


def _level(audio: NDArray[np.generic]) -> float:
    """How loud it is where it is not silent (root mean square)."""
    loud = audio[audio != 0].astype(np.float64)
    return float(np.sqrt(np.mean(loud**2)))


def _with(recording: Recording, sound: NDArray[np.float64]) -> Recording:
    audio = np.clip(np.round(recording.audio + sound), -32768, 32767).astype(np.int16)
    return Recording(audio, recording.text, recording.words, recording.spans)
