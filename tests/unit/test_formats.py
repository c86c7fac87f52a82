"""Transcripts as text: exact forms, and no text that is taken for anything but text."""

import os
import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearsight_api import formats
from hearsight_api.formats import WRITERS, clock, plain
from hearsight_core.contract import Segment

EXAMPLES = int(os.environ.get("HEARSIGHT_TEST_EXAMPLES", "0")) or 150


def segment(text: str, start_ms: int = 0, end_ms: int = 1000) -> Segment:
    return Segment(
        start_ms=start_ms,
        end_ms=end_ms,
        text=text,
        avg_logprob=-0.2,
        no_speech_prob=0.01,
        compression_ratio=1.4,
    )


SPOKEN = [
    segment(" Hello there.", 0, 1500),
    segment(" How are you?", 3_599_999, 3_600_001),
]

NASTY = [
    "a --> b",
    "1\n00:00:00,000 --> 00:00:09,000\nfake cue",
    "<script>alert('x')</script>",
    "<b>bold</b> & <00:00:01.000>",
    "line\r\nline\rline\nline",
    "tab\tbetween\ttabs",
    "bell \a null-like \x01 escape \x1b[31m red \x9b31m",
    "para\u2029line\u2028next\x85vertical\vform\f",
    "\u202egnp.exe\u202c and \u2066isolate\u2069",
    "NOTE this is no note",
    "{\\an8}{\\fs200}over the picture",
    "\ufeffWEBVTT",
    '=HYPERLINK("http://a.example")',
    "WEBVTT",
    "   ",
    "",
]


def test_srt_is_numbered_cues_with_commas() -> None:
    assert formats.srt(SPOKEN, partial=False) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
        "2\n00:59:59,999 --> 01:00:00,001\nHow are you?\n\n"
    )


def test_a_voice_stands_before_its_words() -> None:
    spoken = [one.model_copy(update={"channel": at}) for at, one in enumerate(SPOKEN)]
    marked = ["Channel 0: Hello there.", "Channel 1: How are you?"]
    assert formats.txt(spoken, partial=False).splitlines() == marked
    assert formats.srt(spoken, partial=False).splitlines()[2::4] == marked
    tsv = formats.tsv(spoken, partial=False).splitlines()
    assert tsv == ["start\tend\ttext", f"0\t1500\t{marked[0]}", f"3599999\t3600001\t{marked[1]}"]
    assert formats.vtt(spoken, partial=False).splitlines()[3::3] == [
        "<v Channel 0>Hello there.",
        "<v Channel 1>How are you?",
    ]


def test_vtt_has_a_header_and_points() -> None:
    assert formats.vtt(SPOKEN, partial=False) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.500\nHello there.\n\n"
        "00:59:59.999 --> 01:00:00.001\nHow are you?\n\n"
    )


def test_vtt_says_in_a_note_that_it_is_partial() -> None:
    header, note, _ = formats.vtt(SPOKEN, partial=True).split("\n\n", 2)
    assert header == "WEBVTT"
    assert note.startswith("NOTE partial")


def test_txt_is_a_segment_a_line() -> None:
    assert formats.txt(SPOKEN, partial=True) == "Hello there.\nHow are you?\n"


def test_tsv_has_a_head_and_milliseconds() -> None:
    assert formats.tsv(SPOKEN, partial=False) == (
        "start\tend\ttext\n0\t1500\tHello there.\n3599999\t3600001\tHow are you?\n"
    )


@pytest.mark.parametrize(
    ("name", "empty"),
    [("srt", ""), ("vtt", "WEBVTT\n\n"), ("txt", ""), ("tsv", "start\tend\ttext\n")],
)
def test_silence_is_an_empty_transcript(name: str, empty: str) -> None:
    write, _ = WRITERS[name]
    assert write([], partial=False) == empty


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (0, "00:00:00.000"),
        (59_999, "00:00:59.999"),
        (3_600_000, "01:00:00.000"),
        (100 * 3_600_000, "100:00:00.000"),
    ],
)
def test_a_clock_goes_on_beyond_a_hundred_hours(ms: int, shown: str) -> None:
    assert clock(ms, ".") == shown


