"""Settings as a process takes them from its environment at its start."""

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound=BaseSettings)


def read(kind: type[Settings]) -> Settings:
    """The settings; a process whose settings are wrong ends here (exit code 1), and says which."""
    try:
        return kind()
    except ValidationError as error:
        sys.exit(what_is_wrong(error))


def what_is_wrong(error: ValidationError) -> str:
    """Which variables are wrong, and why, without their values: they may be secret."""
    named = "; ".join(f"{_variable(found['loc'])}: {found['msg']}" for found in error.errors())
    return f"The settings are not valid: {named}"


def _variable(loc: tuple[int | str, ...]) -> str:
    """A setting's own name, or that of the variable it is read from where that is another."""
    name = "_".join(map(str, loc))
    return name if name.isupper() else f"HEARSIGHT_{name.upper()}"
