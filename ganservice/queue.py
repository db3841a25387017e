"""JobQueue: the only source of truth for jobs. Each transition is one Lua script, on Redis' own clock.

{gan}:job:ID           hash    the fields of `job.Job`; times in ms
{gan}:events:ID        stream  what happened, which attempt; about the last 1,000, of 500 kB in all
{gan}:logs:ID          stream  lines the attempts wrote; about the last 5,000, of 1.5 MB in all
{gan}:evaluations:ID   hash    what was found of each checkpoint, by images and protocol
{gan}:evaluations_under_way:ID  hash  images of the checkpoints that jobs in the queue judge, by job
{gan}:ready            zset    jobs of no user that may be leased, by priority, then age; behind them, in the same
                               order, those that the cluster could not hold when they were looked at
{gan}:ready_of:USER    zset    the same of a user
{gan}:ready_users      set     users who have such jobs
{gan}:queued_of:USER   set     all jobs of a user that are queued
{gan}:running_of:USER  set     all jobs of a user that are running
{gan}:aside            string  by which cluster and which format of jobs those were looked at; a minute
{gan}:followers:ID     set     the queued jobs that wait until this one has succeeded
{gan}:ended            set     jobs that have ended, of whose followers some are still to be released or cancelled
{gan}:following_of:USER set    all jobs of a user that wait so
{gan}:waiting          zset    queued jobs that wait for another job or for their sweep, by the time since when
{gan}:delayed          zset    jobs that wait for a retry, or for who submitted them, by the time they become ready
{gan}:state:STATE      zset    all jobs in a state; running by lease expiry, queued by the time since when they may be
                               leased, others by time of entry
{gan}:jobs             zset    all jobs, by their place in the queue
{gan}:jobs_of:USER     zset    the same of a user
{gan}:user_of          hash    the user of each job that has such a place, by its id; empty of one that has none
{gan}:ids              zset    all jobs, for those who know the beginning of an id
{gan}:named:NAME       zset    all jobs of a name, by their place in the queue
{gan}:idempotency:KEY  string  the job a submission with this key made
{gan}:claim:KEY        string  the attempt that makes what the store is to hold under this key: its job and its token
{gan}:reply:REQUEST    string  the answer to a request, for a client that lost it; some minutes; see `requests` too
{gan}:token            int     the last fencing token given; only grows
{gan}:order            int     the last place in the queue given
{gan}:totals           hash    counters, incremented by the scripts
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, cast

from pydantic import TypeAdapter

from ganservice.broker import BOUNDS, json_text
from ganservice.errors import (
    GanServiceError,
    IllegalTransition,
    JobNotFound,
    JobUnreadable,
    LeaseLost,
)
from ganservice.evaluation import Evaluation
from ganservice.job import (
    Capacity,
    Checkpoint,
    Directive,
    EventKind,
    Lease,
    Outcome,
    Progress,
    Pulse,
    Reason,
    Rollback,
    State,
)
from ganservice.job_hash import FORMAT, UNREADABLE
from ganservice.job_index import JobIndex
from ganservice.job_records import unknown_job
from ganservice.model import Model, cut
from ganservice.recipe import Precision
from ganservice.retry import FIRST_DELAY_S, LONGEST_DELAY_S, GiveUp, decide
from ganservice.settings import process_name
from ganservice.spec import read_spec
from ganservice.submissions import Submissions, state_in

log = logging.getLogger(__name__)

# No attempt takes longer to make what it has claimed.
CLAIM_MS = 7 * 86_400_000
# What follows an attempt that ended as was asked.
ENDS: dict[Reason, dict[str, Any]] = {
    Reason.CANCELLED: {"state": State.CANCELLED},
    Reason.HALTED: {"state": State.QUEUED, "halts": True},
}
_ROLLBACKS = TypeAdapter(tuple[Rollback, ...])


@dataclass(frozen=True)
class NewEvent:
    """An event an attempt reports with its heartbeat."""

    kind: EventKind
    detail: dict[str, Any]


class Tidings(TypedDict, total=False):
    """What an attempt tells of itself beside its progress; what is left out stays as it was."""

    pulse: Pulse | None
    precision: Precision | None
    engine: str | None
    trained_images: int  # of this attempt since it began
    missed_beats: int  # since the last that Redis answered
    resumed_images: int | None
    checkpoint: Checkpoint | None
    events: Sequence[NewEvent]
    logs: Sequence[str]


class Report(Tidings, total=False):
    """All that an attempt tells of itself, with a heartbeat or with its end."""

    progress: Progress | None


class JobQueue(Submissions, JobIndex):
    """The queue of one Redis (or Valkey). Safe to share between threads.

    What takes the token of a `leadership` raises LeadershipLost, and does nothing, once another dispatcher leads.
    """

    scripts = (*Submissions.scripts, *JobIndex.scripts, "lease", "heartbeat", "finish", "reap", "yield", "claim")

    def fail(self, job_id: str, message: str, leadership: int | None = None) -> None:
        """Fail a job that cannot be handled, queued or running, whatever its spec says of retries."""
        self._end(job_id, State.FAILED, Reason.ERROR, message=message, now=True, leadership=leadership)

    def lease(
        self, free: Capacity, total: Capacity, leadership: int | None = None, owner: str | None = None
    ) -> Lease | None:
        """Take the next job that fits into `free`, or None. `total` is all the cluster has; `owner` names the caller.

        One that this version cannot read fails, and hides no other. A long look is several scripts, each of which goes
        on where the one before it ended.
        """
        more: dict[str, Any] | None = None
        while True:
            answer = self._lease(owner, free=vars(free), total=vars(total), leadership=leadership, more=more)
            more = answer.get("more")
            if "id" in answer:
                try:
                    return self._granted(answer)
                except JobUnreadable as error:
                    self._set_aside(answer, str(error))
            elif more is None:
                return None

    def take(self, job_id: str) -> Lease:
        """Lease this very job, for a process that runs it outside the cluster: no capacity and no delay matters.

        Raises:
            JobNotFound: there is no such job.
            IllegalTransition: it is not queued.
            JobUnreadable: another version wrote it.
        """
        answer = self._lease(process_name(), id=job_id)
        if answer.get("missing"):
            raise JobNotFound(unknown_job(job_id))
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; only a queued job can be run")
        if answer.get("newer"):
            raise JobUnreadable(f"{job_id} was submitted by a newer release of ganservice, which is needed to run it")
        try:
            return self._granted(answer)
        except JobUnreadable as error:
            self._set_aside(answer, str(error))
            raise

    def _lease(self, owner: str | None, **which: Any) -> dict[str, Any]:
        return self._run(
            "lease",
            lease_ms=int(self._settings.lease_s * 1000),
            longest_delay_ms=int(self._longest_delay_s * 1000),
            ttl_ms=self._ttl_ms,
            format=FORMAT,
            owner=owner or process_name(),
            **which,
        )

    @property
    def _longest_delay_s(self) -> float:
        """Twice as long as a retry, or a submitter who holds his job for a lease, delays a job."""
        return 2 * max(LONGEST_DELAY_S, self._settings.lease_s)

    def _granted(self, answer: dict[str, Any]) -> Lease:
        try:
            return Lease(
                job_id=answer["id"],
                attempt=answer["attempt"],
                token=int(answer["token"]),
                lease_s=self._settings.lease_s,
                spec=read_spec(answer["spec"]),
                rollbacks=_ROLLBACKS.validate_json(answer["rollbacks"]),
                until_images=answer.get("until_images"),
            )
        except Exception as error:  # whatever is wrong with one job, it must not come back to the same dispatcher
            raise JobUnreadable(f"{answer['id']}: {UNREADABLE}; submit it again") from error

    def _set_aside(self, answer: dict[str, Any], message: str) -> None:
        verdict: dict[str, Any] = {
            "state": State.FAILED,
            "reason": Reason.UNREADABLE,
            "message": message,
            "ttl_ms": self._ttl_ms,
        }
        self._run("finish", id=answer["id"], token=int(answer["token"]), **verdict)

    def heartbeat(
        self,
        lease: Lease,
        progress: Progress | None = None,
        *,
        request: str | None = None,
        leadership: int | None = None,
        **tidings: Unpack[Tidings],
    ) -> Directive:
        """Renew the lease and report. Sent again with the same `request`, nothing of it counts twice.

        Raises:
            LeaseLost: the token is stale or the lease ran out; nothing was written.
        """
        answer = self._run(
            "heartbeat",
            request=request,
            leadership=leadership,
            id=lease.job_id,
            token=lease.token,
            lease_ms=int(lease.lease_s * 1000),
            report=_told({"progress": progress, **tidings}),
        )
        _check(lease, answer)
        return Directive(answer["directive"])

    def ask_to_yield(self, lease: Lease, leadership: int | None = None) -> None:
        """Ask the attempt, with its next heartbeat, to give its job back. Raises LeaseLost."""
        _check(lease, self._run("yield", id=lease.job_id, token=lease.token, leadership=leadership))

    def claim(self, lease: Lease, key: str) -> str | None:
        """Claim the making of what many need, by its key in the store. Returns the job that makes it already, if one
        does: it has the claim for as long as its attempt lives.

        Raises:
            LeaseLost: as `heartbeat`.
        """
        answer = self._run("claim", id=lease.job_id, token=lease.token, key=key, ttl_ms=CLAIM_MS)
        _check(lease, answer)
        return cast(str | None, answer.get("maker"))

    def finish(
        self,
        lease: Lease,
        outcome: Outcome,
        request: str | None = None,
        leadership: int | None = None,
        report: Report | None = None,
    ) -> State:
        """End the attempt; a failure goes back to the queue or is given up, as `retry.decide` says by what was reported
        before. With a `report`, of one that succeeded, no last heartbeat is needed.

        Asked again with the same `request`, after an answer that never came, Redis tells how the attempt ended.

        Raises:
            LeaseLost: as `heartbeat`.
        """
        verdict = self._verdict(lease.job_id, outcome)
        answer = self._run(
            "finish",
            request=request,
            leadership=leadership,
            id=lease.job_id,
            token=lease.token,
            # For so long it may be asked again.
            lease_ms=int(lease.lease_s * 1000),
            report=report and _told(report),
            **verdict,
        )
        _check(lease, answer)
        return state_in(lease.job_id, answer["state"])

    def reap(self, silent: Mapping[str, int], leadership: int | None = None) -> list[str]:
        """End every attempt whose lease still ends when `silent` says, as `leases` said a whole lease ago. Returns ids.

        Raises:
            LeadershipLost: nothing was done from then on.
        """
        return [job_id for job_id, end_ms in silent.items() if self._reap_one(job_id, end_ms, leadership)]

    def _reap_one(self, job_id: str, end_ms: int, leadership: int | None) -> bool:
        outcome = Outcome(reason=Reason.LEASE_EXPIRED, message=f"no heartbeat for {self._settings.lease_s:g} s")
        token = None
        try:
            job = self.get(job_id)
            token = job.token
            outcome = outcome.model_copy(update={"message": f"{outcome.message} from {job.owner}"})
            verdict = self._verdict(job_id, outcome)
        except JobNotFound:
            self._run("forget", ids=[job_id], state=State.RUNNING, leadership=leadership)
            return False
        except JobUnreadable as error:
            verdict = self._unreadable_verdict(job_id, str(error))
        except GanServiceError:
            raise
        except Exception as error:  # one bad job must not keep the others from being reaped
            log.exception("%s: cannot be judged", job_id)
            message = f"{outcome.message}; {type(error).__name__}: {error}"
            verdict = {"reason": Reason.ERROR, "state": State.FAILED, "message": cut(message), "ttl_ms": self._ttl_ms}
        answer = self._run("reap", id=job_id, token=token, lease_expires_at=end_ms, leadership=leadership, **verdict)
        return bool(answer["reaped"])

    def _unreadable_verdict(self, job_id: str, message: str) -> dict[str, Any]:
        """A newer release's job goes back to the queue, for one of its dispatchers; one that nobody can read fails."""
        verdict: dict[str, Any] = {"reason": Reason.UNREADABLE, "message": message, "ttl_ms": self._ttl_ms}
        if self.format_of(job_id) > FORMAT:
            return verdict | {"state": State.QUEUED, "delay_ms": int(FIRST_DELAY_S * 1000)}
        return verdict | {"state": State.FAILED}

    def _verdict(self, job_id: str, outcome: Outcome) -> dict[str, Any]:
        verdict: dict[str, Any] = {
            "reason": outcome.reason,
            "message": outcome.message,
            "ttl_ms": self._ttl_ms,
        }
        if outcome.reason is Reason.SUCCEEDED:
            return verdict | {
                "state": State.SUCCEEDED,
                "generator": outcome.generator,
                "evaluation": outcome.evaluation and _about_evaluation(outcome.evaluation),
            }
        if outcome.reason in ENDS:
            return verdict | ENDS[outcome.reason]
        try:
            decision = decide(self.get(job_id), outcome.reason, self._settings.trouble_limit_s, random.random())
        except JobNotFound:  # the script refuses the token of a job that is gone
            return verdict | {"state": State.FAILED}
        except JobUnreadable as error:
            return self._unreadable_verdict(job_id, str(error))
        tally = decision.tally
        verdict |= {
            "failures": tally.failures,
            "troubles": tally.troubles,
            "trouble_ms": int(tally.trouble_s * 1000),
        }
        if outcome.rollback:
            verdict["rollback"] = outcome.rollback.model_dump_json()
        if isinstance(decision, GiveUp):
            message = "; ".join(filter(None, (outcome.message, decision.why)))
            return verdict | {"state": State.FAILED, "message": message}
        return verdict | {"state": State.QUEUED, "delay_ms": int(decision.delay_s * 1000)}


