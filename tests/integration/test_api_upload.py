"""An upload goes from the socket to the store, byte for byte, and becomes one job."""

from itertools import count
from urllib.parse import quote

import httpx
import pytest

from hearsight_core.store import listing
from tests.servers.api import Served, problem
from tests.servers.forms import (
    BOUNDARY,
    field,
    file,
    form,
    in_blocks,
    mp3,
    objects,
    post,
    send,
    wav,
)

_NUMBERS = count(30_001)


@pytest.fixture
def job_id() -> int:
    return next(_NUMBERS)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_recording_is_stored_byte_for_byte_and_taken(
    served: Served, http: httpx.Client, *, chunked: bool
) -> None:
    body = form(file(wav()), field("language", "en"))
    answer = post(http, in_blocks(body)) if chunked else post(http, body)
    assert answer.status_code == 202, answer.text
    taken = answer.json()
    assert answer.headers["Location"] == f"/api/jobs/{taken['job_id']}"
    job = listing.get(served.database, taken["job_id"])
    assert job.media_key is not None
    assert served.storage.get_bytes(job.media_key) == wav()
    assert (job.filename, job.media_bytes, job.media_type) == (
        "talk.wav",
        len(wav()),
        "audio/x-wav",
    )
    assert job.options.language == "en"
    assert job.source_url is None
    shown = http.get(f"/api/progress/task/{job.id}").json()
    assert (shown["stage"], shown["progress_percent"]) == ("upload", 100)


def test_content_decides_and_not_the_name(served: Served, http: httpx.Client) -> None:
    answer = send(http, file(mp3(), "notes.txt", "text/plain"))
    assert answer.status_code == 202, answer.text
    job = listing.get(served.database, answer.json()["job_id"])
    assert (job.filename, job.media_type) == ("notes.txt", "audio/mpeg")


def test_fields_may_stand_before_and_behind_the_file(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    answer = send(
        http,
        field("job_id", str(job_id)),
        field("word_timestamps", "true"),
        file(wav()),
        field("initial_prompt", "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{SNOWMAN}e"),
        field("priority", "high"),
    )
    assert answer.status_code == 202, answer.text
    job = listing.get(served.database, job_id)
    assert job.options.word_timestamps
    assert job.options.initial_prompt == "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{SNOWMAN}e"
    assert job.priority == "high"


def test_a_form_of_an_ordinary_client_is_taken(http: httpx.Client) -> None:
    answer = http.post(
        "/api/upload", data={"language": "auto"}, files={"file": ("talk.mp3", mp3(), "audio/mpeg")}
    )
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("size", [1, 7, 8192])
def test_blocks_may_be_cut_anywhere(served: Served, http: httpx.Client, size: int) -> None:
    content = wav()[:9000] + b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n-" + b"\r\r\n" * 9
    body = form(field("language", "en"), file(content), field("task", "transcribe"))
    answer = post(http, in_blocks(body, size))
    assert answer.status_code == 202, answer.text
    key = listing.get(served.database, answer.json()["job_id"]).media_key
    assert key is not None
    assert served.storage.get_bytes(key) == content


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/cron.d/talk.wav", "talk.wav"),
        ("C:\\talks\\talk.wav", "talk.wav"),
        ("a\x07b\x1b[31m.wav", "ab[31m.wav"),
        ("%0D%0ASet-Cookie: a=b", "Set-Cookie: a=b"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}vaw.talk", "vaw.talk"),
        ("\u8bb2\u5ea7.wav", "\u8bb2\u5ea7.wav"),
        ("..", "upload"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_file_name_is_kept_without_its_path_and_tricks(
    http: httpx.Client, sent: str, kept: str
) -> None:
    answer = send(http, file(wav(), sent))
    assert answer.status_code == 202, answer.text
    location = answer.headers["Location"]
    assert http.get(location).json()["filename"] == kept
    disposition = http.get(f"{location}/media").headers["Content-Disposition"]
    assert disposition == f"inline; filename*=UTF-8''{quote(kept, safe='')}"


def test_the_same_upload_again_makes_no_second_job_and_no_second_object(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    parts = field("job_id", str(job_id)), file(wav())
    first = send(http, *parts)
    assert first.status_code == 202
    before = objects(served.storage)
    again = send(http, *parts)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert objects(served.storage) == before


def test_other_content_under_the_same_id_is_refused_and_leaves_no_object(
    served: Served, http: httpx.Client, job_id: int
) -> None:
    send(http, field("job_id", str(job_id)), file(wav()))
    before = objects(served.storage)
    other = send(http, field("job_id", str(job_id)), file(mp3()))
    assert "job_id" in problem(other, 409, "job.conflict")
    assert objects(served.storage) == before
