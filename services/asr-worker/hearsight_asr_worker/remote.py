"""The engine that has an endpoint recognise, by OpenAI's interface, chunk by chunk."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import closing
from dataclasses import dataclass
from threading import Event

from hearsight_asr_worker.batching import BatchDone, Batcher
from hearsight_asr_worker.endpoint import Endpoint, Wish
from hearsight_asr_worker.engine import Chunk, ChunkResult, ModelInfo, places, to_the_end
from hearsight_asr_worker.in_order import in_order
from hearsight_asr_worker.languages import CODES
from hearsight_asr_worker.stopwatch import Stopwatch
from hearsight_asr_worker.trust import Thresholds
from hearsight_asr_worker.verbose_json import Answer, segments_of
from hearsight_core.contract import RecognitionOptions
from hearsight_core.errors import (
    OptionUnsupportedError,
    RecognitionError,
    RemoteAnswerError,
    RemoteError,
)
from hearsight_core.settings import AsrSettings
from hearsight_core.sound import wav

_UNTELLABLE = ("beam_size", "compression_ratio_threshold", "log_prob_threshold")
"""Options of a job that the interface has no field for. What is silence we decide ourselves."""
"""The language is found in the longest of so many chunks: an endpoint recognises all it is sent."""


def load(
    settings: AsrSettings, *, observe: Callable[[BatchDone], None] | None = None
) -> "RemoteEngine":
    """The engine around the endpoint that `settings` name, which is there and takes our key.

    Args:
        settings: Where the endpoint is, and its model.
        observe: Told of every request that was answered.

    Raises:
        RemoteKeyError: the endpoint does not take the key.
        RemoteUnavailableError: it can't be reached.
    """
    endpoint = Endpoint(
        settings.openai_url,
        model=settings.openai_model,
        api_key=settings.openai_api_key,
        timeout_s=settings.openai_timeout_s,
        max_wait_s=settings.openai_max_wait_s,
    )
    try:
        endpoint.check()
    except RemoteError:
        endpoint.close()
        raise
    english_only = settings.openai_model.endswith(".en")
    info = ModelInfo(
        name=settings.openai_model,
        revision=None,
        device="remote",
        compute_type="remote",
        languages=frozenset({"en"}) if english_only else CODES,
        streams=settings.openai_requests,
        decoding=settings.openai_url,
    )
    return RemoteEngine(endpoint, info, observe=observe)


@dataclass(frozen=True, eq=False)
class _Sound:
    """A chunk to be sent, and whether its caller still waits."""

    chunk: Chunk
    abandoned: Event


@dataclass(frozen=True)
class _InWork:
    """A chunk that was handed in; with no future if there is nothing to hear."""

    chunk: Chunk
    futures: list[Future[Answer | None]]


class RemoteEngine:
    """One endpoint, shared by all threads of the process; see `Engine` for what it promises.

    A stream has one request in flight. One that is put off holds up its stream, so that an endpoint
    that has too much to do is asked less.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        info: ModelInfo,
        *,
        observe: Callable[[BatchDone], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._info = info
        self._closed = Event()
        self._stopwatch = Stopwatch()
        self._batcher = Batcher[Wish, _Sound, Answer | None](
            self._ask,
            streams=info.streams,
            batch_size=1,
            observe=observe,
            stopwatch=self._stopwatch,
        )

    @property
    def info(self) -> ModelInfo:
        """Which model is asked; of its device nothing is known."""
        return self._info

    def check_options(self, options: RecognitionOptions) -> None:
        """Refuses what the model can't do, or can't be told.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
            OptionUnsupportedError: OpenAI's interface has no such option.
        """
        for name in _UNTELLABLE:
            if getattr(options, name) is not None:
                raise OptionUnsupportedError(option=name)
        if len(options.temperature or ()) > 1:
            raise OptionUnsupportedError(option="more than one temperature")
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

        A request that is to be sent again counts as not begun.

        Raises:
            LanguageUnsupportedError: the model does not know the language or the task.
            OptionUnsupportedError: OpenAI's interface has no such option.
            RemoteError: the endpoint did not recognise.
            RecognitionError: the engine was closed.
        """
        self.check_options(options)
        self._info.check_language(language)
        wish = Wish(
            translate=options.task == "translate",
            language=language,
            prompt=_prompt(options),
            temperature=options.temperature[0] if options.temperature else None,
        )
        return self._results(chunks, wish, options, head_start_s, go_on)

    def detect_language(self, chunks: Sequence[Chunk]) -> tuple[str, float | None]:
        """The language of the longest of several `chunks`; no endpoint tells how sure it is.

        Raises:
            RemoteError: the endpoint did not recognise.
            RecognitionError: the engine was closed.
        """
        if not self._info.multilingual:
            return "en", 1.0
        audible = places(chunks)
        if not audible:
            return "en", 0.0
        wish = Wish(translate=False, language=None, prompt=None)
        sound = _Sound(max(audible, key=lambda chunk: chunk.duration_ms), Event())
        [future] = self._batcher.submit([(wish, sound)])
        answer = future.result()
        if answer is None:
            raise RecognitionError(detail="the engine was closed")
        found = answer.language_code
        if found is None:
            raise RemoteAnswerError(
                host=self._endpoint.host, detail=f"language: {(answer.language or '')[:40]!r}"
            )
        return found, None

    def loaded(self) -> bool:
        """Always: the model is the endpoint's to load."""
        return True

    def busy_s(self) -> float:
        """Seconds since the oldest request in work was begun, its waits included; 0 if none is."""
        return self._stopwatch.longest_s()

    def worked_s(self) -> float:
        """Seconds that requests have been under way, added up."""
        return self._stopwatch.total_s()

    def close(self) -> None:
        """Ends the streams; callers that still wait get a RecognitionError."""
        self._closed.set()
        self._batcher.close()
        self._endpoint.close()

    def _results(
        self,
        chunks: Sequence[Chunk],
        wish: Wish,
        options: RecognitionOptions,
        head_start_s: float,
        go_on: Callable[[], bool],
    ) -> Iterator[ChunkResult]:
        abandoned, thresholds = Event(), Thresholds.of(options)

        def hand_in(some: Sequence[Chunk]) -> list[_InWork]:
            sounds = [(wish, _Sound(chunk, abandoned)) for chunk in some if not chunk.silent]
            futures = iter(self._batcher.submit(sounds, head_start_s=head_start_s))
            return [_InWork(chunk, [] if chunk.silent else [next(futures)]) for chunk in some]

        def goes_on() -> bool:
            on = go_on()
            if not on:
                abandoned.set()
            return on

        done = in_order(
            chunks,
            hand_in=hand_in,
            withdraw=self._batcher.withdraw,
            ahead=self._info.streams,
            go_on=goes_on,
        )
        try:
            with closing(done):
                for one in done:
                    try:
                        answers = [future.result() for future in one.futures]
                    except CancelledError as error:
                        raise RecognitionError(detail="the engine was closed") from error
                    if None in answers and self._closed.is_set():
                        raise RecognitionError(detail="the engine was closed")
                    if None in answers:
                        return
                    yield ChunkResult(
                        tuple(
                            segment
                            for answer in answers
                            if answer is not None
                            for segment in segments_of(
                                answer, one.chunk, thresholds, with_words=options.word_timestamps
                            )
                        )
                    )
        finally:
            abandoned.set()

    def _ask(self, wish: Wish, sounds: Sequence[_Sound]) -> list[Answer | None]:
        return [self._ask_for(wish, one) for one in sounds]

    def _ask_for(self, wish: Wish, one: _Sound) -> Answer | None:
        def given_up() -> bool:
            return one.abandoned.is_set() or self._closed.is_set()

        return self._endpoint.ask(wish, wav(one.chunk.pcm()), given_up)


def _prompt(options: RecognitionOptions) -> str | None:
    """Hot words and earlier text, in the order in which Whisper reads them; None: neither."""
    texts = (options.hotwords, options.initial_prompt)
    return " ".join(text.strip() for text in texts if text and text.strip()) or None
