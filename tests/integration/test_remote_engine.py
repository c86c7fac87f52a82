"""The engine that has an endpoint recognise, against one that speaks as OpenAI's does.

That the stand-in speaks so is what the official client finds of it, first of all.
"""

import io
import json
import logging
import socket
import threading
import wave
from collections.abc import Iterator, Sequence

import openai
import pytest
from openai.types.audio import TranscriptionVerbose, TranslationVerbose

from hearsight_asr_worker import engines
from hearsight_asr_worker.engine import Chunk, ChunkResult, Engine
from hearsight_asr_worker.segmentation import MAX_MS, MAX_WIDTH, width
from hearsight_core import sound
from hearsight_core.contract import RecognitionOptions, Segment
from hearsight_core.errors import (
    AsrError,
    Cancelled,
    HearSightError,
    OptionUnsupportedError,
    RecognitionError,
    RemoteAnswerError,
    RemoteBusyError,
    RemoteKeyError,
    RemoteModelError,
    RemoteRefusedError,
    RemoteTooLargeError,
    RemoteUnavailableError,
)
from hearsight_core.settings import AsrSettings
from tests.servers.openai_endpoint import KEY, MODEL, OpenAiEndpoint, Told, openai_endpoint
from tests.speech import Recording, joined, samples, silence, word_error_rate

OPTIONS = RecognitionOptions()
WORDS = RecognitionOptions(word_timestamps=True)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[OpenAiEndpoint]:
    with openai_endpoint() as one:
        yield one


@pytest.fixture(autouse=True)
def _fresh(endpoint: OpenAiEndpoint) -> None:
    endpoint.got.clear()
    endpoint.tell.clear()
    endpoint.arrived.clear()
    endpoint.dialect = "openai"


def settings(endpoint: OpenAiEndpoint, **more: object) -> AsrSettings:
    wanted: dict[str, object] = {
        "engine": "openai",
        "openai_url": endpoint.url,
        "openai_api_key": KEY,
        "openai_requests": 2,
        **more,
    }
    return AsrSettings.model_validate(wanted)


@pytest.fixture
def engine(endpoint: OpenAiEndpoint) -> Iterator[Engine]:
    one = engines.load(settings(endpoint))
    yield one
    one.close()


@pytest.fixture(scope="module")
def official(endpoint: OpenAiEndpoint) -> Iterator[openai.OpenAI]:
    """The official client."""
    with openai.OpenAI(api_key=KEY, base_url=endpoint.url, max_retries=0) as client:
        yield client


def chunked(recording: Recording, longest_ms: int = 20_000) -> list[Chunk]:
    """The recording in chunks that begin and end in its pauses."""
    stretches = recording.stretches(longest_ms)
    return [Chunk(recording.audio[start * 16 : end * 16], start) for start, end in stretches]


def said(results: Sequence[ChunkResult]) -> list[Segment]:
    return [segment for result in results for segment in result.segments]


def text(results: Sequence[ChunkResult]) -> str:
    return " ".join(segment.text for segment in said(results))


def one_chunk() -> list[Chunk]:
    return [Chunk(samples()[0].audio, 5_000)]


def hear(engine: Engine, options: RecognitionOptions = OPTIONS) -> list[ChunkResult]:
    return list(engine.recognise(one_chunk(), options, "en"))


