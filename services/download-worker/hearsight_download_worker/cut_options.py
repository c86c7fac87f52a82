"""How a job's recording is cut: as the job asks for, else as the worker's settings say."""

from dataclasses import replace
from typing import TypeVar

from hearsight_core.contract import RecognitionOptions
from hearsight_core.settings import DownloadSettings
from hearsight_download_worker.cutting import CutOptions

Number = TypeVar("Number", int, float)

ARRIVING_PART_S = 60.0
"""Longest parts, seconds of speech, of what is still being fetched: longer ones would have to be
waited for."""


def cut_options(options: RecognitionOptions, settings: DownloadSettings) -> CutOptions:
    """How to cut a job: as it asks for, else as the worker's settings say."""
    own = CutOptions(
        part_target_s=settings.part_target_s,
        part_shortest_s=settings.part_shortest_s,
        vad_threshold=settings.vad_threshold,
    )
    return replace(
        own,
        vad_threshold=_either(options.vad_threshold, own.vad_threshold),
        min_speech_ms=_either(options.vad_min_speech_duration_ms, own.min_speech_ms),
        min_silence_ms=_either(options.vad_min_silence_duration_ms, own.min_silence_ms),
        speech_pad_ms=_either(options.vad_speech_pad_ms, own.speech_pad_ms),
    )


def _either(asked: Number | None, own: Number) -> Number:
    return own if asked is None else asked


def while_arriving(options: CutOptions) -> CutOptions:
    """How to cut what is still being fetched."""
    return replace(options, part_target_s=min(options.part_target_s, ARRIVING_PART_S))
