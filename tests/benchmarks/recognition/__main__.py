"""Runs the benchmarks, prints the table, ends with 1 if a goal was missed: `make bench`."""

import argparse
import sys

from hearsight_core.errors import DeviceMissingError
from tests.benchmarks import table
from tests.benchmarks.recognition import (
    bare,
    clips,
    cutting,
    fan_out,
    fetching,
    first_words,
    idle,
    memory,
    overhead,
    throughput,
    words,
)

SUBJECTS: table.Subjects = {
    "throughput": throughput.measure,
    "clips": clips.measure,
    "first_words": first_words.measure,
    "fan_out": fan_out.measure,
    "cutting": cutting.measure,
    "overhead": overhead.measure,
    "fetching": fetching.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "words": words.measure,
}
LIBRARIES = ("faster-whisper", "ctranslate2", "onnxruntime", "av", "celery", "sqlalchemy")


def main() -> int:
    """Measures the subjects asked for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.recognition", description=__doc__
    )
    parser.add_argument(
        "subjects", nargs="*", choices=[*SUBJECTS, []], metavar="SUBJECT", help=", ".join(SUBJECTS)
    )
    wanted = parser.parse_args().subjects or list(SUBJECTS)
    try:
        bare.device()
    except DeviceMissingError as error:
        parser.error(str(error))
    return table.run(SUBJECTS, wanted, LIBRARIES)


if __name__ == "__main__":
    sys.exit(main())
