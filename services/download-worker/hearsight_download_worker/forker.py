"""Forks a child for each fetch: `python -m hearsight_download_worker.forker`.

To start Python, to load yt-dlp and to translate the patterns of all its sites takes longer than
most fetches. This process has done it, and does nothing else: it reads no address, no page and no
order, so nothing that a source sends can leave anything here for the next one. It has one thread,
without which a fork would copy locks that nobody holds.

Standard input is a socket. Each message on it brings four descriptors: the standard input, output
and error of a new child, which then is what `fetcher.py` is, and a socket of its own, its life:
when whoever asked shuts it, the child is killed, and once it has ended its exit code (or, negative,
the signal) comes on it. When the first socket closes, nobody is left to ask, and this process ends.
The kernel kills the children of one that is gone, however it went.
"""

import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2), option PR_SET_PDEATHSIG, from linux/prctl.h."""

FILES: Final = 4
"""Descriptors that come with a message."""


class Forker:
    """Forks, watches and kills; `run` is what a child does, and returns its exit code."""

    def __init__(self, asked: socket.socket, run: Callable[[], int]) -> None:
        self._asked = asked
        self._run = run
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._lives: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._ends, self._wakeup = socket.socketpair()

    def serve(self) -> None:
        """Forks what is asked for, until nobody can ask any more."""
        for end in (self._ends, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a byte comes on `_ends`
        self._selector.register(self._asked, selectors.EVENT_READ)
        self._selector.register(self._ends, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._asked:
                    message, files, *_ = socket.recv_fds(self._asked, 1, FILES)
                    if not message:
                        return
                    self._fork(files)
                elif key.fileobj is self._ends:
                    self._ends.recv(4096)
                    self._reap()
                else:
                    self._kill(key.data)

    def _fork(self, files: list[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes
            os.write(files[2], f"{error}\n".encode())
            with socket.socket(fileno=files.pop()) as life:
                _tell(life, 1)
        else:
            if pid == 0:
                self._become(files, parent)
            life = socket.socket(fileno=files.pop())
            self._lives[pid] = life
            self._selector.register(life, selectors.EVENT_READ, pid)
        for file in files:
            os.close(file)

    def _become(self, files: list[int], parent: int) -> None:
        """Is the child: lets go of all that is the parent's, and runs; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for ours in (self._ends, self._wakeup, *self._lives.values()):
                ours.close()
            self._asked.detach()  # standard input, in whose place comes the child's
            for number, file in enumerate(files):
                if number < FILES - 1:
                    os.dup2(file, number)
                os.close(file)
            self._end_with(parent)
            code = self._run()
        except BaseException:  # noqa: BLE001  whatever it is, it must not come out in the parent's loop
            traceback.print_exc()
        finally:
            os._exit(code)

    def _end_with(self, parent: int) -> None:
        """Has the kernel kill this process once its parent is gone."""
        if self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:
            os._exit(1)  # it was gone before

    def _kill(self, pid: int) -> None:
        """Kills a child that nobody waits for; it is still there, as it has not been reaped."""
        if pid in self._lives:
            self._selector.unregister(self._lives[pid])
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Tells how those ended that have."""
        while self._lives:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._lives.pop(pid) as life:
                if life in self._selector.get_map():
                    self._selector.unregister(life)
                _tell(life, os.waitstatus_to_exitcode(status))


def _tell(life: socket.socket, code: int) -> None:
    try:
        life.send(str(code).encode())
    except BrokenPipeError:
        return  # nobody listens any more


def main() -> int:
    """Loads all that a fetch needs, then forks; returns the exit code."""
    # Ctrl-C goes to everybody at the terminal; when this one has to end, its socket closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Imported here, as it takes a second in which Ctrl-C may come.
    from hearsight_download_worker import fetcher  # noqa: PLC0415
    from hearsight_download_worker.fetch import rehearse  # noqa: PLC0415

    rehearse()
    # What is there stays, so that a child need not copy it to look whether it is garbage.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=0) as asked:
        Forker(asked, fetcher.run).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
