"""A program that is the first process of a container ends on SIGTERM, also while it starts."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UNSHARE = shutil.which("unshare")


@pytest.mark.skipif(
    UNSHARE is None or os.geteuid() != 0, reason="only root may make a PID namespace with unshare"
)
@pytest.mark.parametrize("module", ["hearsight_download_worker", "hearsight_asr_worker"])
def test_a_starting_program_ends_on_sigterm_though_it_is_pid_1(module: str) -> None:
    """Nothing listens on its database's port: it is still starting when the signal comes."""
    assert UNSHARE is not None
    shell = (
        f"import os, runpy, sys; assert os.getpid() == 1; sys.argv = [{module!r}];"
        " print('first', flush=True);"
        f" runpy.run_module({module!r}, run_name='__main__')"
    )
    process = subprocess.Popen(
        [UNSHARE, "--pid", "--fork", sys.executable, "-c", shell],
        env={**os.environ, "HEARSIGHT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = [process.stdout.readline()]
        while "starting" not in told[-1]:
            told.append(process.stdout.readline())
            assert told[-1], told
        [child] = _children(process.pid)
        # From outside its namespace, as a kubelet's: it takes effect only if it is handled.
        os.kill(child, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while process.poll() is None:
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in listed.split()]
