"""How a job is to be done, as people ask for it in JSON or in a form: names, ranges, forms.

`docs/options.md` is the same list for people, and a test holds the two together.
"""

import re
from itertools import pairwise
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from hearsight_core.contract import JobId, RecognitionOptions, SpeechTask
from hearsight_core.jobs import Priority

MAX_POOL = 64
MAX_PROMPT = 2000
"""Whisper reads 224 tokens of prompt at most; this is well above what they can hold."""
MAX_CLIP_S = 7 * 24 * 3600
"""Far beyond the longest recording that is taken."""
MAX_TEMPERATURES = 10

_DECIMAL = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_MOMENT = rf"(([0-9]{{1,3}}:)?[0-9]{{1,2}}:[0-9]{{2}}(\.[0-9]{{1,3}})?|{_DECIMAL})"


def _auto_is_none(value: object) -> object:
    # A tuple, not a set: what came in may have no hash.
    return None if value in ("", "auto") else value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL characters, which PostgreSQL can't store")
    return value


def _is_plain_number(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch("[0-9]+", value):
        raise ValueError("must be a number in the digits 0 to 9 and nothing else")
    return value


def _is_plain_decimal(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(f"-?{_DECIMAL}", value):
        raise ValueError("must be a number in the digits 0 to 9")
    return value


def _seconds(value: object) -> object:
    """`1:02:03.5` or `90` as seconds; what is no text as it is."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(_MOMENT, value):
        raise ValueError("must be seconds, or [HH:]MM:SS[.mmm]")
    steps = [float(step) for step in value.split(":")]
    return sum(step * 60**place for place, step in enumerate(reversed(steps)))


def _several(value: object) -> object:
    """`0, 0.2` (as a form has it), one number or a list as a tuple; anything else as it is."""
    if isinstance(value, str):
        steps = [step.strip() for step in value.split(",")]
        if not all(re.fullmatch(_DECIMAL, step) for step in steps):
            raise ValueError("must be numbers from 0 to 1, separated by commas")
        return tuple(map(float, steps))
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, int | float) else value


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError("must rise from one to the next")
    return values


FreeText = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_no_nul)]
"""Text for the engine, as people write it."""

Plain = BeforeValidator(_is_plain_number)
"""On a number that comes as text: no sign, spaces or underscores, which Python would read."""

_PlainDecimal = BeforeValidator(_is_plain_decimal)
"""The same for one that may have a sign and a fraction; no exponent."""

_Seconds = Annotated[float, Field(ge=0, le=MAX_CLIP_S)]
_Moment = Annotated[
    _Seconds,
    BeforeValidator(
        _seconds,
        json_schema_input_type=_Seconds | Annotated[str, Field(pattern=f"^{_MOMENT}$")],
    ),
]
"""A place in the recording: seconds, or `[HH:]MM:SS[.mmm]`."""

_Degree = Annotated[float, Field(ge=0, le=1)]
_AtMost = Field(min_length=1, max_length=MAX_TEMPERATURES)
_Degrees = Annotated[
    tuple[_Degree, ...],
    _AtMost,
    BeforeValidator(
        _several,
        json_schema_input_type=_Degree
        | Annotated[list[_Degree], _AtMost]
        | Annotated[str, Field(pattern=f"^{_DECIMAL}( *, *{_DECIMAL})*$")],
    ),
    AfterValidator(_rising),
]
"""Temperatures: one, or several that rise."""


class JobOptions(BaseModel):
    """How a job is to be done; everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    job_id: Annotated[JobId | None, Plain] = Field(
        None, description="Your own number for the job; sent again, it makes no second job."
    )
    language: Annotated[str | None, BeforeValidator(_auto_is_none)] = Field(
        None,
        pattern=r"^([a-z]{2,3}|auto)?$",
        description="Language spoken, as Whisper's code; left out or `auto`: detected.",
        examples=["en"],
    )
    task: SpeechTask = Field(
        "transcribe", description="`translate` turns any language into English."
    )
    word_timestamps: bool = Field(
        default=False, description="Give each word its times and its probability."
    )
    initial_prompt: FreeText | None = Field(None, description="Text that sets style and spelling.")
    hotwords: FreeText | None = Field(None, description="Words to listen for, such as names.")
    from_: _Moment | None = Field(
        None,
        alias="from",
        description="Recognise from here on: seconds, or `[HH:]MM:SS[.mmm]`. Times in the"
        " transcript stay those of the recording.",
        examples=[90, "1:30"],
    )
    to: _Moment | None = Field(
        None,
        description="Recognise up to here; beyond the recording's end: up to that.",
        examples=["1:02:03.5"],
    )
    split_channels: bool = Field(
        default=False,
        description="Recognise each channel by itself, as telephony has a speaker on each; segments"
        " tell their `channel`, 0 for the left. A mono recording is one channel.",
    )
    beam_size: Annotated[int | None, Plain] = Field(
        None, ge=1, le=20, description="Hypotheses followed; left out: the worker's own, 5."
    )
    temperature: _Degrees | None = Field(
        None,
        description="How freely tokens are drawn, 0 to 1: one number, or several that are tried in"
        " turn while the text is doubtful (a list, or `0,0.2`); left out:"
        " 0, 0.2, 0.4, 0.6, 0.8, 1.",
        examples=[0, [0, 0.4, 0.8]],
    )
    compression_ratio_threshold: Annotated[float | None, _PlainDecimal] = Field(
        None,
        gt=0,
        le=100,
        description="Text that can be compressed by more than this is doubtful, if the sound has no"
        " time for so much; left out: 2.4.",
    )
    log_prob_threshold: Annotated[float | None, _PlainDecimal] = Field(
        None,
        ge=-100,
        le=0,
        description="Text whose mean log probability is below this is doubtful; left out: -1.",
    )
    no_speech_threshold: Annotated[float | None, _PlainDecimal] = Field(
        None,
        ge=0,
        le=1,
        description="Doubtful text counts as silence if the probability that nobody speaks is above"
        " this; left out: 0.6.",
    )
    vad_threshold: Annotated[float | None, _PlainDecimal] = Field(
        None,
        ge=0.01,
        le=0.99,
        description="Probability from which sound is speech; left out: the worker's own, 0.5.",
    )
    vad_min_speech_duration_ms: Annotated[int | None, Plain] = Field(
        None, ge=0, le=5000, description="Shorter sounds are no speech, ms; left out: 0."
    )
    vad_min_silence_duration_ms: Annotated[int | None, Plain] = Field(
        None,
        ge=0,
        le=5000,
        description="Silence that ends a stretch of speech, ms; left out: 160.",
    )
    vad_speech_pad_ms: Annotated[int | None, Plain] = Field(
        None,
        ge=0,
        le=2000,
        description="Sound kept before and after a stretch of speech, ms; left out: 400.",
    )
    reuse: bool = Field(
        default=True,
        description="Take the segments of an earlier job of yours where audio, model and options"
        " are the same; `false`: recognise anew.",
    )
    priority: Priority = Field(
        "normal", description="Place among the jobs of the same owner; low never starves."
    )
    pool: str | None = Field(
        None,
        max_length=MAX_POOL,
        description="Pool of ASR workers that is to recognise it; left out: the first one.",
        examples=["default"],
    )

    @field_validator("to")
    @classmethod
    def _after_from(cls, value: float | None, info: ValidationInfo) -> float | None:
        begin = info.data.get("from_") or 0
        if value is not None and round(value * 1000) <= round(begin * 1000):
            raise ValueError("must be after `from`")
        return value

    def recognition(self) -> RecognitionOptions:
        """The part of it that recognition needs."""
        asked = self.model_dump(include=set(RecognitionOptions.model_fields))
        return RecognitionOptions(
            **asked,
            from_ms=round((self.from_ or 0) * 1000),
            to_ms=None if self.to is None else round(self.to * 1000),
        )
