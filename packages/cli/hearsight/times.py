"""How the command writes durations, positions, sizes and moments."""

from datetime import datetime

KIB = 1024


def clock(milliseconds: float) -> str:
    """A position in a recording: `1:05`, or `1:02:05` from an hour on."""
    seconds = int(milliseconds // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def size(count: float) -> str:
    """A number of bytes: `812 B`, `1.4 MiB`."""
    if count < KIB:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= KIB
        if count < KIB:
            return f"{count:.1f} {unit}"
    return f"{count / KIB:.1f} TiB"


def moment(iso: str) -> str:
    """A moment of the API's in this machine's time: `2026-05-04 13:07`."""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
