"""How far a decoded text is trusted, and which one of several is taken."""

from dataclasses import replace

import pytest

from hearsight_asr_worker.decoded import Decoded, best, joined, squeezed_share
from hearsight_asr_worker.segmentation import TimedWord, text_of
from hearsight_asr_worker.trust import Thresholds
from hearsight_core.contract import RecognitionOptions

GOOD = Decoded(
    words=(TimedWord(" Hello", 100, 400, 0.9), TimedWord(" world.", 400, 900, 0.9)),
    tokens=3,
    avg_logprob=-0.2,
    no_speech_prob=0.1,
    compression_ratio=0.8,
    squeezed=0.0,
    unheard=0,
)


def test_silence_needs_both_the_models_word_and_its_doubt() -> None:
    assert replace(GOOD, no_speech_prob=0.7, avg_logprob=-1.1).silent
    assert not replace(GOOD, no_speech_prob=0.7, avg_logprob=-0.9).silent
    assert not replace(GOOD, no_speech_prob=0.5, avg_logprob=-1.1).silent


def test_a_job_may_draw_the_lines_elsewhere() -> None:
    lenient = Thresholds.of(
        RecognitionOptions(
            no_speech_threshold=0.9, log_prob_threshold=-2, compression_ratio_threshold=3
        )
    )
    unsure = replace(GOOD, no_speech_prob=0.7, avg_logprob=-1.1)
    assert unsure.silent
    assert not replace(unsure, thresholds=lenient).silent
    assert replace(GOOD, avg_logprob=-1.1).doubtful
    assert not replace(GOOD, avg_logprob=-1.1, thresholds=lenient).doubtful
    loop = replace(GOOD, compression_ratio=2.5, squeezed=0.5)
    assert loop.doubtful
    assert not replace(loop, thresholds=lenient).doubtful
    assert joined([(0, replace(GOOD, thresholds=lenient))]).thresholds == lenient


def test_what_stays_wrong_is_told() -> None:
    loop = replace(GOOD, compression_ratio=2.5, squeezed=0.5)
    improbable = replace(GOOD, avg_logprob=-1.1)
    assert [one.doubt for one in (GOOD, improbable, loop)] == [None, "improbable", "loop"]


def test_more_words_than_there_is_time_for_are_crammed() -> None:
    assert not GOOD.crammed
    assert replace(GOOD, squeezed=0.25).crammed
    assert not replace(GOOD, squeezed=0.25, no_speech_prob=0.7, avg_logprob=-1.1).crammed


def test_marks_without_a_letter_are_no_speech() -> None:
    assert replace(GOOD, words=(TimedWord(" .", 0, 100, 1), TimedWord(" .", 100, 200, 1))).silent
    assert replace(GOOD, words=()).silent
    assert not replace(GOOD, words=(TimedWord("好", 0, 100, 1),)).silent


@pytest.mark.parametrize(
    ("change", "suspicious", "doubtful"),
    [
        ({}, False, False),
        ({"avg_logprob": -1.1}, True, True),
        ({"avg_logprob": -1.1, "no_speech_prob": 0.7}, False, False),
        ({"compression_ratio": 2.5}, True, False),
        ({"compression_ratio": 2.5, "squeezed": 0.5}, True, True),
        ({"unheard": 150}, True, False),
    ],
)
def test_repeated_speech_is_looked_at_again_but_only_a_loop_is_tried_by_chance(
    change: dict[str, float], *, suspicious: bool, doubtful: bool
) -> None:
    decoded = replace(GOOD, **change)  # type: ignore[arg-type]  # one int among the floats
    assert decoded.suspicious is suspicious
    assert decoded.doubtful is doubtful


def test_words_without_time_are_squeezed() -> None:
    words = [TimedWord(" a", 0, 300, 1), TimedWord(" b", 300, 320, 1)]
    assert squeezed_share(words) == 0.5
    assert squeezed_share([]) == 0


def test_pieces_are_joined_at_their_places() -> None:
    whole = joined([(0, GOOD), (150, replace(GOOD, tokens=7, avg_logprob=-0.5))])
    assert text_of(whole.words) == "Hello world. Hello world."
    assert [word.start_ms for word in whole.words] == [100, 400, 1600, 1900]
    assert whole.tokens == 11
    assert whole.avg_logprob == pytest.approx((4 * -0.2 + 8 * -0.5) / 12)


def test_a_silent_piece_adds_no_words() -> None:
    silent = replace(GOOD, no_speech_prob=0.9, avg_logprob=-2)
    whole = joined([(0, silent), (150, GOOD)])
    assert [word.start_ms for word in whole.words] == [1600, 1900]
    assert whole.avg_logprob == pytest.approx(-0.2)
    assert joined([(0, silent)]).silent


def test_a_word_of_a_later_piece_is_not_glued_to_the_one_before() -> None:
    bare = replace(GOOD, words=(TimedWord("Good", 0, 300, 1),))
    assert text_of(joined([(0, GOOD), (100, bare)]).words) == "Hello world. Good"
    chinese = replace(GOOD, words=(TimedWord("好", 0, 300, 1),))
    assert text_of(joined([(0, chinese), (100, chinese)]).words) == "好好"


def test_the_first_text_without_doubt_is_taken_else_the_most_probable_that_does_not_loop() -> None:
    loop = replace(GOOD, compression_ratio=5, squeezed=0.8, avg_logprob=-0.1)
    poor = replace(GOOD, avg_logprob=-1.4)
    poorer = replace(GOOD, avg_logprob=-1.8)
    assert best([loop, GOOD]) is GOOD
    assert best([loop, poor, poorer]) is poor
    assert best([loop, replace(loop, avg_logprob=-0.3)]) is loop
