"""`python -m hearsight_asr_worker`: an ASR worker as a process; `--check` tells if it could run."""

import argparse
import json
import sys
from dataclasses import asdict

import structlog

from hearsight_asr_worker import device_memory, engines, measured
from hearsight_asr_worker.engine import ModelInfo
from hearsight_asr_worker.tasks import Transcriber
from hearsight_core import environment
from hearsight_core.contract import TaskKind, queue_of
from hearsight_core.errors import HearSightError
from hearsight_core.first_process import end_on_sigterm
from hearsight_core.settings import AsrSettings
from hearsight_core.watchdog import Watchdog
from hearsight_core.worker_process import configure_logs, serve

log = structlog.get_logger(__name__)


def _described(info: ModelInfo) -> dict[str, object]:
    languages = "multilingual" if info.multilingual else ",".join(sorted(info.languages))
    return {**asdict(info), "languages": languages}


def main() -> int:
    """Recognises until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="hearsight_asr_worker", description=__doc__)
    parser.add_argument("--check", action="store_true", help="load the engine, say what it is, end")
    check = parser.parse_args().check
    settings = environment.read(AsrSettings)
    if check:  # its answer is all that goes to standard output
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    else:
        configure_logs(settings)
    try:
        engine = engines.load(settings, observe=measured.tell_batch)
    except HearSightError as error:
        if check:
            sys.stdout.write(json.dumps({"code": error.code, "error": str(error)}) + "\n")
        else:
            log.critical("the worker can't start", code=error.code, error=str(error))
        return 1
    try:
        if check:
            sys.stdout.write(json.dumps(_described(engine.info)) + "\n")
            return 0
        log.info("model is loaded", **_described(engine.info))
        memory = device_memory.of_device(engine.info.device)
        measured.tell_model(engine.info, engine.loaded, memory)
        measured.tell_work(engine.info, engine.worked_s)
        return serve(
            queue_of(TaskKind.TRANSCRIBE, settings.asr_pool),
            settings,
            slots=engines.slots(settings, engine.info),
            work=Transcriber(engine),
            watchdog=Watchdog(engine.busy_s, engines.batch_timeout_s(settings, engine.info)),
        )
    finally:
        engine.close()


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
