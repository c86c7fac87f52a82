"""What an endpoint answers as `verbose_json`, and how it becomes segments as people read them."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat

from hearsight_asr_worker.engine import Chunk
from hearsight_asr_worker.languages import code_of
from hearsight_asr_worker.segmentation import (
    TimedWord,
    published,
    segmented,
    settled,
    text_of,
)
from hearsight_asr_worker.trust import Thresholds, compression_ratio
from hearsight_core.contract import Segment

_Text = Annotated[str, AfterValidator(lambda text: text.replace("\0", "\N{REPLACEMENT CHARACTER}"))]
"""Text without NUL, which PostgreSQL can't store."""
_Seconds = Annotated[FiniteFloat, Field(ge=0, le=86_400)]


class AnsweredWord(BaseModel):
    """A word; OpenAI writes it bare, others with the space before it and what stands after."""

    word: _Text
    start: _Seconds
    end: _Seconds
    probability: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    """Not OpenAI's; servers of Whisper models tell it."""


class AnsweredSegment(BaseModel):
    """A stretch of speech, with the punctuation that its words may lack."""

    start: _Seconds
    end: _Seconds
    text: _Text
    avg_logprob: FiniteFloat
    no_speech_prob: FiniteFloat
    compression_ratio: FiniteFloat | None = None


class Answer(BaseModel):
    """A transcription or translation as `verbose_json`; what it holds besides is left out."""

    text: _Text
    segments: list[AnsweredSegment]
    words: list[AnsweredWord] | None = None
    language: str | None = None

    @property
    def language_code(self) -> str | None:
        """The language it found, as Whisper's code; OpenAI writes its English name."""
        return code_of(self.language or "")


def segments_of(
    answer: Answer, chunk: Chunk, thresholds: Thresholds, *, with_words: bool
) -> tuple[Segment, ...]:
    """The segments of `chunk`: in order, inside it, none longer than people read at once.

    A stretch whose words don't fit its text stays whole.
    """
    spoken = [one for one in answer.segments if not _is_silent(one, thresholds)]
    places = settled([_timed(one.text, one, chunk) for one in spoken], chunk.start_ms, chunk.end_ms)
    left = deque(answer.words or ())
    found: list[Segment] = []
    for one, place in zip(spoken, places, strict=True):
        own, fit = _taken(one, left)
        words = settled(
            [_timed(text, word, chunk) for text, word in own], place.start_ms, place.end_ms
        )
        for piece in segmented(words) if words and fit else [[place]]:
            told = piece if fit else words
            found.append(
                Segment(
                    start_ms=piece[0].start_ms,
                    end_ms=piece[-1].end_ms,
                    text=text_of(piece),
                    words=published(told) if with_words and words else None,
                    avg_logprob=round(one.avg_logprob, 4),
                    no_speech_prob=round(one.no_speech_prob, 4),
                    compression_ratio=round(_ratio(one), 4),
                    doubt="improbable" if thresholds.is_low(one.avg_logprob) else None,
                )
            )
    return tuple(found)


def _is_silent(one: AnsweredSegment, thresholds: Thresholds) -> bool:
    return thresholds.is_silence(
        one.text, no_speech_prob=one.no_speech_prob, avg_logprob=one.avg_logprob
    )


def _ratio(one: AnsweredSegment) -> float:
    if one.compression_ratio is not None:
        return one.compression_ratio
    return compression_ratio(one.text.strip())


def _timed(text: str, told: AnsweredWord | AnsweredSegment, chunk: Chunk) -> TimedWord:
    return TimedWord(
        text=text,
        start_ms=chunk.start_ms + round(told.start * 1000),
        end_ms=chunk.start_ms + round(told.end * 1000),
        probability=told.probability if isinstance(told, AnsweredWord) else None,
    )


def _taken(
    one: AnsweredSegment, left: deque[AnsweredWord]
) -> tuple[list[tuple[str, AnsweredWord]], bool]:
    """The segment's own words, taken from those that are `left`, each with its share of the text.

    And whether they fit the text; if not, they are those that begin in its time, as they are.
    """
    places: list[tuple[int, AnsweredWord]] = []
    at = 0
    while left:
        bare = left[0].word.strip()
        place = one.text.find(bare, at)
        if place < 0 or _has_letters(one.text[at:place]):
            break
        places.append((place, left.popleft()))
        at = place + len(bare)
    if not _has_letters(one.text[at:]):
        return list(_cut(one.text, places)), True
    own = [word for _, word in places]
    while left and left[0].start < one.end:
        own.append(left.popleft())
    return [(word.word, word) for word in own], False


def _cut(
    text: str, places: Sequence[tuple[int, AnsweredWord]]
) -> Iterator[tuple[str, AnsweredWord]]:
    """`text` in a piece for each word; what stands between two belongs to the first up to a space.

    The text before the first word is that word's.
    """
    begin = 0
    for number, (place, word) in enumerate(places):
        end = len(text)
        if number + 1 < len(places):
            after = place + len(word.word.strip())
            between = text[after : places[number + 1][0]]
            end = after + len(between.split(" ", 1)[0].rstrip())
        yield text[begin:end], word
        begin = end


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)
