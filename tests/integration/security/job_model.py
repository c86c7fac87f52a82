"""What should become of jobs, said as simply as can be: the model that the store is held to."""

from dataclasses import dataclass, field

from tests.store import AT_ONCE

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
"""States of tasks; the model has words of its own, so that it can disagree."""


@dataclass
class ATask:
    """What the model knows of a task."""

    id: str
    part: int | None = None
    state: str = WAITING
    attempt: int = 0
    failures: int = 0
    chunks: int = 0


@dataclass
class AJob:
    """What the model knows of a job."""

    id: int
    url: str
    tasks: list[ATask]
    status: str = "pending"
    cut_done: bool = False
    stopping: bool = False
    deleted: bool = False
    texts: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether it is over, until somebody retries it."""
        return self.status in {"completed", "failed", "cancelled"}

    def settle(self) -> None:
        """Ends it if nothing of it runs or waits any more."""
        if self.ended:
            return
        if self.stopping and not any(task.state == RUNNING for task in self.tasks):
            self._end("cancelled")
        elif self.cut_done and all(task.state == DONE for task in self.tasks):
            self.status = "completed"

    def attempt_failed(self, task: ATask, *, retryable: bool) -> None:
        """Notes a failed attempt: the task is tried again, or given up and the job with it."""
        task.failures += 1
        if self.stopping or self.ended:
            task.state = CANCELLED
            self.settle()
        elif retryable and task.failures < AT_ONCE.max_failures:
            task.state = WAITING
        else:
            task.state = FAILED
            self._end("failed")

    def stop(self) -> None:
        """Takes what waits out of the queue."""
        self.stopping = True
        self._drop_waiting()
        self.settle()

    def _end(self, status: str) -> None:
        self.status = status
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for task in self.tasks:
            if task.state == WAITING:
                task.state = CANCELLED