def _about_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """What finish.lua writes to the training that was evaluated."""
    detail = {"images": evaluation.images, "protocol": evaluation.protocol.digest, "measures": evaluation.measures}
    return {
        "job_id": evaluation.job_id,
        "images": evaluation.images,
        "attempt": evaluation.attempt,
        "advisory": evaluation.advisory,
        "field": f"{evaluation.images:012d}/{evaluation.protocol.digest}",
        "text": evaluation.model_dump_json(),
        "event": json_text(detail | {"by": evaluation.by}),
    }


def _told(report: Report) -> dict[str, Any]:
    """A report as `report.lua` takes it."""
    texts = {name: cast(Model | None, report.get(name)) for name in ("progress", "pulse", "checkpoint")}
    told = {
        "precision": report.get("precision"),
        "engine": report.get("engine"),
        "trained_images": report.get("trained_images", 0),
        "missed_beats": report.get("missed_beats", 0),
        "resumed_images": report.get("resumed_images"),
        "events": [{"kind": event.kind, "detail": _detail_text(event)} for event in report.get("events", ())],
        "logs": [cut(line) for line in report.get("logs", ())],
        **{name: model.model_dump_json() for name, model in texts.items() if model},
    }
    # A null would reach Lua as a value that is true.
    return {name: value for name, value in told.items() if value is not None}


def _detail_text(event: NewEvent) -> str:
    """What an event says as JSON; of what is too long the beginning."""
    text = json_text(event.detail)
    if len(text.encode()) > BOUNDS["event_bytes"]:
        return json_text({"cut": cut(text, BOUNDS["event_bytes"] // 8)})
    return text


def _check(lease: Lease, answer: dict[str, Any]) -> None:
    if answer.get("lost"):
        raise LeaseLost(f"attempt {lease.attempt} of {lease.job_id} no longer holds its lease")
