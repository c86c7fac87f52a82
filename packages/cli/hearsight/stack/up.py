"""`hearsight up`: from nothing to a stack that has shown what it can do, and back."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hearsight.client import Client
from hearsight.failures import CommandError, Exit
from hearsight.stack import mark, plan, ports, spoken
from hearsight.stack.home import AlreadyRunningError, Home, State
from hearsight.stack.mark import Run
from hearsight.stack.plan import Plan
from hearsight.stack.program import StartError
from hearsight.stack.screen import STACK, RichScreen
from hearsight.stack.supervisor import Supervisor
from hearsight.times import clock
from hearsight_core.settings import StackSettings, masked

LEFTOVERS_S = 5
"""How long what an earlier run left behind may take to end by itself."""


class Up:
    """One run of the stack in the foreground."""

    def __init__(
        self, settings: StackSettings, given: Mapping[str, str], console: Console, *, sample: bool
    ) -> None:
        self._settings = settings
        self._given = given
        self._screen = RichScreen(console)
        self._sample = sample
        self._home = Home(settings.home)
        self._run = Run.new(self._home.path)

    def run(self) -> Exit:
        """Holds the home and runs the stack until the person stops it.

        Raises:
            CommandError: the home is taken, or the stack could not start.
        """
        try:
            with self._home.locked():
                return asyncio.run(self._stay_up())
        except AlreadyRunningError as error:
            raise _taken(self._home, error.state) from error
        except (StartError, RuntimeError, OSError) as error:
            raise CommandError(f"The stack could not start: {error}", code="stack.start") from error

    def _say(self, text: str) -> None:
        self._screen.line(STACK, text)

    async def _stay_up(self) -> Exit:
        self._say(f"home {self._home.path}")
        before = self._home.state()
        await self._clear()
        chosen = Plan(self._home, self._choose_ports(before), self._given)
        if chosen.postgres:
            for folder in await asyncio.to_thread(chosen.postgres.prepare):
                self._say(f"{folder} may now be passed through: PostgreSQL does not run as root")
        if chosen.valkey:
            chosen.valkey.prepare()
        state = State(
            pid=os.getpid(),
            ports=dict(chosen.ports),
            url=chosen.url,
            environment={
                **_own_variables(self._given),
                **chosen.environment(),
                **({"HEARSIGHT_API_KEY": chosen.api_key} if chosen.api_key else {}),
            },
            sample_job=before.sample_job if before else None,
        )

        def remember(pids: dict[str, int]) -> None:
            state.pids = pids
            self._home.remember(state)

        remember({})
        async with Supervisor(self._run, self._screen, changed=remember) as supervisor:
            stop = asyncio.Event()
            self._listen(stop, supervisor)
            work = asyncio.create_task(self._bring_up(supervisor, chosen, state))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await work
                await stop.wait()
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            self._say("stopping; Ctrl-C again to hurry")
        self._say(f"stopped; everything is kept in {self._home.path}")
        return Exit.OK

    def _listen(self, stop: asyncio.Event, supervisor: Supervisor) -> None:
        """The first signal stops, the second hurries."""

        def heard() -> None:
            if stop.is_set():
                supervisor.hurry.set()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, heard)

    async def _clear(self) -> None:
        """Ends what an earlier run left behind, and drops its files in work."""
        left = await asyncio.to_thread(self._run.forerunners)
        if left:
            self._say(f"waiting for {len(left)} processes of an earlier run to end")
            await asyncio.to_thread(mark.end, self._run.forerunners, grace_s=LEFTOVERS_S)
        shutil.rmtree(self._home.scratch, ignore_errors=True)
        self._home.scratch.mkdir()
        self._home.media.mkdir(exist_ok=True)

    def _choose_ports(self, before: State | None) -> dict[str, int]:
        wanted = self._settings.port
        chosen = plan.choose_ports(wanted, before.ports if before else {})
        if chosen[plan.API] != wanted:
            holder = ports.holder(wanted)
            by = f" by {holder}" if holder else ""
            self._say(f"port {wanted} is taken{by}; the API listens on {chosen[plan.API]} instead")
        return chosen

    async def _bring_up(self, supervisor: Supervisor, chosen: Plan, state: State) -> None:
        if chosen.postgres:
            await supervisor.start(chosen.postgres.program())
            await asyncio.to_thread(chosen.postgres.create_database)
        if chosen.valkey:
            await supervisor.start(chosen.valkey.program())
        await supervisor.run_once(chosen.migration())
        await supervisor.start(*chosen.services())
        self._say(f"ready: {chosen.url}")
        if self._sample:
            await self._show_sample(chosen, state)
        self._screen.show(self._welcome(chosen))

    async def _show_sample(self, chosen: Plan, state: State) -> None:
        """Runs the sample; if it fails the stack stays up, for the person to look into."""
        with Client(chosen.url, api_key=chosen.api_key) as client:
            try:
                heard = await spoken.recognise(client, self._screen, before=state.sample_job)
            except CommandError as error:
                self._say(f"the spoken sample failed: {error} [{error.code}]")
                return
        state.sample_job = heard.job_id
        self._home.remember(state)
        for segment in heard.segments:
            times = f"{clock(segment.start_ms)} - {clock(segment.end_ms)}"
            self._screen.show(Text(f"  {times}  {segment.text.strip()}", style="bold"))
        self._say(f"{heard.duration_ms / 1000:.1f} s of speech took {heard.took_s:.1f} s")

    def _welcome(self, chosen: Plan) -> Panel:
        environment = {**chosen.environment(), **self._given}
        command = _command()
        rows = {
            "API": chosen.url,
            "Docs": f"{chosen.url}/docs",
            **({"Key": "asked for; commands here send it"} if chosen.api_key else {}),
            "Redis": masked(environment["HEARSIGHT_REDIS_URL"]),
            "Home": str(self._home.path),
            "Next": f"{command} submit URL_OR_FILE --watch",
            "": f"{command} transcript JOB --format srt",
            " ": f"{command} doctor",
            "Stop": "Ctrl-C",
        }
        table = Table.grid(padding=(0, 2))
        for name, value in rows.items():
            table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
        return Panel(table, title="HearSight is up", expand=False)


def _own_variables(given: Mapping[str, str]) -> dict[str, str]:
    """The person's own settings, for commands from another shell to find."""
    return {name: value for name, value in given.items() if name.startswith("HEARSIGHT_")}


def _command() -> str:
    """What to type for this command: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which(called.name)
    if found and called.exists() and Path(found).samefile(called):
        return called.name
    if called.name != "hearsight":
        return "hearsight"
    path = called.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _taken(home: Home, state: State | None) -> CommandError:
    who = f" at {state.url} (pid {state.pid})" if state else ""
    error = CommandError(
        f"HearSight runs already in {home.path}{who}. Stop it with Ctrl-C there, or choose another"
        " folder with HEARSIGHT_HOME.",
        code="stack.already_running",
    )
    error.exit = Exit.ALREADY_RUNNING
    return error
