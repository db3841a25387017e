"""How a job stands, in words: the one place from which `list`, `show`, `wait` and `watch` have them."""

import time

from ganservice.cli.output import span
from ganservice.job import Job, State
from ganservice.reservation import Reservation

# A report is late after so many times the usual, and not before so many seconds.
LATE_TIMES, LATE_S = 3.0, 10.0
# Whatever has not come further for so long is told, where no pace of reports is known.
STILL_S = 60.0


def state_words(job: Job, against: Reservation | None = None) -> str:
    """The state of a job, with what is to be said against a success."""
    if job.state is State.RUNNING and job.cancel_requested:
        return f"{job.state}, stopping"
    return f"{job.state}, but {against}" if against else str(job.state)


def late_report(job: Job, now_s: float) -> str | None:
    """A word about a running job that has not reported as it used to, or came no further; by Redis' clock."""
    every_s = job.pulse.report_every_s if job.pulse else None
    if job.reported_at is not None and every_s is not None:
        age_s = now_s - job.reported_at
        if age_s > max(LATE_TIMES * every_s, LATE_S):
            return f"no report for {seconds(age_s)}; usually {seconds(every_s)}"
    if job.moved_at is not None and every_s is None and now_s - job.moved_at > STILL_S:
        return f"came no further for {seconds(now_s - job.moved_at)}"
    return None


def standing_note(job: Job, against: Reservation | None, now_s: float) -> str:
    """What else is worth a word: why a job waits, what it does, how it ended."""
    done_for = f", for {job.subject}" if job.subject else ""
    if against:
        return against.text
    if job.waits_for:
        return f"waits for {job.waits_for}"
    if job.state is State.QUEUED and job.not_before and job.not_before > time.time():
        return f"again in {span(job.not_before - time.time())} after {job.reason}"
    if late := late_report(job, now_s):
        return f"{job.preparation}{done_for}: {late}" if job.preparation else late
    if job.preparation:
        return job.preparation + done_for
    return job.message or (f"of {job.subject}" if job.subject else "")


def seconds(length_s: float) -> str:
    """A length of time: in seconds, or in its two largest units where it is long."""
    if length_s < 1:
        return f"{length_s:.1g} s"
    return f"{length_s:.0f} s" if length_s < 120 else span(length_s)
