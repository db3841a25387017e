"""wait: until jobs are finished."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click

from ganservice.cli.exit_codes import EXIT_CODES, NOT_IN_TIME, RESERVED, worst
from ganservice.cli.output import output_option, print_json_line, say
from ganservice.cli.reference import find_jobs, jobs_argument, patiently
from ganservice.cli.standing import state_words
from ganservice.errors import BrokerOutage, GanServiceError, JobNotFound, RequestError
from ganservice.job import Job, State
from ganservice.reservation import Reservation, reservation
from ganservice.settings import Settings
from ganservice.sweeps import Sweep, Sweeps

LOOK_S = 0.3


@click.command("wait")
@jobs_argument
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, 1e9), metavar="SECONDS", help="Give up after this long."
)
@click.option("--healthy", is_flag=True, help="Exit 104 for a success with a reservation, such as collapsed samples.")
@output_option
def wait_command(
    references: tuple[str, ...],
    user: str | None,
    all_users: bool,
    timeout_s: float | None,
    healthy: bool,
    output: str,
) -> None:
    """Wait until jobs, or sweeps, are finished, and say how each ended.

    Exits 0 if all succeeded, 100 failed, 101 not finished in time, 102 no such job, 103 cancelled; of several jobs with
    the worst of it. With --healthy, 104 for a training that succeeded, but collapsed, say.
    """
    wait = Wait(Sweeps(Settings()), healthy, output)
    deadline = time.monotonic() + timeout_s if timeout_s is not None else math.inf
    unknown = list(references)  # what they mean
    try:
        while unknown:
            wait.add(unknown[0], user, all_users, deadline, is_alone=len(references) == 1)
            del unknown[0]
        while wait.left:
            wait.look(deadline)
            if wait.left and time.monotonic() > deadline:
                break
            if wait.left:
                time.sleep(LOOK_S)
        for job_id, job in wait.left.items():
            stands = f"is {job.state}" if job else "is not known"
            wait.tell(job_id, job, NOT_IN_TIME, f"{job_id} {stands} after {timeout_s:g} s")
    except BrokerOutage as outage:
        say(str(outage))
        for job_id in (*wait.left, *unknown):
            wait.tell(
                job_id, None, NOT_IN_TIME, f"nothing is known of {job_id} after {timeout_s:g} s", error=str(outage)
            )
    sys.exit(worst(wait.codes))


@dataclass
class Wait:
    """The jobs that are waited for, and how those ended that are finished."""

    queue: Sweeps
    healthy: bool
    output: str
    left: dict[str, Job | Sweep | None] = field(default_factory=dict)
    sweep_ids: set[str] = field(default_factory=set)
    codes: list[int] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def add(self, reference: str, user: str | None, all_users: bool, deadline: float, *, is_alone: bool) -> None:
        """Wait for what a word means. Raises JobNotFound where it is the only one and means nothing."""
        try:
            if sweep_id := patiently(lambda: self.queue.find_sweep(reference), deadline):
                self.sweep_ids.add(sweep_id)
                found = [sweep_id]
            else:
                found = patiently(lambda: find_jobs(self.queue, reference, tuple(State), user, all_users), deadline)
        except (JobNotFound, RequestError) as error:
            if is_alone and self.output != "json":
                raise
            self._fail(reference, error)
            return
        self.left |= {job_id: None for job_id in found if job_id not in self.known}
        self.known |= set(found)

    def look(self, deadline: float) -> None:
        """Look at every job once, and tell of those that are finished."""
        for job_id in list(self.left):
            try:
                get: Callable[[str], Job | Sweep] = self.queue.sweep if job_id in self.sweep_ids else self.queue.get
                job = patiently(partial(get, job_id), deadline)
            except JobNotFound as error:
                if len(self.known) == 1 and self.output != "json":
                    raise
                del self.left[job_id]
                self._fail(job_id, error)
                continue
            self.left[job_id] = job
            if job.state.is_final:
                self._finish(job, deadline)
                del self.left[job_id]

    def _finish(self, job: Job | Sweep, deadline: float) -> None:
        against = None
        if isinstance(job, Sweep):
            is_cancelled = job.state is State.CANCELLED
            self.tell(job.id, job, EXIT_CODES[job.state], f"{job.id} {'is' if is_cancelled else 'has'} {job.state}")
            return
        if job.training and job.state is State.SUCCEEDED:
            against = reservation(job, patiently(lambda: self.queue.evaluations(job.id), deadline))
        words = state_words(job, against)
        code = RESERVED if self.healthy and against else EXIT_CODES[job.state]
        self.tell(job.id, job, code, f"{job.id} {'is' if job.state is State.CANCELLED else 'has'} {words}", against)
        if job.state is State.FAILED:
            say(f"{job.reason}: {job.message}")

    def _fail(self, reference: str, error: GanServiceError) -> None:
        self.tell(reference, None, error.exit_code, f"error: {error}", error=str(error))

    def tell(
        self,
        job_id: str,
        job: Job | Sweep | None,
        code: int,
        words: str,
        against: Reservation | None = None,
        error: str | None = None,
    ) -> None:
        """Say how a job stands, and print it as a document where that is asked for."""
        say(words)
        self.codes.append(code)
        if self.output == "json":
            from ganservice.documents import WaitDocument

            told: dict[str, Any] = {
                "id": job_id, "done": bool(job and job.state.is_final), "error": error, "exit_code": code,
                "state": job and job.state, "reason": job.reason if isinstance(job, Job) else None,
                "message": job and job.message,
                "reservation": against and {"kind": against.kind, "text": against.text},
            }  # fmt: skip
            print_json_line(WaitDocument(**told).plain())
