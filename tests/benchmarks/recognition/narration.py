"""A long text read aloud by Debian's `flite`, without a pause longer than a sentence's end.

The text is the prose of a licence that lies on every Debian, so that the words are known.
"""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import soundfile

from tests.speech import SAMPLE_RATE, Recording, normalised

TEXT = Path("/usr/share/common-licenses/GPL-3")
_SHORTEST_PROSE = 150
"""Characters that a paragraph has at least; what is shorter are headings."""
_MARK = re.compile(r"^(\d+\.|[a-z]\)|\([a-z]\))\s")
_WORDS_A_MINUTE = 180
_VOICE = "slt"


def flite() -> str:
    """Where the command lies; ends the program if it or the text is not there."""
    found = shutil.which("flite")
    if found is None:
        raise SystemExit("The narration needs the command flite: apt-get install flite")
    if not TEXT.exists():
        raise SystemExit(f"The narration needs {TEXT}: apt-get install base-files")
    return found


@cache
def _prose() -> tuple[str, ...]:
    """The paragraphs that can be read aloud as they are written."""
    paragraphs = (" ".join(one.split()) for one in TEXT.read_text("utf-8").split("\n\n"))
    return tuple(
        re.sub(r'["()]', "", _MARK.sub("", one))
        for one in paragraphs
        if len(one) > _SHORTEST_PROSE and "http" not in one and "<" not in one
    )


def narrated(folder: Path, minutes: float) -> Recording:
    """About so many minutes of it, as far as the text goes."""
    read: list[str] = []
    while len(" ".join(read).split()) < minutes * _WORDS_A_MINUTE and len(read) < len(_prose()):
        read.append(_prose()[len(read)])
    text = " ".join(read)
    written, spoken = folder / "narration.txt", folder / "narration.wav"
    written.write_text(text, "utf-8")
    subprocess.run([flite(), "-voice", _VOICE, "-f", written, "-o", spoken], check=True)
    audio, rate = soundfile.read(spoken, dtype="int16")
    assert rate == SAMPLE_RATE, rate
    return Recording(audio, text, normalised(text).split(), [])
