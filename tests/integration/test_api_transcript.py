"""A transcript is read in any format, at any time, and its text is never taken for markup."""

import csv
import io

import httpx
import pytest

from hearsight_core.contract import Segment, Word
from tests.servers.api import Served, problem
from tests.servers.forms import wav
from tests.servers.recogniser import Recogniser
from tests.store import said

FORMATS = {
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
}

NASTY = [
    "00:00:00,000 --> 00:00:09,000",
    "<script>alert(1)</script> & <b>bold</b>",
    "one\nline\r\nof\ttabs\x1b[31m and \x07 bells",
    "\u202egnp.exe\u202c \u2066isolate\u2069",
    "\u8bb2\u5ea7 caf\u00e9 \U0001f399",
]


def transcript(http: httpx.Client, job_id: int, wanted: str) -> httpx.Response:
    answer = http.get(f"/api/jobs/{job_id}/transcript", params={"format": wanted})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == FORMATS[wanted]
    return answer


@pytest.fixture
def nasty(served: Served) -> Recogniser:
    worker = Recogniser(served)
    worker.name_language()
    worker.say(*NASTY)
    return worker


def test_json_is_the_default_and_holds_everything(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    worker.name_language()
    words = (
        Word(start_ms=0, end_ms=400, word=" Hello", probability=0.9),
        Word(start_ms=400, end_ms=900, word=" there", probability=0.8),
    )
    spoken = said(" Hello there", " again")
    worker.store(spoken[0].model_copy(update={"words": words}), spoken[1])
    worker.finish()
    answer = http.get(f"/api/jobs/{worker.job_id}/transcript")
    assert answer.headers["Content-Type"] == "application/json"
    document = answer.json()
    assert document["text"] == "Hello there again"
    assert (document["job_id"], document["status"]) == (worker.job_id, "completed")
    assert (document["language"], document["language_probability"]) == ("en", 0.98)
    assert document["model"]["name"] == "tiny.en"
    assert document["duration_ms"] == worker.job.duration_ms
    first, second = document["segments"]
    assert [Word.model_validate(word) for word in first["words"]] == list(words)
    assert second["words"] is None
    assert first["seq"] < second["seq"]


def test_a_transcript_tells_what_was_asked_for(http: httpx.Client) -> None:
    asked = {
        "from": "1:30",
        "to": 95.5,
        "split_channels": True,
        "temperature": "0,0.4",
        "vad_threshold": 0.3,
        "beam_size": 2,
    }
    answer = http.post("/api/tasks/process", json={"url": "https://example.org/a.mp4", **asked})
    job_id = answer.json()["job_id"]
    for path in (f"/api/jobs/{job_id}/transcript", f"/api/jobs/{job_id}"):
        shown = http.get(path).json()["options"]
        assert (shown["from_ms"], shown["to_ms"]) == (90_000, 95_500)
        assert shown["temperature"] == [0, 0.4]
        assert (shown["split_channels"], shown["vad_threshold"]) == (True, 0.3)
        assert (shown["beam_size"], shown["no_speech_threshold"]) == (2, None)
    http.post(f"/api/jobs/{job_id}/cancel")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"from": "later"}, "from"),
        ({"from": 10, "to": 5}, "to"),
        ({"beam_size": 0}, "beam_size"),
        ({"temperature": [0.5, 0.1]}, "temperature"),
        ({"vad_threshold": 1.5}, "vad_threshold"),
        ({"split_channels": "left"}, "split_channels"),
        ({"from_": 1}, "from_"),
        ({"from_ms": 1}, "from_ms"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(
    http: httpx.Client, options: dict[str, object], field: str
) -> None:
    sent = {"url": "https://example.org/a.mp4", **options}
    assert field in problem(http.post("/api/tasks/process", json=sent), 422, "request.invalid")
    fields = {name: str(value).strip("[]") for name, value in options.items()}
    answer = http.post("/api/upload", data=fields, files={"file": ("a.wav", wav())})
    assert field in problem(answer, 422, "request.invalid")


@pytest.mark.parametrize("wanted", FORMATS)
def test_a_transcript_is_partial_until_the_job_is_completed(
    served: Served, http: httpx.Client, wanted: str
) -> None:
    worker = Recogniser(served)
    worker.say("so far")
    answer = transcript(http, worker.job_id, wanted)
    assert answer.headers["X-HearSight-Partial"] == "true"
    assert "so far" in answer.text
    assert ("partial" in answer.text) == (wanted in {"json", "vtt"})
    worker.say("and no further")
    worker.finish()
    answer = transcript(http, worker.job_id, wanted)
    assert answer.headers["X-HearSight-Partial"] == "false"
    assert "and no further" in answer.text
    if wanted == "json":
        assert answer.json()["partial"] is False
    else:
        assert "partial" not in answer.text


@pytest.mark.parametrize("wanted", FORMATS)
def test_a_job_without_words_has_an_empty_transcript(
    served: Served, http: httpx.Client, wanted: str
) -> None:
    worker = Recogniser(served)
    worker.finish()
    text = transcript(http, worker.job_id, wanted).text
    assert "-->" not in text


def test_segments_come_in_the_order_of_time(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    later, earlier = said("later", "earlier")
    worker.store(later.model_copy(update={"start_ms": 5000, "end_ms": 6000}))
    worker.store(earlier)
    assert transcript(http, worker.job_id, "txt").text == "earlier\nlater\n"


def test_what_nobody_said_is_marked_and_not_passed_as_text(
    served: Served, http: httpx.Client
) -> None:
    worker = Recogniser(served)
    sure, unsure, loop = said("sure", "unsure", "so so so so")
    worker.store(
        sure,
        unsure.model_copy(update={"doubt": "improbable"}),
        loop.model_copy(update={"doubt": "loop"}),
    )
    worker.finish()
    assert transcript(http, worker.job_id, "txt").text == "sure\nunsure\n"
    for wanted in ("srt", "vtt", "tsv"):
        assert "so so" not in transcript(http, worker.job_id, wanted).text
    document = http.get(f"/api/jobs/{worker.job_id}/transcript").json()
    assert document["text"] == "sure unsure"
    assert [one["doubt"] for one in document["segments"]] == [None, "improbable", "loop"]


@pytest.mark.parametrize("wanted", ["srt", "vtt"])
def test_whatever_is_said_stays_one_cue_without_tags(
    http: httpx.Client, nasty: Recogniser, wanted: str
) -> None:
    text = transcript(http, nasty.job_id, wanted).text
    cues = [block for block in text.split("\n\n") if "-->" in block]
    assert len(cues) == len(NASTY)
    for cue in cues:
        *_, timing, spoken = cue.split("\n")
        assert timing.count("-->") == 1
        assert not set("<>\t\r\x1b\x07\u202e\u202c\u2066\u2069") & set(spoken)
    assert "\u8bb2\u5ea7 caf\u00e9 \U0001f399" in text


def test_vtt_keeps_what_was_said_escaped(http: httpx.Client, nasty: Recogniser) -> None:
    text = transcript(http, nasty.job_id, "vtt").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;" in text


def test_tsv_is_a_table_of_three_columns(http: httpx.Client, nasty: Recogniser) -> None:
    text = transcript(http, nasty.job_id, "tsv").text
    head, *table = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert head == ["start", "end", "text"]
    assert [len(row) for row in table] == [3] * len(NASTY)
    assert [int(row[0]) for row in table] == [1000 * place for place in range(len(NASTY))]


def test_txt_is_a_line_a_segment(http: httpx.Client, nasty: Recogniser) -> None:
    assert len(transcript(http, nasty.job_id, "txt").text.splitlines()) == len(NASTY)


def test_json_holds_the_text_as_it_was_recognised(http: httpx.Client, nasty: Recogniser) -> None:
    document = transcript(http, nasty.job_id, "json").json()
    assert [
        Segment.model_validate({k: v for k, v in found.items() if k != "seq"}).text
        for found in document["segments"]
    ] == NASTY


@pytest.mark.parametrize("wanted", sorted(set(FORMATS) - {"json"}))
def test_a_file_is_named_after_the_recording(
    served: Served, http: httpx.Client, wanted: str
) -> None:
    worker = Recogniser(served)
    disposition = transcript(http, worker.job_id, wanted).headers["Content-Disposition"]
    assert disposition == f"inline; filename*=UTF-8''job-{worker.job_id}.{wanted}"


def test_a_format_that_does_not_exist_is_refused(served: Served, http: httpx.Client) -> None:
    worker = Recogniser(served)
    answer = http.get(f"/api/jobs/{worker.job_id}/transcript", params={"format": "docx"})
    assert "format" in problem(answer, 422, "request.invalid")
