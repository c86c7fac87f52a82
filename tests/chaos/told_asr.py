"""`python -m tests.chaos.told_asr`: a real ASR worker around an engine that does as it is told.

The words it finds are made from the samples, so that the same audio gives the same text wherever
and however often it is heard. It takes `CHAOS_PACE` seconds for a second of audio, one chunk at a
time as a device does (or `CHAOS_STREAMS` at a time, as so many devices), and writes down what it
begins to hear in the file `CHAOS_HEARD`.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hearsight_asr_worker.engine import Chunk, ChunkResult, ModelInfo, to_the_end
from hearsight_asr_worker.tasks import Transcriber
from hearsight_core.contract import RecognitionOptions, Segment, TaskKind, queue_of
from hearsight_core.settings import AsrSettings
from hearsight_core.worker_process import configure_logs, serve

SEGMENT_MS = 5_000


class ToldEngine:
    """An engine that recognises nothing and behaves like one that does."""

    def __init__(self, *, pace: float, heard: Path | None, streams: int = 1) -> None:
        self.info = ModelInfo(
            name="told",
            revision=None,
            device="cpu",
            compute_type="int8",
            languages=frozenset({"en"}),
            streams=streams,
        )
        self._pace = pace
        self._heard = heard
        self._device = threading.BoundedSemaphore(streams)

    def check_options(self, options: RecognitionOptions) -> None:
        """Takes them all."""

    def recognise(
        self,
        chunks: Sequence[Chunk],
        options: RecognitionOptions,
        language: str,
        *,
        head_start_s: float = 0,
        go_on: Callable[[], bool] = to_the_end,
    ) -> Iterator[ChunkResult]:
        """Words for each chunk, after as long as they take; nobody goes first."""
        del language, head_start_s
        for chunk in chunks:
            with self._device:
                if not go_on():
                    return
                self._hear(chunk, options)
            yield ChunkResult(_words(chunk))

    def detect_language(self, chunks: Sequence[Chunk]) -> tuple[str, float]:
        """English, whatever is said."""
        del chunks
        return "en", 1.0

    def loaded(self) -> bool:
        """There is no model to load."""
        return True

    def busy_s(self) -> float:
        """Never busy for long."""
        return 0.0

    def worked_s(self) -> float:
        """No device does any work."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""

    def _hear(self, chunk: Chunk, options: RecognitionOptions) -> None:
        del options
        if self._heard is not None:
            with self._heard.open("a", encoding="ascii") as file:
                file.write(f"{chunk.duration_ms}\n")
        time.sleep(chunk.duration_ms / 1000 * self._pace)


def _words(chunk: Chunk) -> tuple[Segment, ...]:
    """A segment for every few seconds; its words say which samples they were made from."""
    samples = chunk.samples.tobytes()
    size = len(samples) // max(1, chunk.duration_ms)
    return tuple(
        Segment(
            start_ms=chunk.start_ms + start,
            end_ms=chunk.start_ms + min(start + SEGMENT_MS, chunk.duration_ms),
            text=" "
            + hashlib.sha256(samples[start * size : (start + SEGMENT_MS) * size]).hexdigest()[:12],
            avg_logprob=-0.1,
            no_speech_prob=0.01,
            compression_ratio=1.5,
        )
        for start in range(0, chunk.duration_ms, SEGMENT_MS)
    )


def main() -> int:
    """Works until told to end; returns the exit code."""
    settings = AsrSettings()
    configure_logs(settings)
    heard = os.environ.get("CHAOS_HEARD")
    engine = ToldEngine(
        pace=float(os.environ.get("CHAOS_PACE", "0.02")),
        heard=Path(heard) if heard else None,
        streams=int(os.environ.get("CHAOS_STREAMS", "1")),
    )
    return serve(
        queue_of(TaskKind.TRANSCRIBE, settings.asr_pool),
        settings,
        slots=settings.worker_concurrency or 2,
        work=Transcriber(engine),
    )


if __name__ == "__main__":
    sys.exit(main())
