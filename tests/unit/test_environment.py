"""A process with wrong settings says which are wrong, and ends."""

import subprocess
import sys

import pytest

PROCESSES = (
    "hearsight_api",
    "hearsight_download_worker",
    "hearsight_asr_worker",
    "hearsight_core.store.migrate",
)


def ended(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("module", PROCESSES)
def test_wrong_settings_are_named_without_their_values(module: str) -> None:
    done = ended(
        module, HEARSIGHT_LOG_FORMAT="hunter2", HEARSIGHT_LEASE_S="hunter2", HEARSIGHT_PORT="8000"
    )
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("The settings are not valid: HEARSIGHT_")
    assert "HEARSIGHT_LOG_FORMAT: Input should be 'console' or 'json'" in line
    assert "hunter2" not in line


def test_a_variable_of_another_name_is_told_by_it() -> None:
    done = ended("hearsight_asr_worker", CELERY_WORKER_CONCURRENCY="0")
    assert done.returncode == 1
    assert done.stderr.startswith("The settings are not valid: CELERY_WORKER_CONCURRENCY: ")


def test_keys_are_asked_for_with_valid_settings_only() -> None:
    done = ended("hearsight_core.store.keys", "list", HEARSIGHT_LEASE_S="long")
    assert done.returncode == 1
    assert done.stderr.startswith("The settings are not valid: HEARSIGHT_LEASE_S: ")
