"""The end of a job, for who waits for it: the job, or an error that says how it ended otherwise."""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from ganservice.errors import BrokerOutage, GanServiceError
from ganservice.job import Job, State
from ganservice.patience import pauses
from ganservice.queue import JobQueue
from ganservice.reservation import Reservation, reservation
from ganservice.sweeps import Sweep

log = logging.getLogger(__name__)

Ending = TypeVar("Ending", Job, Sweep)

# Between two looks at a job, s; and the longest pause while the broker is away.
LOOK_S = 0.3
LONGEST_PAUSE_S = 5.0


class NotSucceeded(GanServiceError):
    """A job that was waited for has not succeeded."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job


class JobFailed(NotSucceeded):
    """A job that was waited for has failed."""


class JobCancelled(NotSucceeded):
    """A job that was waited for is cancelled."""


class JobReserved(NotSucceeded):
    """A job that was waited for has succeeded with a reservation, and `healthy` asked for none."""

    def __init__(self, message: str, job: Job, found: Reservation) -> None:
        super().__init__(message, job)
        self.reservation = found


class NotInTime(NotSucceeded, TimeoutError):
    """A job that was waited for is not finished in time."""


class SweepNotInTime(GanServiceError, TimeoutError):
    """A sweep that was waited for is not over in time."""


def await_end(queue: JobQueue, job_id: str, timeout_s: float | None = None, healthy: bool = False) -> Job:
    """The job once it has succeeded; `healthy` asks that nothing is to be said against that. Outages are waited out.

    Raises:
        JobFailed, JobCancelled: it ended otherwise.
        JobReserved: with `healthy`, it has succeeded with a reservation.
        NotInTime: it was not finished after `timeout_s`.
        BrokerOutage: nothing was known of it after `timeout_s`.
    """
    against: Reservation | None = None

    def look() -> Job:
        nonlocal against
        job = queue.get(job_id)
        if healthy and job.state is State.SUCCEEDED:
            against = reservation(job, queue.evaluations(job_id))
        return job

    job = finished(look, timeout_s)
    match job.state:
        case State.SUCCEEDED:
            if found := against:
                raise JobReserved(f"{job_id} has succeeded with a reservation: {found}", job, found)
            return job
        case State.FAILED:
            raise JobFailed(f"{job_id} has failed: {job.reason}: {job.message}", job)
        case State.CANCELLED:
            raise JobCancelled(f"{job_id} is cancelled", job)
        case _:
            raise NotInTime(f"{job_id} is {job.state} after {timeout_s:g} s", job)


def finished(ask: Callable[[], Ending], timeout_s: float | None) -> Ending:
    """The job or sweep that `ask` looks at, once it is finished, or as it is after `timeout_s`. Outages are waited out.

    Raises:
        BrokerOutage: nothing was known of it after `timeout_s`.
    """
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    growing, told = pauses(longest_s=LONGEST_PAUSE_S), None
    while True:
        left_s = deadline - time.monotonic()
        try:
            found, pause_s = ask(), LOOK_S
            if found.state.is_final or left_s <= 0:
                return found
        except BrokerOutage as outage:
            if left_s <= 0:
                raise
            if outage.kind is not told:
                log.warning("%s; trying again", outage)
            told, pause_s = outage.kind, next(growing)
        time.sleep(min(pause_s, left_s))
