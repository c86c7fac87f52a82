"""What the API takes, and what it makes of it."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hearsight_api.options import MAX_PROMPT, JobOptions
from hearsight_api.routes.uploads import MAX_FILENAME, safe_filename
from hearsight_api.schemas import JobView, ProcessRequest
from hearsight_core.contract import RecognitionOptions
from hearsight_core.jobs import Job

URL = "https://example.org/talk.mp4"


def wrong_fields(request: dict[str, object]) -> list[object]:
    """The fields that a request is refused for."""
    with pytest.raises(ValidationError) as refused:
        ProcessRequest.model_validate({"url": URL, **request})
    return [error["loc"][0] for error in refused.value.errors()]


def test_a_url_alone_is_enough() -> None:
    request = ProcessRequest.model_validate({"url": URL})
    assert request.recognition() == RecognitionOptions()
    assert request.priority == "normal"
    assert request.job_id is None


@pytest.mark.parametrize("language", [None, "", "auto"])
def test_no_language_means_that_it_is_detected(language: str | None) -> None:
    assert JobOptions(language=language).recognition().language is None


@pytest.mark.parametrize(
    "language", ["english", "EN", "e", "en-US", "en\n", "../en", "1", 7, [], {"en": 1}]
)
def test_what_is_no_language_is_refused(language: object) -> None:
    assert wrong_fields({"language": language}) == ["language"]


@pytest.mark.parametrize("job_id", [0, -1, 2**63, 1.5, "seven", [], {}])
def test_what_is_no_job_id_is_refused(job_id: object) -> None:
    assert wrong_fields({"job_id": job_id}) == ["job_id"]


@pytest.mark.parametrize("job_id", [1, 2**63 - 1])
def test_every_positive_bigint_is_a_job_id(job_id: int) -> None:
    assert JobOptions(job_id=job_id).job_id == job_id


@pytest.mark.parametrize("name", ["initial_prompt", "hotwords"])
def test_text_that_the_database_cannot_hold_is_refused(name: str) -> None:
    assert wrong_fields({name: "before\0after"}) == [name]
    assert wrong_fields({name: "half of a pair: \ud83d"}) == [name]
    assert wrong_fields({name: "x" * (MAX_PROMPT + 1)}) == [name]


@pytest.mark.parametrize(
    ("name", "value"), [("task", "summarise"), ("priority", "urgent"), ("word_timestamps", "x")]
)
def test_a_choice_that_does_not_exist_is_refused(name: str, value: str) -> None:
    assert wrong_fields({name: value}) == [name]


def test_an_unknown_field_is_named() -> None:
    assert wrong_fields({"langauge": "en"}) == ["langauge"]


def test_every_wrong_field_is_named() -> None:
    assert wrong_fields({"job_id": 0, "task": "x"}) == ["job_id", "task"]


def test_the_view_of_a_job_hides_what_is_ours_alone() -> None:
    ours = {
        *("media_key", "request_digest", "speech_ms", "recognised_ms", "cut_done", "deleted"),
        *("attempt", "version", "ended_here"),
    }
    renamed = {"id", "stage_percent"}
    stored = {field.name for field in fields(Job)}
    assert stored - ours - renamed == set(JobView.model_fields) - {"job_id", "progress_percent"}


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("talk.mp3", "talk.mp3"),
        ("/etc/passwd", "passwd"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\talk.wav", "talk.wav"),
        ("\\\\server\\share\\talk.wav", "talk.wav"),
        ("talk\r\nSet-Cookie: a=b.mp3", "talkSet-Cookie: a=b.mp3"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}3pm.talk", "3pm.talk"),
        ("a\0b.mp3", "ab.mp3"),
        ("\N{CJK UNIFIED IDEOGRAPH-8BB2}.mp3", "\N{CJK UNIFIED IDEOGRAPH-8BB2}.mp3"),
        ("  talk.mp3  ", "talk.mp3"),
        (None, "upload"),
        ("", "upload"),
        ("/", "upload"),
        ("..", "upload"),
        (".\0.", "upload"),
        ("folder/.", "folder"),
    ],
)
def test_a_file_name_is_kept_without_its_path_and_tricks(given_name: str | None, kept: str) -> None:
    assert safe_filename(given_name) == kept


@given(st.text())
def test_a_file_name_is_one_step_of_a_path(name: str) -> None:
    kept = safe_filename(name)
    assert 0 < len(kept) <= MAX_FILENAME
    assert kept not in {".", ".."}
    assert not set(kept) & {"/", "\\", "\0", "\n", "\r"}
    kept.encode()
