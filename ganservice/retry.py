"""Decides what follows a failed attempt. Pure: the queue carries the decision out."""

from dataclasses import dataclass

from ganservice.job import Job, Reason

# The same recipe, seed and data would end the same way again.
HOPELESS = frozenset({Reason.DIVERGED, Reason.DATA, Reason.UNHEALTHY})
# The cluster's doing, or the watch's, which counts for itself: tried again for as long as it takes.
BLAMELESS = frozenset({Reason.UNPLACED, Reason.YIELDED, Reason.ROLLED_BACK})

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 300.0


@dataclass(frozen=True)
class Retry:
    """Back to the queue, to be leased again no sooner than `delay_s` from now."""

    delay_s: float
    failures: int


@dataclass(frozen=True)
class GiveUp:
    """The job has failed."""

    failures: int


def decide(job: Job, reason: Reason) -> Retry | GiveUp:
    """Decide what to do after the job's current attempt ended for `reason`.

    Only attempts in a row without a new checkpoint count against `max_attempts`: a long job on machines
    that fail often is not given up while it moves.
    """
    if reason in BLAMELESS:
        return Retry(FIRST_DELAY_S, job.failures)
    failures = 1 if job.made_progress else job.failures + 1
    if reason in HOPELESS or failures >= job.spec.max_attempts:
        return GiveUp(failures)
    return Retry(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 30)), failures)
