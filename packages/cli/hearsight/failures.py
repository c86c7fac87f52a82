"""What can go wrong for the person at the command, and the exit code of each.

0  all well
1  a job failed, a check failed, or the stack could not start
2  the command was not understood
3  the API can't be reached
4  there is no such job
5  the job was cancelled
6  a stack runs in this home already
7  the API refused the request
130  stopped with Ctrl-C
"""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of `hearsight`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    CANCELLED = 5
    ALREADY_RUNNING = 6
    REFUSED = 7
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command with a message for the person and an exit code."""

    exit: Exit = Exit.FAILED
    code: str = "command.failed"

    def __init__(
        self, message: str, *, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.request_id = request_id


class UsageError(CommandError):
    """What was typed can't be done."""

    exit = Exit.USAGE
    code = "command.usage"


class UnreachableError(CommandError):
    """No API answers at the address."""

    exit = Exit.UNREACHABLE
    code = "api.unreachable"


class NotFoundError(CommandError):
    """There is no such job."""

    exit = Exit.NOT_FOUND
    code = "job.not_found"


class RefusedError(CommandError):
    """The API answered with an error."""

    exit = Exit.REFUSED
    code = "api.refused"
