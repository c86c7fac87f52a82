"""The ordinary user that PostgreSQL runs as when the stack runs as root, which it refuses."""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAME = "hearsight"


@dataclass(frozen=True)
class SystemUser:
    """A user of this machine."""

    uid: int
    gid: int


def to_run_as(data: Path) -> SystemUser | None:
    """The user that owns, or is going to own, the folder `data`; None: the present one will do.

    A data folder that exists keeps its owner. Otherwise it is the system user `hearsight`, created
    when it is missing.

    Raises:
        RuntimeError: there is no such user and none can be created.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return SystemUser(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _create()
    return SystemUser(entry.pw_uid, entry.pw_gid)


def _create() -> pwd.struct_passwd:
    useradd = shutil.which("useradd")
    if useradd is None:
        raise RuntimeError(
            "PostgreSQL refuses to run as root, and there is no useradd to create another user."
            " Run `hearsight up` as an ordinary user, or set HEARSIGHT_DATABASE_URL."
        )
    subprocess.run(
        [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", NAME],
        check=True,
        capture_output=True,
    )
    return pwd.getpwnam(NAME)


def closed_folders(path: Path) -> list[Path]:
    """The folders on the way to `path` that other users may not pass through, outermost first."""
    return [
        folder
        for folder in reversed(path.resolve().parents)
        if not folder.stat().st_mode & stat.S_IXOTH
    ]


def open_way(path: Path) -> list[Path]:
    """Lets other users pass through the folders on the way to `path`, not list them.

    Returns:
        The folders whose mode changed, for the person to know.
    """
    closed = closed_folders(path)
    for folder in closed:
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    return closed
