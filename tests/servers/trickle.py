"""A web server that hands out the files of a folder slowly, so that a download takes its time.

    python trickle.py FOLDER PORT BYTES_A_SECOND

Needs nothing but Python: it runs in a pod from any of our images.
"""

import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

BLOCKS_A_SECOND = 10


class Trickle(SimpleHTTPRequestHandler):
    """Serves files at `rate` bytes a second each."""

    def __init__(self, *connection: object, rate: int, directory: str) -> None:
        self._block = max(1, rate // BLOCKS_A_SECOND)
        super().__init__(*connection, directory=directory)  # type: ignore[arg-type]  # as it came

    def copyfile(  # type: ignore[override]  # the base class takes text too
        self, source: BinaryIO, outputfile: BinaryIO
    ) -> None:
        """Called by the base class for a file's content."""
        while block := source.read(self._block):
            outputfile.write(block)
            time.sleep(1 / BLOCKS_A_SECOND)


if __name__ == "__main__":
    folder, port, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    handler = partial(Trickle, rate=rate, directory=folder)
    ThreadingHTTPServer(("", port), handler).serve_forever()
