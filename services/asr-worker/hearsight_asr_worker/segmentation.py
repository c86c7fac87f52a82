"""Words with times, put together as people read them: subtitles, not blocks of 30 seconds."""
# ruff: noqa: RUF001  the marks of many scripts are what this file is about

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from hearsight_core.contract import Word

MAX_WIDTH = 84
"""Two lines of 42 characters; a wide (Chinese, Japanese, Korean) one counts as two."""
MAX_MS = 7000
"""Longest time a subtitle stands. This and the width: Netflix Timed Text Style Guide."""

_SHORT_MS = 1000
_SHORTEST_WORD_MS = 20
"""Whisper's resolution in time."""

_CLOSING = "\"'”’»›)]}」』】》〉）］"
_SENTENCE_END = tuple(".!?…。！？｡।؟۔።")
_CLAUSE_END = tuple(",;:—–，、；：،؛､")
# fmt: off
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "rev", "st", "sr", "jr", "vs", "fig", "vol", "gen", "col",
    "sgt", "capt", "lt", "hon", "approx", "dept", "bzw", "ca", "nr", "mme", "mlle", "sra",
})
# fmt: on
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Burmese, Kana and Han: scripts that put no space between words."""


@dataclass(frozen=True)
class TimedWord:
    """A word as the model wrote it, with the space or punctuation that belongs to it."""

    text: str
    start_ms: int
    end_ms: int
    probability: float | None


@dataclass(frozen=True)
class _Gap:
    """What lies between two words: what a cut there costs, and what it costs to read on."""

    cut: float
    go_on: float


def settled(words: Sequence[TimedWord], start_ms: int, end_ms: int) -> list[TimedWord]:
    """`words` moved as little as needed to lie in order inside start_ms..end_ms, none over another.

    Every word lasts 20 ms at least, or its even share where there are more words than that.
    """
    if not words:
        return []
    shortest = min(_SHORTEST_WORD_MS, (end_ms - start_ms) // len(words))
    placed: list[TimedWord] = []
    floor = start_ms
    for left, word in zip(range(len(words), 0, -1), words, strict=True):
        latest = end_ms - left * shortest
        start = min(max(word.start_ms, floor), latest)
        floor = min(max(word.end_ms, start + shortest), latest + shortest)
        placed.append(replace(word, start_ms=start, end_ms=floor))
    return placed


def segmented(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    """`words` in pieces for one segment each, in order, no word lost.

    A piece is at most MAX_WIDTH wide and MAX_MS long, unless a single word is more. Of all ways to
    cut, the cheapest is found (by dynamic programming): cuts belong to ends of sentences first,
    then to long pauses, then to commas, then to short pauses; short sentences said in one breath
    stay together.
    """
    count = len(words)
    widths = [width(word.text) for word in words]
    gaps = [_gap(words[index - 1], words[index]) for index in range(1, count)]
    best = [0.0] + [inf] * count
    first_of = [0] * (count + 1)
    for end in range(1, count + 1):
        cut = gaps[end - 1].cut if end < count else 0.0
        piece_width, read_on = 0, 0.0
        for begin in range(end - 1, -1, -1):
            piece_width += widths[begin]
            lasts_ms = words[end - 1].end_ms - words[begin].start_ms
            if begin < end - 1:
                read_on += gaps[begin].go_on
                if piece_width > MAX_WIDTH or lasts_ms > MAX_MS:
                    break
            cost = best[begin] + cut + read_on + _piece_cost(piece_width, lasts_ms)
            if cost < best[end]:
                best[end], first_of[end] = cost, begin
    pieces: list[list[TimedWord]] = []
    end = count
    while end:
        pieces.append(list(words[first_of[end] : end]))
        end = first_of[end]
    return pieces[::-1]


def text_of(words: Sequence[TimedWord]) -> str:
    """What the words say, without the spaces around."""
    return "".join(word.text for word in words).strip()


def published(words: Sequence[TimedWord]) -> tuple[Word, ...]:
    """The words as a transcript tells them."""
    return tuple(
        Word(
            start_ms=word.start_ms,
            end_ms=word.end_ms,
            word=word.text,
            probability=None if word.probability is None else round(word.probability, 4),
        )
        for word in words
        if word.text.strip()
    )


def needs_space(before: str, after: str) -> bool:
    """Whether a space is missing between what was written apart and is now put together."""
    return not (
        after[:1].isspace()
        or _UNSPACED.match(after[:1])
        or _UNSPACED.match(before[-1:])
        or width(before[-1:]) > 1
    )


def width(text: str) -> int:
    """How much room `text` takes on a line, in Latin characters."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def ends_sentence(word: str, following: str) -> bool:
    """Whether a sentence ends with `word`, if `following` comes next."""
    bare = word.strip().rstrip(_CLOSING)
    if not bare.endswith(_SENTENCE_END):
        return False
    upcoming = following.strip().lstrip("\"'“‘«¿¡([{-")[:1]
    if upcoming.islower():
        return False
    if not bare.endswith("."):
        return True
    stem = bare.lstrip("\"'“‘«([{").lower()
    return stem.rstrip(".") not in _ABBREVIATIONS and not _INITIALS.fullmatch(stem)


def _piece_cost(piece_width: int, lasts_ms: int) -> float:
    """A piece costs something, so that cuts need a reason; being short or unevenly full adds."""
    return 3 + 2 * (piece_width / MAX_WIDTH) ** 2 + (4 if lasts_ms < _SHORT_MS else 0)


def _gap(before: TimedWord, after: TimedWord) -> _Gap:
    pause_ms = after.start_ms - before.end_ms
    if not _may_part(before.text, after.text):
        return _Gap(cut=1000, go_on=0)
    cut, go_on = 8.0, 0.0
    for pause, cut_there, go_on_there in ((1000, 0, 8), (500, 1, 5), (250, 4, 0)):
        if pause_ms >= pause:
            cut, go_on = cut_there, go_on_there
            break
    if ends_sentence(before.text, after.text):
        return _Gap(cut=0, go_on=go_on + 4)
    if before.text.strip().rstrip(_CLOSING).endswith(_CLAUSE_END):
        return _Gap(cut=min(cut, 2), go_on=go_on)
    return _Gap(cut, go_on)


def _may_part(before: str, after: str) -> bool:
    """Whether a line may end between the two: not inside a word, nor before a closing mark."""
    if after[:1].isspace():
        return bool(after.strip().strip(_CLOSING + "".join(_SENTENCE_END + _CLAUSE_END)))
    if not (_UNSPACED.match(before[-1:]) or _UNSPACED.match(after[:1])):
        return before.endswith(_SENTENCE_END + _CLAUSE_END) and width(before[-1]) > 1
    head = after[:1]
    return not (
        unicodedata.category(head).startswith("M")
        or head in _CLOSING
        or head in _SENTENCE_END + _CLAUSE_END
    )
