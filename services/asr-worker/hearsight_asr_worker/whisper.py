"""The engine that runs Whisper models with faster-whisper, on a CPU or a GPU."""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from faster_whisper import WhisperModel
from numpy.typing import NDArray

from hearsight_asr_worker.batching import BatchDone, Batcher
from hearsight_asr_worker.decoded import Decoded, joined
from hearsight_asr_worker.decoding import Decoder
from hearsight_asr_worker.engine import (
    SAMPLE_RATE,
    Chunk,
    ChunkResult,
    ModelInfo,
    places,
    to_the_end,
)
from hearsight_asr_worker.faults import fault_of
from hearsight_asr_worker.in_order import in_order
from hearsight_asr_worker.pauses import FRAME_MS, audible_frames, utterances
from hearsight_asr_worker.request import Request
from hearsight_asr_worker.resident import Resident
from hearsight_asr_worker.segmentation import published, segmented, settled, text_of
from hearsight_asr_worker.stopwatch import Stopwatch
from hearsight_core.contract import Doubt, RecognitionOptions, Segment
from hearsight_core.errors import RecognitionError

_Features = NDArray[np.float32]


@dataclass(frozen=True)
class _InWork:
    """A chunk that was handed in: its pieces, each with the frame it begins at."""

    chunk: Chunk
    pieces: list[tuple[int, Future[Decoded]]]

    @property
    def futures(self) -> list[Future[Decoded]]:
        return [future for _, future in self.pieces]


class WhisperEngine:
    """One model, shared by all threads of the process; see `Engine` for what it promises."""

    def __init__(
        self,
        model: WhisperModel,
        info: ModelInfo,
        *,
        beam_size: int,
        short_windows: bool,
        unload_idle_s: float | None = None,
        observe: Callable[[BatchDone], None] | None = None,
    ) -> None:
        """An engine around a loaded `model`.

        Args:
            model: The weights, with as many workers as there are streams.
            info: What the model is, and how much it does at once.
            beam_size: Hypotheses followed, for jobs that ask for no number.
            short_windows: Decode a chunk utterance by utterance, in windows no longer than that
                takes, for models that hear as well (or better) that way.
            unload_idle_s: How long the model stays loaded with nothing to do; None: for ever.
            observe: Told of every batch, in the stream's thread.
        """
        self._info = info
        self._round = info.streams * info.batch_size
        self._by_utterance = short_windows
        self._beam_size = beam_size
        self._stopwatch = Stopwatch()
        self._resident = Resident(model.model, idle_s=unload_idle_s)
        self._decoder = Decoder(model, fit_window=short_windows)
        self._batcher = Batcher[Request, _Features, Decoded](
            self._decode,
            streams=info.streams,
            batch_size=info.batch_size,
            observe=observe,
            stopwatch=self._stopwatch,
        )

    @property
    def info(self) -> ModelInfo:
        """Which model runs where."""
        return self._info

    def check_options(self, options: RecognitionOptions) -> None:
        """Refuses what the model can't do.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
        """
        self._info.check_options(options)

    def recognise(
        self,
        chunks: Sequence[Chunk],
        options: RecognitionOptions,
        language: str,
        *,
        head_start_s: float = 0,
        go_on: Callable[[], bool] = to_the_end,
    ) -> Iterator[ChunkResult]:
        """The results of `chunks`, in their order, as far as `go_on` allows; see `Engine`.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
            OutOfMemoryError: the device has no room for even one chunk.
            DeviceFailedError: the device failed, and will from now on.
            RecognitionError: the engine failed.
        """
        self.check_options(options)
        self._info.check_language(language)
        request = Request.of(options, language, beam_size=self._beam_size)
        done = in_order(
            chunks,
            hand_in=lambda some: self._submit(some, request, head_start_s),
            withdraw=self._batcher.withdraw,
            ahead=self._round,
            go_on=go_on,
        )
        return self._results(done, with_words=options.word_timestamps)

    def detect_language(self, chunks: Sequence[Chunk]) -> tuple[str, float]:
        """The language spoken in `chunks`, from several places, and its probability.

        Raises:
            OutOfMemoryError: the device ran out of memory.
            RecognitionError: the engine failed.
        """
        audible = places(chunks)
        if not self._info.multilingual or not audible:
            return "en", 1.0 if not self._info.multilingual else 0.0
        try:
            features = [self._decoder.features(chunk.loudness()) for chunk in audible]
            with self._resident.used(), self._stopwatch.running():
                found = self._decoder.detect_language(features)
        except Exception as error:
            raise fault_of(error) from error
        language = max(found, key=lambda code: found[code])
        return language, found[language]

    def warm_up(self) -> None:
        """Runs a batch in every stream, so that the first chunk is not slowed by first uses.

        Raises:
            OutOfMemoryError: there is no room to recognise anything.
            RecognitionError: the engine failed.
        """
        request = Request.of(RecognitionOptions(), "en", beam_size=self._beam_size)
        quiet = self._decoder.features(np.zeros(SAMPLE_RATE, np.float32))
        request = replace(request, window=self._decoder.window(quiet))
        for future in self._batcher.submit([(request, quiet)] * self._info.streams):
            future.result()

    def loaded(self) -> bool:
        """Whether the model is in memory; not after idle time, until the next caller comes."""
        return self._resident.here

    def busy_s(self) -> float:
        """Seconds since the oldest batch or load in work was begun; 0 if there is none."""
        return max(self._stopwatch.longest_s(), self._resident.loading_s())

    def worked_s(self) -> float:
        """Seconds that its streams have been at work, added up."""
        return self._stopwatch.total_s()

    def close(self) -> None:
        """Ends the streams; callers that still wait get a RecognitionError."""
        self._batcher.close()
        self._resident.close()

    def _results(
        self, done: Generator[_InWork, None, None], *, with_words: bool
    ) -> Iterator[ChunkResult]:
        # From before the first batch on, so that no load counts as time of a batch.
        with self._resident.used(), closing(done):
            for one in done:
                yield ChunkResult(_segments(one, with_words=with_words))

    def _decode(self, request: Request, features: Sequence[_Features]) -> list[Decoded]:
        # A batch outlives a caller who has left, so it holds the model itself.
        with self._resident.used():
            return self._decoder.decode(request, features)

    def _submit(
        self, chunks: Sequence[Chunk], request: Request, head_start_s: float
    ) -> list[_InWork]:
        """Hands in the pieces of `chunks` together."""
        cut = [self._pieces(chunk) for chunk in chunks]
        items = [
            (replace(request, window=self._decoder.window(piece)), piece)
            for pieces_of_one in cut
            for _, piece in pieces_of_one
        ]
        futures = iter(self._batcher.submit(items, head_start_s=head_start_s))
        return [
            _InWork(chunk, [(first, next(futures)) for first, _ in pieces_of_one])
            for chunk, pieces_of_one in zip(chunks, cut, strict=True)
        ]

    def _pieces(self, chunk: Chunk) -> list[tuple[int, _Features]]:
        """What of the chunk is decoded in one go; nothing if it is silent."""
        if chunk.silent:
            return []
        features = self._decoder.features(chunk.loudness())
        if not self._by_utterance:
            return [(0, features)]
        cuts = utterances(audible_frames(features))
        return [(first, features[:, first:last]) for first, last in cuts]


