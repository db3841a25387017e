"""Handles: sweeps of a client, for programs that go on with one."""

from ganservice.documents.sweep import SweepDocument, sweep_document
from ganservice.job import State
from ganservice.job_end import SweepNotInTime, finished
from ganservice.queue import JobQueue


class SweepHandle:
    """A sweep of a `Client`."""

    def __init__(self, queue: JobQueue, sweep_id: str) -> None:
        self.id = sweep_id
        self._queue = queue

    def __repr__(self) -> str:
        return f"<SweepHandle {self.id}>"

    def get(self) -> SweepDocument:
        """How it stands: its settings and what they came to, the best first, as `ganctl show -o json` tells it."""
        return sweep_document(*self._queue.look_at_sweep(self.id))

    def wait(self, timeout_s: float | None = None) -> SweepDocument:
        """Wait until it is over, however it ends, and return how it stands. Outages of Redis are waited out.

        Raises:
            SweepNotInTime: after `timeout_s` it was not over. It goes on.
        """
        sweep = finished(lambda: self._queue.sweep(self.id), timeout_s)
        if not sweep.state.is_final:
            raise SweepNotInTime(f"{self.id} is {sweep.state} after {timeout_s:g} s")
        return self.get()

    def cancel(self) -> State:
        """Cancel it with all its jobs, which the dispatcher does. Returns the state it is in."""
        return self._queue.cancel_sweep(self.id)