def test_the_official_client_is_served(endpoint: OpenAiEndpoint, official: openai.OpenAI) -> None:
    clip = samples()[0]
    assert official.models.retrieve(MODEL).id == MODEL
    heard = official.audio.transcriptions.create(
        file=("clip.wav", clip.path.read_bytes(), "audio/wav"),
        model=MODEL,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert isinstance(heard, TranscriptionVerbose)
    assert heard.language == "english"
    assert word_error_rate(clip.text, heard.text) == 0
    assert heard.segments
    assert heard.words
    assert " ".join(word.word for word in heard.words).lower() in heard.text.lower().replace(
        ",", ""
    ).replace(".", "")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        turned = official.audio.translations.create(
            file=("clip.wav", clip.path.read_bytes(), "audio/wav"),
            model=MODEL,
            response_format="verbose_json",
        )
    assert isinstance(turned, TranslationVerbose)
    assert word_error_rate(clip.text, turned.text) == 0
    with (
        openai.OpenAI(api_key="sk-other", base_url=endpoint.url, max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.retrieve(MODEL)
    with pytest.raises(openai.NotFoundError):
        official.models.retrieve("whisper-2")


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_the_request_is_byte_by_byte_the_official_clients(
    endpoint: OpenAiEndpoint,
    official: openai.OpenAI,
    engine: Engine,
    task: str,
) -> None:
    options = RecognitionOptions.model_validate(
        {"task": task, "hotwords": "fox,", "initial_prompt": "A fable, gr\u00fcn \u72d0."}
    )
    [chunk] = one_chunk()
    hear(engine, options)
    file = ("chunk.wav", sound.wav(chunk.pcm()), "audio/wav")
    prompt = "fox, A fable, gr\u00fcn \u72d0."
    if task == "transcribe":
        official.audio.transcriptions.create(
            file=file,
            model=MODEL,
            language="en",
            prompt=prompt,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
    else:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            official.audio.translations.create(
                file=file, model=MODEL, prompt=prompt, response_format="verbose_json"
            )
    ours, theirs = endpoint.got
    assert ours.path == theirs.path
    assert ours.body == theirs.body
    assert ours.fields == theirs.fields
    for name in ("authorization", "content-type"):
        mine, others = (got.headers[name].partition("boundary=")[0] for got in (ours, theirs))
        assert mine == others
    with wave.open(io.BytesIO(file[1])) as audio:
        assert audio.getnframes() == len(chunk.samples)


@pytest.mark.parametrize("dialect", ["openai", "whisper"])
def test_the_words_are_right_in_order_and_as_people_read_them(
    endpoint: OpenAiEndpoint, engine: Engine, dialect: str
) -> None:
    endpoint.dialect = "openai" if dialect == "openai" else "whisper"
    recording = joined(45, seed=1, pause_s=(0.8, 1.2))
    chunks = chunked(recording)
    results = list(engine.recognise(chunks, WORDS, "en"))
    assert len(results) == len(chunks)
    assert word_error_rate(recording.text, text(results)) <= 0.1
    for chunk, result in zip(chunks, results, strict=True):
        at = chunk.start_ms
        assert result.segments
        for segment in result.segments:
            assert at <= segment.start_ms < segment.end_ms <= chunk.end_ms
            assert segment.end_ms - segment.start_ms <= MAX_MS
            assert width(segment.text) <= MAX_WIDTH
            assert segment.words is not None
            assert "".join(word.word for word in segment.words).strip() == segment.text
            for word in segment.words:
                assert at <= word.start_ms < word.end_ms <= segment.end_ms
                assert (word.probability is None) == (dialect == "openai")
                at = word.end_ms
    starts = [segment.start_ms for segment in said(results)]
    for span in recording.spans:
        assert min(abs(start - span.start_ms) for start in starts) <= 600


def test_words_are_told_only_when_asked_for(engine: Engine) -> None:
    assert all(segment.words is None for segment in said(hear(engine)))


def test_what_the_interface_has_no_field_for_is_refused(engine: Engine) -> None:
    for option, value in (
        ("beam_size", 3),
        ("log_prob_threshold", -2.0),
        ("compression_ratio_threshold", 2.0),
        ("temperature", (0.0, 0.2)),
    ):
        wish = RecognitionOptions.model_validate({option: value})
        with pytest.raises(OptionUnsupportedError, match=option):
            engine.check_options(wish)
        with pytest.raises(OptionUnsupportedError):
            engine.recognise([], wish, "en")


def test_one_temperature_is_sent_as_the_official_client_sends_it(
    endpoint: OpenAiEndpoint, official: openai.OpenAI, engine: Engine
) -> None:
    for temperature in (0, 0.4):
        wish = RecognitionOptions(temperature=(temperature,))
        assert said(list(engine.recognise(one_chunk(), wish, "en")))
        official.audio.transcriptions.create(
            file=("chunk.wav", sound.wav(one_chunk()[0].pcm()), "audio/wav"),
            model=MODEL,
            language="en",
            response_format="verbose_json",
            temperature=float(temperature),
            timestamp_granularities=["word", "segment"],
        )
        ours, theirs = endpoint.got[-2:]
        assert ours.body == theirs.body


def test_a_job_decides_what_is_silence(engine: Engine, endpoint: OpenAiEndpoint) -> None:
    unsure = {**SEGMENT, "no_speech_prob": 0.7, "avg_logprob": -1.5}
    body = json.dumps({"text": "x", "segments": [unsure]}).encode()
    for threshold, heard in ((None, 0), (0.8, 1)):
        endpoint.tell.append(Told(200, body))
        assert len(said(hear(engine, RecognitionOptions(no_speech_threshold=threshold)))) == heard


def test_a_translation_has_segments_without_words(endpoint: OpenAiEndpoint, engine: Engine) -> None:
    wish = RecognitionOptions(task="translate", word_timestamps=True)
    segments = said(hear(engine, wish))
    assert word_error_rate(samples()[0].text, " ".join(one.text for one in segments)) == 0
    assert all(one.words is None for one in segments)
    assert [got.path for got in endpoint.got] == ["/v1/audio/translations"]


def test_silence_is_not_sent(endpoint: OpenAiEndpoint, engine: Engine) -> None:
    chunks = [Chunk(silence(3), 0), *one_chunk(), Chunk(silence(1), 60_000)]
    first, second, third = engine.recognise(chunks, OPTIONS, "en")
    assert not first.segments
    assert second.segments
    assert not third.segments
    assert len(endpoint.got) == 1
    assert engine.detect_language([Chunk(silence(3), 0)]) == ("en", 0.0)
    assert len(endpoint.got) == 1


def test_the_language_is_what_the_endpoint_finds_in_the_longest_chunk(
    endpoint: OpenAiEndpoint, engine: Engine
) -> None:
    long = max(samples(), key=lambda one: one.duration_ms)
    short = min(samples(), key=lambda one: one.duration_ms)
    for dialect in ("openai", "whisper"):
        endpoint.dialect = "openai" if dialect == "openai" else "whisper"
        found = engine.detect_language([Chunk(short.audio, 0), Chunk(long.audio, 30_000)])
        assert found == ("en", None)
    names = [name for name, _ in endpoint.got[-1].fields]
    assert "language" not in names
    assert len(endpoint.got[-1].body) > 2 * len(long.audio)


REFUSALS = [
    (401, b"{}", RemoteKeyError),
    (403, b'{"error": {"message": "no access to the model"}}', RemoteKeyError),
    (404, b'{"error": {"message": "no model", "code": "model_not_found"}}', RemoteModelError),
    (413, b"<html>too large</html>", RemoteTooLargeError),
    (400, b'{"error": "bad request"}', RemoteRefusedError),
    (422, b'{"detail": [{"msg": "no such format"}]}', RemoteRefusedError),
    (307, b"", RemoteRefusedError),
    (429, b'{"error": {"message": "pay", "code": "insufficient_quota"}}', RemoteRefusedError),
]


@pytest.mark.parametrize(("status", "body", "error"), REFUSALS)
def test_what_can_not_go_well_is_asked_once_and_never_again(
    endpoint: OpenAiEndpoint,
    engine: Engine,
    status: int,
    body: bytes,
    error: type[HearSightError],
) -> None:
    headers = (("Location", "http://127.0.0.1:9/"), ("Retry-After", "0"))
    endpoint.tell.append(Told(status, body, headers))
    with pytest.raises(error) as raised:
        hear(engine)
    assert not raised.value.retryable
    assert endpoint.url.split("/")[2] in str(raised.value)
    assert len(endpoint.got) == 1
    assert said(hear(engine))


@pytest.mark.parametrize(
    "told",
    [
        Told(429, headers=(("Retry-After", "0.2"),)),
        Told(429, headers=(("Retry-After", "Tue, 01 Jan 2019 00:00:00 GMT"),)),
        Told(429),
        Told(500, b"not even JSON"),
        Told(503, headers=(("Retry-After", "0"),)),
        Told(408),
        Told(200, b"x" * 100, cut=True),
    ],
)
def test_what_may_go_well_the_next_time_is_asked_again(
    endpoint: OpenAiEndpoint, engine: Engine, told: Told
) -> None:
    endpoint.tell += [told, told]
    assert said(hear(engine))
    assert len(endpoint.got) == 3


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (Told(429, headers=(("Retry-After", "3600"),)), RemoteBusyError),
        (Told(429), RemoteBusyError),
        (Told(500, b'{"error": {"message": "on fire"}}'), RemoteUnavailableError),
        (Told(200, after_s=3), RemoteUnavailableError),
    ],
)
def test_an_endpoint_that_goes_on_failing_leaves_it_to_the_task_to_try_again(
    endpoint: OpenAiEndpoint, told: Told, error: type[AsrError]
) -> None:
    impatient = engines.load(settings(endpoint, openai_max_wait_s=0.7, openai_timeout_s=0.5))
    endpoint.tell += [told] * 10
    with pytest.raises(error) as raised:
        hear(impatient)
    assert raised.value.retryable
    assert len(endpoint.got) <= 3
    impatient.close()


SEGMENT = {"start": 0, "end": 1, "text": "x", "avg_logprob": -0.1, "no_speech_prob": 0}
MALFORMED = [
    b"<html>Welcome to nginx!</html>",
    b'{"text": "only json"}',
    b"[]",
    b"",
    b'{"text": "x", "segments": [{"text": "x"}]}',
    json.dumps({"text": "x", "segments": [{**SEGMENT, "start": -1}]}).encode(),
    json.dumps({"text": "x", "segments": [{**SEGMENT, "avg_logprob": float("nan")}]}).encode(),
    b'{"text": "' + b"x" * 5_000_000 + b'", "segments": []}',
]


@pytest.mark.parametrize("body", MALFORMED)
def test_an_answer_that_is_no_transcription_is_told_as_that(
    endpoint: OpenAiEndpoint, engine: Engine, body: bytes
) -> None:
    endpoint.tell.append(Told(200, body))
    with pytest.raises(RemoteAnswerError, match="verbose_json") as raised:
        hear(engine)
    assert len(str(raised.value)) < 600


def test_wild_times_and_words_that_do_not_fit_stay_inside_the_chunk(
    endpoint: OpenAiEndpoint, engine: Engine
) -> None:
    wild = [
        {**SEGMENT, "start": 50, "end": 900, "text": "First, and\0 last."},
        {**SEGMENT, "start": 3, "end": 1, "text": " Then that."},
        {**SEGMENT, "text": " ..."},
        {**SEGMENT, "text": "Silence", "no_speech_prob": 0.9, "avg_logprob": -2},
    ]
    words = [{"word": word, "start": 9, "end": 1} for word in ("Other", "words", "than", "those")]
    endpoint.tell.append(
        Told(200, json.dumps({"text": "", "segments": wild, "words": words}).encode())
    )
    [chunk], [result] = one_chunk(), hear(engine, WORDS)
    assert [one.text for one in result.segments] == ["First, and\ufffd last.", "Then that."]
    at = chunk.start_ms
    for one in result.segments:
        assert at <= one.start_ms < one.end_ms <= chunk.end_ms
        at = one.end_ms


def test_a_cancel_is_seen_while_a_request_is_put_off(
    endpoint: OpenAiEndpoint, engine: Engine
) -> None:
    endpoint.tell.append(Told(429, headers=(("Retry-After", "50"),)))

    def go_on() -> bool:
        if endpoint.arrived.is_set():
            raise Cancelled
        return True

    with pytest.raises(Cancelled):
        list(engine.recognise(one_chunk(), OPTIONS, "en", go_on=go_on))
    # The streams are free again at once: both of them, within the minute they would have waited.
    assert len(list(engine.recognise(one_chunk() * 2, OPTIONS, "en"))) == 2


def test_a_drain_keeps_what_is_answered_and_begins_nothing_more(
    endpoint: OpenAiEndpoint,
) -> None:
    one = engines.load(settings(endpoint, openai_requests=1))
    chunks = chunked(joined(20, seed=2), longest_ms=4_000)
    found: list[ChunkResult] = []
    for result in one.recognise(chunks, OPTIONS, "en", go_on=lambda: len(found) < 2):
        found.append(result)  # noqa: PERF402  it is looked at while it grows
    assert 2 <= len(found) < len(chunks)
    assert len(endpoint.got) == len(found)
    rest = list(one.recognise(chunks[len(found) :], OPTIONS, "en"))
    assert len(endpoint.got) == len(chunks)
    assert word_error_rate(joined(20, seed=2).text, text([*found, *rest])) <= 0.1
    one.close()


def test_a_drain_does_not_wait_for_a_request_that_is_put_off(
    endpoint: OpenAiEndpoint, engine: Engine
) -> None:
    endpoint.tell.append(Told(429, headers=(("Retry-After", "50"),)))
    chunks = one_chunk()
    went_on = lambda: not endpoint.arrived.is_set()  # noqa: E731
    assert list(engine.recognise(chunks, OPTIONS, "en", go_on=went_on)) == []
    assert len(endpoint.got) == 1


def test_no_more_requests_are_sent_at_once_than_are_asked_for(
    endpoint: OpenAiEndpoint,
) -> None:
    one = engines.load(settings(endpoint, openai_requests=3))
    assert one.info.streams == 3
    endpoint.tell += [Told(500, after_s=1, headers=(("Retry-After", "0"),))] * 3
    chunks = [Chunk(samples()[0].audio, at * 30_000) for at in range(4)]
    results = one.recognise(chunks, OPTIONS, "en")
    caller = threading.Thread(target=lambda: list(results))
    caller.start()
    endpoint.arrived.wait(30)
    while len(endpoint.got) < 3:
        threading.Event().wait(0.01)
    threading.Event().wait(0.3)
    assert len(endpoint.got) == 3
    caller.join(60)
    assert len(endpoint.got) == 7
    one.close()


def test_a_closed_engine_tells_its_callers(endpoint: OpenAiEndpoint) -> None:
    one = engines.load(settings(endpoint))
    endpoint.tell += [Told(429, headers=(("Retry-After", "50"),))] * 2

    def close() -> None:
        endpoint.arrived.wait(30)
        one.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(RecognitionError, match="closed"):
        list(one.recognise(one_chunk() * 5, OPTIONS, "en"))
    closing.join()


def test_an_endpoint_that_does_not_take_the_key_is_no_engine(endpoint: OpenAiEndpoint) -> None:
    with pytest.raises(RemoteKeyError, match="HEARSIGHT_OPENAI_API_KEY"):
        engines.load(settings(endpoint, openai_api_key=None))


def test_an_endpoint_that_is_not_there_is_no_engine(endpoint: OpenAiEndpoint) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        nobody.close()
        with pytest.raises(RemoteUnavailableError, match="HEARSIGHT_OPENAI_URL"):
            engines.load(settings(endpoint, openai_url=url))


def test_an_endpoint_that_can_not_be_asked_for_its_model_is_taken(
    endpoint: OpenAiEndpoint,
) -> None:
    one = engines.load(settings(endpoint, openai_model="large-v3"))
    with pytest.raises(RemoteModelError, match="large-v3"):
        hear(one)
    one.close()


def test_the_key_is_never_told(endpoint: OpenAiEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sk-this-key-is-secret-42"
    with pytest.raises(RemoteKeyError) as raised:
        engines.load(settings(endpoint, openai_api_key=wrong))
    one = engines.load(settings(endpoint))
    echo = json.dumps({"error": {"message": f"who sends {KEY}?"}}).encode()
    endpoint.tell += [Told(500, echo, (("Retry-After", "0"),)), Told(400, echo)]
    with pytest.raises(RemoteRefusedError) as refused:
        hear(one)
    one.close()
    told = caplog.text + str(raised.value) + str(refused.value) + repr(settings(endpoint))
    assert "***" in str(refused.value)
    for secret in (wrong, KEY):
        assert secret not in told