def _segments(one: _InWork, *, with_words: bool) -> tuple[Segment, ...]:
    """Puts together for reading what was decoded."""
    chunk = one.chunk
    try:
        done = [(first, future.result()) for first, future in one.pieces]
    except CancelledError as error:
        raise RecognitionError(detail="the engine was closed") from error
    if all(piece.silent for _, piece in done):
        return ()
    decoded = joined(done)
    words = settled(
        [
            replace(
                word, start_ms=word.start_ms + chunk.start_ms, end_ms=word.end_ms + chunk.start_ms
            )
            for word in decoded.words
        ],
        chunk.start_ms,
        chunk.end_ms,
    )
    return tuple(
        Segment(
            start_ms=piece[0].start_ms,
            end_ms=piece[-1].end_ms,
            text=text_of(piece),
            words=published(piece) if with_words else None,
            avg_logprob=round(decoded.avg_logprob, 4),
            no_speech_prob=round(decoded.no_speech_prob, 4),
            compression_ratio=round(decoded.compression_ratio, 4),
            doubt=_doubt_at((piece[0].start_ms + piece[-1].end_ms) // 2 - chunk.start_ms, done),
        )
        for piece in segmented(words)
        if text_of(piece)
    )


def _doubt_at(place_ms: int, pieces: Sequence[tuple[int, Decoded]]) -> Doubt | None:
    """What is doubtful about the piece that holds a place in the chunk.

    Each piece comes with the frame it begins at; the first one with 0.
    """
    return [one for first, one in pieces if first * FRAME_MS <= max(0, place_ms)][-1].doubt
