"""What an engine is: chunks of speech in, segments out. Anything that recognises can be one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hearsight_core.contract import RecognitionOptions, Segment
from hearsight_core.errors import LanguageUnsupportedError

SAMPLE_RATE = 16_000
SAMPLES_PER_MS = SAMPLE_RATE // 1000
MAX_CHUNK_S = 30
_SILENT_PEAK = 10 / 32768


@dataclass(frozen=True)
class ModelInfo:
    """Which model an engine runs, and where.

    `revision` tells two models of one name apart (a hub commit, a package version), None if
    nothing does. `languages` are ISO 639-1 codes as Whisper knows them. `streams` is how many
    batches are in work at once, and so how many callers keep the engine busy; `batch_size` is how
    many pieces of up to 30 s the largest of them has.
    """

    name: str
    revision: str | None
    device: str
    compute_type: str
    languages: frozenset[str]
    streams: int
    batch_size: int = 1
    decoding: str = ""
    """What else the text depends on: the worker's own settings, the address of an endpoint."""

    @property
    def multilingual(self) -> bool:
        """Whether the model knows more than one language (and so can translate)."""
        return len(self.languages) > 1

    def check_options(self, options: RecognitionOptions) -> None:
        """Refuses a language or a task that the model does not know.

        Raises:
            LanguageUnsupportedError: it does not know the language or the task.
        """
        if options.language is not None:
            self.check_language(options.language)
        if options.task == "translate" and not self.multilingual:
            raise LanguageUnsupportedError(model=self.name, wanted="task translate")

    def check_language(self, language: str) -> None:
        """Refuses a language that the model does not know.

        Raises:
            LanguageUnsupportedError: it does not know it.
        """
        if language not in self.languages:
            raise LanguageUnsupportedError(model=self.name, wanted=f"language {language}")


@dataclass(frozen=True, eq=False)
class Chunk:
    """Mono speech at 16 kHz, at most 30 s; `start_ms` is its place in the recording.

    Raises:
        ValueError: the samples are neither int16 nor float32 (-1 to 1) of one channel, or too many.
    """

    samples: NDArray[np.float32] | NDArray[np.int16]
    start_ms: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype not in {np.dtype("i2"), np.dtype("f4")}:
            raise ValueError("A chunk is mono, int16 or float32")
        if len(self.samples) > MAX_CHUNK_S * SAMPLE_RATE:
            raise ValueError(f"A chunk holds {MAX_CHUNK_S} s at most")

    @property
    def duration_ms(self) -> int:
        """How long the chunk is, milliseconds."""
        return len(self.samples) // SAMPLES_PER_MS

    @property
    def end_ms(self) -> int:
        """Where in the recording the chunk ends."""
        return self.start_ms + self.duration_ms

    @property
    def silent(self) -> bool:
        """Whether it is digital silence, never louder than -70 dB of full scale."""
        return not len(self.samples) or bool(np.abs(self.loudness()).max() <= _SILENT_PEAK)

    def loudness(self) -> NDArray[np.float32]:
        """The samples as floats from -1 to 1."""
        if self.samples.dtype == np.int16:
            return self.samples.astype(np.float32) / np.float32(32768)
        return self.samples.astype(np.float32, copy=False)

    def pcm(self) -> bytes:
        """The samples as little-endian integers of 16 bit."""
        samples = self.samples
        if samples.dtype != np.int16:
            samples = np.clip(np.round(samples * np.float32(32768)), -32768, 32767)
        return bytes(samples.astype("<i2", copy=False).tobytes())


_PLACES = 4
"""Chunks that a language is told by."""


def places(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Up to four of the `chunks` that are not silent, spread over them all, the first among them.

    A recording's language is told by these: its beginning alone may be a jingle or a greeting.
    """
    audible = [chunk for chunk in chunks if not chunk.silent]
    if len(audible) <= _PLACES:
        return audible
    return [audible[step * (len(audible) - 1) // (_PLACES - 1)] for step in range(_PLACES)]


@dataclass(frozen=True)
class ChunkResult:
    """What was said in one chunk; no segments if nothing was. Times count from the recording."""

    segments: tuple[Segment, ...]


def to_the_end() -> bool:
    """Goes on, whatever happens."""
    return True


class Engine(Protocol):
    """Recognises chunks. Every method may be called from many threads at once."""

    @property
    def info(self) -> ModelInfo:
        """Which model runs where."""
        ...

    def check_options(self, options: RecognitionOptions) -> None:
        """Refuses what the model can't do.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
            OptionUnsupportedError: the engine can't be told an option.
        """
        ...

    def recognise(
        self,
        chunks: Sequence[Chunk],
        options: RecognitionOptions,
        language: str,
        *,
        head_start_s: float = 0,
        go_on: Callable[[], bool] = to_the_end,
    ) -> Iterator[ChunkResult]:
        """The results of `chunks`, in their order, each as soon as it and those before are done.

        They go before chunks that were handed in up to `head_start_s` seconds earlier.

        `go_on` is asked before chunks are begun, and again and again while their results are waited
        for. Once it says no, no further chunk is begun: the results of those that are, and of any
        before them, still come, and the iterator ends early. So nothing that the device has done is
        thrown away. What `go_on` raises ends the iterator at once and abandons the rest, as closing
        it does.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
            OutOfMemoryError: the device has no room for even one chunk.
            DeviceFailedError: the device failed, and will from now on.
            RecognitionError: the engine failed.
        """
        ...

    def detect_language(self, chunks: Sequence[Chunk]) -> tuple[str, float | None]:
        """The language spoken in `chunks` and its probability, None where the engine can't tell.

        The first few are listened to.

        Raises:
            OutOfMemoryError: the device ran out of memory.
            DeviceFailedError: the device failed, and will from now on.
            RecognitionError: the engine failed.
        """
        ...

    def loaded(self) -> bool:
        """Whether it can begin at once; False: a model is loaded first, when a caller comes."""
        ...

    def busy_s(self) -> float:
        """Seconds since the oldest batch in work was begun; 0 if there is none."""
        ...

    def worked_s(self) -> float:
        """Seconds that its streams have been at work so far, added up, with what is in work."""
        ...

    def close(self) -> None:
        """Ends the engine's threads; callers that still wait get a RecognitionError."""
        ...
