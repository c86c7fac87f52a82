"""A file that is read while it is still being fetched: in the decoder, and where it is fetched.

Imports as little as the decoder itself, whose start can be part of a job's waiting time.
"""

import os
import select
from pathlib import Path
from typing import Final

_LOOK_MS: Final = 50
"""Time between two looks at a file that has been read to its end so far."""

_WHOLE: Final = b"."

_HEAD_BYTES: Final = 16
_MOST_BOXES: Final = 64
_BEFORE_THE_SOUND: Final = {b"ftyp", b"styp", b"sidx", b"free", b"skip", b"wide", b"pnot", b"uuid"}
"""Boxes of MP4 and QuickTime (ISO/IEC 14496-12) that may stand before what tells of the sound."""
_INDEX: Final = {b"moov", b"moof"}


class Arrival:
    """A file that grows from its beginning to its end, and how its reader learns that it is whole.

    The reader ends if this process does, for nobody could tell it any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader, self._teller = os.pipe()

    def whole(self) -> None:
        """Tells the reader that nothing comes any more."""
        os.write(self._teller, _WHOLE)

    def close(self) -> None:
        """Tells nobody anything any more."""
        os.close(self.reader)
        os.close(self._teller)


class Growing:
    """The file as its reader sees it: it ends where it is whole, and can't be jumped about in.

    Args:
        file: Its descriptor.
        news: The descriptor that `Arrival.reader` is here.
    """

    def __init__(self, file: int, news: int) -> None:
        self._file = file
        self._news = news
        self._whole = False

    def read(self, size: int) -> bytes:
        """The next bytes, `size` at most; none at the end.

        Raises:
            BrokenPipeError: whoever fetches it is gone.
        """
        place = os.lseek(self._file, 0, os.SEEK_CUR)
        self._wait_for(place)
        return os.read(self._file, size)

    def has_its_index_first(self) -> bool:
        """Whether it can be understood from its beginning on: an MP4 may tell at its end only.

        Of other kinds of files nothing is known.

        Raises:
            BrokenPipeError: as `read`.
        """
        place = 0
        for _ in range(_MOST_BOXES):
            self._wait_for(place + _HEAD_BYTES - 1)
            head = os.pread(self._file, _HEAD_BYTES, place)
            size, kind = int.from_bytes(head[:4]), head[4:8]
            if kind not in _BEFORE_THE_SOUND:
                return kind in _INDEX or (place == 0 and kind != b"mdat")
            if size == 1:  # the size did not fit
                size = int.from_bytes(head[8:16])
            place += max(size, 8)
        return False

    def _wait_for(self, place: int) -> None:
        """Waits until the byte at `place` has come, or the last one."""
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        while not self._whole and os.fstat(self._file).st_size <= place:
            if poll.poll(_LOOK_MS):
                if os.read(self._news, 1) != _WHOLE:
                    raise BrokenPipeError("whoever fetches the file is gone")
                self._whole = True
