"""What can be asked of a job: the same in the API, the command, and the documentation."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.main import get_command

from hearsight.documents import Options
from hearsight.main import app
from hearsight_api.options import JobOptions
from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import DownloadSettings
from hearsight_download_worker.cut_options import cut_options
from hearsight_download_worker.cutting import CutOptions

ROOT = Path(__file__).parents[2]
NAMES = {field.alias or name for name, field in JobOptions.model_fields.items()}


def asked(**options: object) -> RecognitionOptions:
    return JobOptions.model_validate(options).recognition()


def refused(**options: object) -> list[object]:
    """The fields that such options are refused for."""
    with pytest.raises(ValidationError) as error:
        JobOptions.model_validate(options)
    return [found["loc"][0] for found in error.value.errors()]


def documented() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([a-z_]+)` \| `(--[a-z-]+)` \|", text, re.MULTILINE)


def test_every_option_is_documented_with_its_flag() -> None:
    submit = get_command(app).commands["submit"]  # type: ignore[attr-defined]  # a group
    flags = {flag for parameter in submit.params for flag in parameter.opts}
    found = documented()
    assert {name for name, _ in found} == NAMES
    assert len(found) == len(NAMES)
    for name, flag in found:
        assert flag == f"--{name.replace('_', '-')}"
        assert flag in flags


def test_the_command_knows_every_option_by_its_name() -> None:
    fields = Options.model_fields.items()
    assert {field.serialization_alias or name for name, field in fields} == NAMES


def test_whatever_recognition_takes_can_be_asked_for() -> None:
    clip = {"from_": "from_ms", "to": "to_ms"}
    asks = {clip.get(name, name) for name in JobOptions.model_fields}
    assert set(RecognitionOptions.model_fields) == asks - {"job_id", "priority", "pool"}


@pytest.mark.parametrize(
    ("moment", "ms"),
    [
        (0, 0),
        (90, 90_000),
        (0.25, 250),
        ("90", 90_000),
        ("90.5", 90_500),
        ("1:30", 90_000),
        ("01:02:03.5", 3_723_500),
        ("100:00:00", 360_000_000),
        ("0:00.001", 1),
    ],
)
def test_a_moment_is_seconds_or_a_clocks_time(moment: object, ms: int) -> None:
    assert asked(**{"from": moment}).from_ms == ms
    if ms:
        assert asked(to=moment).to_ms == ms


@pytest.mark.parametrize(
    "moment",
    [
        -1,
        "-1",
        "1:-2",
        "1.5:00",
        "a",
        "1:2:3:4:5:6:7",
        "",
        [],
        "inf",
        "nan",
        1e9,
        ":",
        "1:",
        "1e1",
        " 1",
        "1_0",
    ],
)
def test_what_is_no_moment_is_refused(moment: object) -> None:
    assert refused(**{"from": moment}) == ["from"]
    assert refused(to=moment) == ["to"]


@pytest.mark.parametrize(("begin", "end"), [(10, 10), (10, 9), ("1:00", 59), (0, 0), (1, "1.0004")])
def test_a_stretch_ends_after_it_begins(begin: object, end: object) -> None:
    assert refused(**{"from": begin, "to": end}) == ["to"]


@pytest.mark.parametrize(
    ("given", "temperatures"),
    [
        (0, (0.0,)),
        (0.4, (0.4,)),
        ([0, 0.5, 1], (0.0, 0.5, 1.0)),
        ("0", (0.0,)),
        ("0, 0.2,1", (0.0, 0.2, 1.0)),
        (None, None),
    ],
)
def test_temperatures_are_one_or_several(
    given: object, temperatures: tuple[float, ...] | None
) -> None:
    assert asked(temperature=given).temperature == temperatures


@pytest.mark.parametrize(
    "given", [-0.1, 1.1, [], [0, 0], [0.4, 0.2], "", "0,", "hot", "1e-1", {}, [0] * 11]
)
def test_what_is_no_temperature_is_refused(given: object) -> None:
    assert set(refused(temperature=given)) == {"temperature"}


RANGES: dict[str, tuple[float, float, list[object]]] = {
    "beam_size": (1, 20, [0, 21, 1.5, "many"]),
    "compression_ratio_threshold": (0.1, 100, [0, -1, 101, "x"]),
    "log_prob_threshold": (-100, 0, [-101, 0.1]),
    "no_speech_threshold": (0, 1, [-0.1, 1.1]),
    "vad_threshold": (0.01, 0.99, [0, 1]),
    "vad_min_speech_duration_ms": (0, 5000, [-1, 5001]),
    "vad_min_silence_duration_ms": (0, 5000, [-1, 5001]),
    "vad_speech_pad_ms": (0, 2000, [-1, 2001]),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_number_has_a_range(name: str) -> None:
    least, most, wrong = RANGES[name]
    for good in (least, most, str(least)):
        assert getattr(asked(**{name: good}), name) == float(good)
    for bad in (*wrong, float("nan"), [], " 1", "+1", "1_0", "1e0", ""):
        assert refused(**{name: bad}) == [name]


def test_only_what_is_asked_for_is_stored_besides_the_first_versions_options() -> None:
    first = {"language", "task", "word_timestamps", "initial_prompt", "hotwords"}
    assert set(RecognitionOptions().stored()) == first
    wanted = asked(**{"from": 5, "temperature": [0, 0.2], "split_channels": True, "beam_size": 1})
    stored = wanted.stored()
    assert set(stored) == {*first, "from_ms", "temperature", "split_channels", "beam_size"}
    assert RecognitionOptions.model_validate(stored) == wanted


@pytest.mark.parametrize(
    ("options", "ms"),
    [
        ({}, 60_000),
        ({"from": 10}, 50_000),
        ({"from": 10, "to": 15}, 5_000),
        ({"to": 90}, 60_000),
        ({"from": 70}, 0),
        ({"from": 10, "to": 15, "split_channels": True}, 10_000),
    ],
)
def test_progress_counts_what_is_wanted(options: dict[str, object], ms: int) -> None:
    assert asked(**options).wanted_ms(60_000) == ms


def test_speech_is_found_as_the_job_asks_for_and_else_as_the_worker_is_set() -> None:
    settings = DownloadSettings(vad_threshold=0.3, part_target_s=60)
    assert cut_options(RecognitionOptions(), settings) == CutOptions(
        part_target_s=60, vad_threshold=0.3
    )
    wanted = asked(
        vad_threshold=0.7,
        vad_min_speech_duration_ms=0,
        vad_min_silence_duration_ms=0,
        vad_speech_pad_ms=30,
    )
    assert cut_options(wanted, settings) == CutOptions(
        part_target_s=60, vad_threshold=0.7, min_speech_ms=0, min_silence_ms=0, speech_pad_ms=30
    )


def test_json_is_understood_where_text_is_not_taken_for_numbers() -> None:
    asked = {
        "from": 1,
        "to": "1:30",
        "temperature": [0, 0.5],
        "beam_size": 3,
        "vad_threshold": 0.5,
        "split_channels": True,
    }
    wanted = JobOptions.model_validate(asked, strict=True).recognition()
    assert (wanted.from_ms, wanted.to_ms, wanted.temperature) == (1_000, 90_000, (0, 0.5))


def test_an_old_request_sent_again_is_still_the_same_request() -> None:
    assert "reuse" not in asked().stored()
    assert "reuse" not in asked(reuse=True).stored()
    assert asked(reuse="false").stored()["reuse"] is False
