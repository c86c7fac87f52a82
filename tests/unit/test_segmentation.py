"""How words become segments that people can read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearsight_asr_worker.segmentation import (
    MAX_MS,
    MAX_WIDTH,
    TimedWord,
    ends_sentence,
    segmented,
    settled,
    text_of,
    width,
)


def spoken(
    text: str, *, word_ms: int = 300, pauses: dict[str, int] | None = None
) -> list[TimedWord]:
    """`text` said evenly; `pauses` are the milliseconds of silence after a word."""
    words: list[TimedWord] = []
    at = 0
    for word in text.split():
        words.append(TimedWord(f" {word}", at, at + word_ms, 0.9))
        at += word_ms + (pauses or {}).get(word, 0)
    return words


def characters(text: str, *, each_ms: int = 200) -> list[TimedWord]:
    """`text` as the model gives scripts without spaces: every character a word."""
    return [TimedWord(one, at * each_ms, (at + 1) * each_ms, 0.9) for at, one in enumerate(text)]


def texts(words: list[TimedWord]) -> list[str]:
    return [text_of(piece) for piece in segmented(words)]


def test_nothing_said_gives_no_segment() -> None:
    assert segmented([]) == []
    assert settled([], 0, 30_000) == []


def test_sentences_stand_apart() -> None:
    words = spoken("The quick brown fox jumps over the lazy dog. It was not seen again that day.")
    assert texts(words) == [
        "The quick brown fox jumps over the lazy dog.",
        "It was not seen again that day.",
    ]


def test_short_answers_said_in_one_breath_stay_together() -> None:
    assert texts(spoken("Yes. No. Maybe.", word_ms=250)) == ["Yes. No. Maybe."]


def test_a_long_pause_parts_short_sentences() -> None:
    assert texts(spoken("Hello world. Good bye.", pauses={"world.": 3000})) == [
        "Hello world.",
        "Good bye.",
    ]


def test_a_long_sentence_is_cut_at_its_comma() -> None:
    words = spoken(
        "When the rain had finally stopped in the early morning, the two old friends went out"
        " to look for the boat",
        word_ms=250,
    )
    assert texts(words) == [
        "When the rain had finally stopped in the early morning,",
        "the two old friends went out to look for the boat",
    ]


def test_unpunctuated_speech_is_cut_where_it_pauses() -> None:
    words = spoken(
        "so we went on and on through the forest until we could see the lights of the town"
        " right below us",
        word_ms=250,
        pauses={"forest": 700},
    )
    assert texts(words) == [
        "so we went on and on through the forest",
        "until we could see the lights of the town right below us",
    ]


def test_an_endless_run_without_marks_or_pauses_is_cut_evenly_between_words() -> None:
    pieces = segmented(spoken(" ".join(["word"] * 200), word_ms=200))
    assert all(width("".join(word.text for word in piece)) <= MAX_WIDTH for piece in pieces)
    assert min(len(piece) for piece in pieces) > 8


def test_slow_speech_is_cut_by_time() -> None:
    pieces = segmented(spoken("one two three four five six seven eight", word_ms=1500))
    assert all(piece[-1].end_ms - piece[0].start_ms <= MAX_MS for piece in pieces)


def test_a_word_too_long_for_a_segment_stands_alone() -> None:
    giant = "a" * 200
    assert texts(spoken(f"see {giant} there")) == ["see", giant, "there"]


def test_chinese_is_cut_at_its_marks_and_counts_double() -> None:
    words = characters("天地玄黄,宇宙洪荒。日月盈昃,辰宿列张。寒来暑往,秋收冬藏。" * 4)
    pieces = segmented(words)
    assert all(width(text_of(piece)) <= MAX_WIDTH for piece in pieces)
    assert all(text_of(piece).endswith("。") for piece in pieces)


def test_a_line_never_begins_with_a_closing_mark() -> None:
    text = "今天天气很好我们去公园散步看见很多人在那里唱歌跳舞还有小孩子放风筝大家都很高兴。"
    assert not any(piece.startswith("。") for piece in texts(characters(text * 3, each_ms=150)))


def test_thai_is_cut_without_spaces_but_not_before_a_vowel_sign() -> None:
    pieces = texts(characters("สวัสดีครับยินดีที่ได้รู้จัก" * 6, each_ms=100))
    assert len(pieces) > 1
    assert not any(piece[0] in "ัิีื่้็์ุู" for piece in pieces)


def test_a_hyphenated_word_is_not_torn() -> None:
    words = [
        TimedWord(text, at * 400, (at + 1) * 400, 0.9)
        for at, text in enumerate([" a", " well", "-known", " mother", "-in", "-law"] * 6)
    ]
    assert not any(piece.startswith("-") for piece in texts(words))


@pytest.mark.parametrize(
    ("word", "following", "ends"),
    [
        (" dog.", " The", True),
        (" really?", " Yes", True),
        (' home."', " He", True),
        (" Dr.", " Brown", False),
        (" J.", " R.", False),
        (" U.S.", " Army", False),
        (" e.g.", " apples", False),
        (" approx.", " Ten", False),
        (" wait...", " no", False),
        (" 3.5", " Percent", False),
        (" No.", " Never", True),
        ("吗？", "好", True),  # noqa: RUF001  a Chinese question mark
        (" है।", " यह", True),
        (" dog,", " The", False),
        ("", "", False),
    ],
)
def test_the_end_of_a_sentence_is_known_from_an_abbreviation(
    word: str, following: str, *, ends: bool
) -> None:
    assert ends_sentence(word, following) is ends


def test_words_are_moved_into_their_chunk_and_apart() -> None:
    words = [
        TimedWord(" a", -50, 200, 1),
        TimedWord(" b", 150, 150, 1),
        TimedWord(" c", 990, 1200, 1),
        TimedWord(" d", 990, 990, 1),
    ]
    assert [(word.start_ms, word.end_ms) for word in settled(words, 0, 1000)] == [
        (0, 200),
        (200, 220),
        (960, 980),
        (980, 1000),
    ]


TEXTS = st.text(alphabet="abc ,.?!-'\"。,、天地玄กั0123\u0301", min_size=1, max_size=30)
WORDS = st.lists(
    st.builds(
        TimedWord,
        text=TEXTS | TEXTS.map(lambda text: f" {text}"),
        start_ms=st.integers(-500, 31_000),
        end_ms=st.integers(-500, 31_000),
        probability=st.floats(0, 1),
    ),
    max_size=120,
)


@given(WORDS)
def test_no_word_is_lost_or_changed(words: list[TimedWord]) -> None:
    placed = settled(words, 1000, 30_000)
    assert [word for piece in segmented(placed) for word in piece] == placed
    assert [word.text for word in placed] == [word.text for word in words]


@given(WORDS, st.integers(0, 10_000), st.integers(200, 30_000))
def test_words_lie_in_order_inside_their_chunk(
    words: list[TimedWord], start_ms: int, duration_ms: int
) -> None:
    at = start_ms
    for word in settled(words, start_ms, start_ms + duration_ms):
        assert at <= word.start_ms < word.end_ms
        at = word.end_ms
    assert at <= start_ms + duration_ms


@given(WORDS)
def test_no_segment_is_too_wide_or_too_long_but_a_single_word(words: list[TimedWord]) -> None:
    for piece in segmented(settled(words, 0, 30_000)):
        if len(piece) > 1:
            assert sum(width(word.text) for word in piece) <= MAX_WIDTH
            assert piece[-1].end_ms - piece[0].start_ms <= MAX_MS
