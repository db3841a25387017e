"""Handles: jobs of a client, for programs that go on with one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganservice.evaluation import Evaluation
from ganservice.job import Job, State
from ganservice.reports import Table

if TYPE_CHECKING:
    from ganservice.client import Client
    from workers.generator import Generator

# Of several generators of a job: the best that was evaluated, or the last.
Which = Literal["best", "final"]


class JobHandle:
    """A job of a `Client`; each method is the client's method of that name, for this job."""

    def __init__(self, client: "Client", job_id: str) -> None:
        self.id = job_id
        self._client = client

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

    def get(self) -> Job:
        """As `Client.get`."""
        return self._client.get(self)

    def wait(self, timeout_s: float | None = None, *, healthy: bool = False) -> Job:
        """As `Client.wait`."""
        return self._client.wait(self, timeout_s, healthy=healthy)

    def cancel(self, *, now: bool = False) -> State:
        """As `Client.cancel`."""
        return self._client.cancel(self, now=now)

    def retry(self) -> None:
        """As `Client.retry`."""
        self._client.retry(self)

    def metrics(self) -> Table:
        """As `Client.metrics`."""
        return self._client.metrics(self)

    def evaluations(self) -> Sequence[Evaluation]:
        """As `Client.evaluations`."""
        return self._client.evaluations(self)

    def grid(self) -> bytes | None:
        """As `Client.grid`."""
        return self._client.grid(self)

    def fetch(self, into: str | os.PathLike[str] | None = None, checkpoint: Which | None = None) -> Path:
        """As `Client.fetch`."""
        return self._client.fetch(self, into, checkpoint)

    def load(self) -> "Generator":
        """As `Client.load`."""
        return self._client.load(self)

    def evaluate(self, checkpoint: Which | int | None = None, **options: Any) -> "JobHandle":
        """As `Client.evaluate`."""
        return self._client.evaluate(self, checkpoint, **options)
