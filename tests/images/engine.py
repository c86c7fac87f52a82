"""Docker or Podman, whichever is here: building images, running them as a cluster would."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("api", "download-worker", "asr-worker")

BUILD_S = 1200
COMMAND_S = 180

_LIMITS = (
    # As the chart's pods: no write outside of volumes, no capability.
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    # Podman would raise these as far as it goes, which takes more than being root in some places.
    "--ulimit=nofile=4096:4096",
    "--ulimit=nproc=4096:4096",
)


@dataclass(frozen=True)
class Engine:
    """The container engine of this machine."""

    program: str

    @classmethod
    def here(cls) -> "Engine | None":
        """The first engine that answers; None: there is none."""
        for program in ("docker", "podman"):
            if shutil.which(program) and not cls(program).call("info", check=False).returncode:
                return cls(program)
        return None

    def call(
        self, *arguments: str, check: bool = True, timeout_s: float = COMMAND_S
    ) -> "subprocess.CompletedProcess[str]":
        """Runs one of its commands; with `check` a failure ends the test with what was said."""
        done = subprocess.run(
            [self.program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=REPOSITORY,
        )
        assert not (check and done.returncode), f"{done.args}\n{done.stdout}{done.stderr}"
        return done

    def build(self, service: str, tag: str, *options: str, **arguments: str) -> None:
        """Builds a service's image from this tree."""
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        dockerfile = f"services/{service}/Dockerfile"
        self.call(
            "build", *options, *given, "--tag", tag, "--file", dockerfile, ".", timeout_s=BUILD_S
        )

    def run(
        self,
        image: str,
        *command: str,
        entrypoint: str | None = None,
        env: Mapping[str, str] | None = None,
        network: str = "none",
        options: tuple[str, ...] = (),
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a container to its end, whatever that is, within the limits of the chart's pods."""
        arguments = [*_options(network, env, options)]
        if entrypoint is not None:
            arguments += ["--entrypoint", entrypoint]
        return self.call("run", "--rm", *arguments, image, *command, check=False)

    def python(self, image: str, code: str, **env: str) -> object:
        """What `code` prints as JSON when the image's Python runs it."""
        done = self.run(image, "-c", code, entrypoint="python", env=env)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def started(
        self, image: str, *command: str, entrypoint: str, env: Mapping[str, str]
    ) -> Iterator["Container"]:
        """A running container on the machine's own network; it is removed at the end."""
        name = f"hearsight-test-{uuid.uuid4().hex[:12]}"
        arguments = [*_options("host", env, ()), "--entrypoint", entrypoint]
        self.call("run", "--detach", "--name", name, *arguments, image, *command)
        try:
            yield Container(self, name)
        finally:
            self.call("rm", "--force", name)


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    engine: Engine
    name: str

    def log(self) -> str:
        """What it has said so far."""
        said = self.engine.call("logs", self.name)
        return said.stdout + said.stderr

    def stop(self, grace_s: int) -> int:
        """Sends SIGTERM, and SIGKILL after `grace_s`; returns the exit code."""
        self.engine.call("stop", "--time", str(grace_s), self.name)
        code = self.engine.call("inspect", "--format", "{{.State.ExitCode}}", self.name)
        return int(code.stdout)


def _options(
    network: str, env: Mapping[str, str] | None, options: tuple[str, ...]
) -> Iterator[str]:
    yield from _LIMITS
    yield f"--network={network}"
    yield "--tmpfs=/tmp:rw,mode=1777"
    for name, value in (env or {}).items():
        yield f"--env={name}={value}"
    yield from options


def images_by_name() -> dict[str, str] | None:
    """The images that HEARSIGHT_TEST_IMAGES=registry/prefix:tag names, by service."""
    named = os.environ.get("HEARSIGHT_TEST_IMAGES")
    if not named:
        return None
    prefix, _, tag = named.rpartition(":")
    if not prefix or "/" in tag:
        raise ValueError(f"HEARSIGHT_TEST_IMAGES={named} is not registry/prefix:tag")
    return {service: f"{prefix}/{service}:{tag}" for service in SERVICES}
