"""Decides what follows a failed attempt. Pure: the queue carries the decision out."""

from dataclasses import dataclass

from ganservice.job import Job, Reason

# The same recipe, seed and data would end the same way again.
HOPELESS = frozenset({Reason.DIVERGED, Reason.DATA, Reason.NETWORK, Reason.UNHEALTHY, Reason.UNREADABLE})
# The cluster's doing, never the job's: limited by the time that it takes, not by a number of attempts.
INFRASTRUCTURE = frozenset(
    {
        Reason.WORKER_DIED,
        Reason.LEASE_EXPIRED,
        Reason.STALLED,
        Reason.STORE,
        Reason.BROKER,
        Reason.DISK_FULL,
        Reason.UNPLACED,
        Reason.NO_GPU,
        Reason.YIELDED,
    }
)
# Of these the next attempt has nothing to fear: it need not wait longer each time.
PROMPT = frozenset({Reason.UNPLACED, Reason.YIELDED, Reason.ROLLED_BACK})

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 300.0


@dataclass(frozen=True)
class Tally:
    """What a job has against it since its last new checkpoint."""

    failures: int = 0  # attempts that ended by its own fault
    troubles: int = 0  # attempts that ended by the cluster's
    trouble_s: float = 0.0  # the time that these took, pauses between them included


@dataclass(frozen=True)
class Retry:
    """Back to the queue, to be leased again no sooner than `delay_s` from now."""

    delay_s: float
    tally: Tally


@dataclass(frozen=True)
class GiveUp:
    """The job has failed; `why` says what else than the last attempt there is to know."""

    tally: Tally
    why: str = ""


def decide(job: Job, reason: Reason, trouble_limit_s: float, chance: float = 0.0) -> Retry | GiveUp:
    """Decide what to do after the job's current attempt ended for `reason`.

    Only attempts in a row without a new checkpoint count: a long job on machines that fail often is not given up while
    it moves. Those that the cluster ended never use up `max_attempts`; the job is set aside once they have cost it
    `trouble_limit_s`. `chance`, 0 to 1, takes up to half off a pause, so that jobs that fell together do not come back
    together.
    """
    before = Tally() if job.made_progress else Tally(job.failures, job.troubles, job.trouble_s)
    if reason is Reason.ROLLED_BACK:  # counted by the health watch
        return Retry(FIRST_DELAY_S, before)
    if reason in INFRASTRUCTURE:
        return _after_trouble(job, reason, before, trouble_limit_s, chance)
    tally = Tally(before.failures + 1, before.troubles, before.trouble_s)
    if reason in HOPELESS or tally.failures >= job.spec.max_attempts:
        return GiveUp(tally)
    return Retry(_delay_s(tally.failures, chance), tally)


def _after_trouble(job: Job, reason: Reason, before: Tally, limit_s: float, chance: float) -> Retry | GiveUp:
    troubles = before.troubles + 1
    delay_s = FIRST_DELAY_S if reason in PROMPT else _delay_s(troubles, chance)
    # What an attempt did before its new checkpoint cost the job nothing.
    cost_s = 0.0 if job.made_progress else before.trouble_s + job.attempt_s
    if not job.made_progress and cost_s >= limit_s:
        why = (
            f"set aside: {troubles} attempts in {cost_s / 3600:.1f} h came to no new checkpoint by no fault of the "
            f"job's; once the cluster is mended, `ganctl retry {job.id}` goes on"
        )
        return GiveUp(Tally(before.failures, troubles, cost_s), why)
    return Retry(delay_s, Tally(before.failures, troubles, cost_s + delay_s))


def _delay_s(times: int, chance: float) -> float:
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(times - 1, 30)) * (1 - chance / 2)
