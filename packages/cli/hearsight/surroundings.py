"""Where the command stands: which API, which stores, and why these."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from hearsight.stack.home import Home, State
from hearsight_core.settings import CoreSettings, StackSettings

DEFAULT_URL = "http://127.0.0.1:8000"


Value = TypeVar("Value")


@dataclass(frozen=True)
class Named(Generic[Value]):
    """A value and where it was named."""

    value: Value
    by: str


class Surroundings:
    """What the environment and the local stack say; read when asked, not before."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url

    @cached_property
    def stack(self) -> StackSettings:
        """The settings of the command itself."""
        return StackSettings()

    @cached_property
    def home(self) -> Home:
        """The home of the local stack."""
        return Home(self.stack.home)

    @cached_property
    def running(self) -> State | None:
        """The local stack that runs now."""
        return self.home.running()

    @property
    def url(self) -> Named[str]:
        """Address of the API: --url, HEARSIGHT_URL, the local stack's, or the usual one."""
        if self._url:
            return Named(self._url, "--url")
        if self.stack.url:
            return Named(self.stack.url, "HEARSIGHT_URL")
        if self.running:
            return Named(self.running.url, f"the stack in {self.home.path}")
        return Named(DEFAULT_URL, "default; no stack runs here")

    @property
    def api_key(self) -> str | None:
        """The key to send: HEARSIGHT_API_KEY, else the local stack's if that is what is spoken to.

        Another API is never sent the stack's.
        """
        if self.stack.api_key is not None:
            return self.stack.api_key.get_secret_value()
        if self.running and self.url.value == self.running.url:
            return self.running.environment.get("HEARSIGHT_API_KEY")
        return None

    @cached_property
    def stores(self) -> Named[CoreSettings]:
        """The stores: as HEARSIGHT_ variables say, else as the local stack has or had them."""
        remembered = self.home.state()
        if remembered is None:
            return Named(CoreSettings(), "HEARSIGHT_ variables and defaults")
        fields = {
            name: value
            for name in CoreSettings.model_fields
            if (variable := f"HEARSIGHT_{name.upper()}") not in os.environ
            and (value := remembered.environment.get(variable)) is not None
        }
        return Named(
            CoreSettings.model_validate({**CoreSettings().model_dump(), **fields}),
            f"HEARSIGHT_ variables and {self.home.state_file}",
        )

    def environment(self) -> dict[str, str]:
        """The environment that a worker of this deployment would have."""
        remembered = self.home.state()
        return {**(remembered.environment if remembered else {}), **os.environ}