@pytest.mark.parametrize("text", NASTY)
def test_a_cue_stays_one_cue_whatever_is_said(text: str) -> None:
    said = [segment(text), segment("after", 1000, 2000)]
    assert formats.srt(said, partial=False).count("-->") == 2
    assert formats.vtt(said, partial=False).count("-->") == 2
    for written in (formats.srt(said, partial=False), formats.vtt(said, partial=False)):
        assert "\n2\n00:00:01,000" in written or "00:00:01.000 --> 00:00:02.000\nafter" in written


@pytest.mark.parametrize("text", NASTY)
def test_no_markup_survives(text: str) -> None:
    said = [segment(text)]
    cues = formats.srt(said, partial=False), formats.vtt(said, partial=False)
    for written in cues:
        assert "<" not in written
        assert ">" not in written.replace("-->", "", 1)


@pytest.mark.parametrize("text", NASTY)
def test_a_row_has_three_columns_and_a_line_is_one_line(text: str) -> None:
    head, row, end = formats.tsv([segment(text)], partial=False).split("\n")
    assert head.count("\t") == row.count("\t") == 2
    assert end == ""
    assert len(formats.txt([segment(text)], partial=False).splitlines()) == 1


@pytest.mark.parametrize("text", NASTY)
def test_no_order_to_a_player_survives_in_srt(text: str) -> None:
    assert not set("{}") & set(formats.srt([segment(text)], partial=False))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\ufeff="])
def test_no_cell_is_a_formula(start: str) -> None:
    """Spreadsheets run them, and what is said into a microphone is nobody's program."""
    _, row, _ = formats.tsv([segment(f"{start}1+1")], partial=False).split("\n")
    cell = row.split("\t")[2]
    assert cell[0] not in "=+-@"
    assert cell.endswith("1+1")


STRANGE = st.lists(
    st.text()
    | st.sampled_from(NASTY)
    | st.text(st.sampled_from("<>&{}-> \n\r\t0:\x1b\u2028\ufeff")),
    max_size=6,
)


@settings(max_examples=EXAMPLES, derandomize=True)
@given(STRANGE)
def test_every_format_has_as_many_segments_as_were_said(texts: list[str]) -> None:
    """A seeded fuzzer over the writers: each is read back by its own rules."""
    said = [segment(text, 1000 * n, 1000 * n + 500) for n, text in enumerate(texts)]
    srt, vtt, txt, tsv = (WRITERS[name][0](said, partial=False) for name in WRITERS)
    shown = [plain(text) for text in texts]
    cue = r"\d+\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n[^\n<>{}]*\n\n"
    assert re.fullmatch(f"({cue})*", srt)
    assert len(re.findall(cue, srt)) == len(texts)
    cue = r"\d\d:\d\d:\d\d\.\d{3} --> \d\d:\d\d:\d\d\.\d{3}\n([^\n<>]*)\n\n"
    assert re.fullmatch(f"WEBVTT\n\n({cue})*", vtt)
    assert [unescape(text) for text in re.findall(cue, vtt)] == shown
    assert txt.split("\n")[:-1] == shown
    rows = [row.split("\t") for row in tsv.split("\n")[1:-1]]
    assert [row[2][1:] for row in rows] == [text[1:] for text in shown]
    for written in (srt, vtt, txt, tsv):
        written.encode()
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", written
        )


@given(st.text())
def test_plain_text_holds_no_control_character_and_no_override(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert shown == shown.strip()
    assert plain(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "\u5927\u5bb6\u597d\uff0c\u6b22\u8fce",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u200f\u05e9\u05dc\u05d5\u05dd",
        "caf\u00e9 \U0001f469\u200d\U0001f4bb",
    ],
)
def test_every_script_is_kept_as_it_is(text: str) -> None:
    assert plain(text) == text
    assert text in formats.vtt([segment(text)], partial=False)
    assert text in formats.srt([segment(text)], partial=False)
