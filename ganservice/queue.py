"""JobQueue: the only source of truth for jobs. Each transition is one Lua script, on Redis' own clock.

{gan}:job:ID           hash    the fields of `job.Job`; times in ms
{gan}:events:ID        stream  what happened, which attempt; about the last 1,000
{gan}:logs:ID          stream  lines the attempts wrote; about the last 5,000
{gan}:evaluations:ID   hash    what was found of each checkpoint, by images and protocol
{gan}:evaluations_under_way:ID  hash  images of the checkpoints that jobs in the queue judge, by job
{gan}:ready            zset    jobs that may be leased, by priority, then age
{gan}:delayed          zset    jobs that wait for a retry, or for who submitted them, by the time they become ready
{gan}:state:STATE      zset    all jobs in a state; running by lease expiry, others by time of entry
{gan}:idempotency:KEY  string  the job a submission with this key made
{gan}:reply:REQUEST    string  the answer to a request, for a client that lost it; 5 minutes
{gan}:token            int     the last fencing token given; only grows
{gan}:order            int     the last place in the queue given
{gan}:totals           hash    counters, incremented by the scripts
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter

from ganservice.broker import ROOT, Broker
from ganservice.errors import IllegalTransition, JobNotFound, JobUnreadable, LeaseLost, RequestError
from ganservice.evaluation import Evaluation
from ganservice.job import (
    Capacity,
    Checkpoint,
    Directive,
    Event,
    EventKind,
    Job,
    Lease,
    LogLine,
    Outcome,
    Progress,
    Pulse,
    Reason,
    Rollback,
    State,
)
from ganservice.job_hash import read_job, readable_jobs
from ganservice.recipe import Precision
from ganservice.retry import GiveUp, decide
from ganservice.settings import process_name
from ganservice.spec import JOB_SPEC, EvaluateSpec, JobSpec

_ROLLBACKS = TypeAdapter(tuple[Rollback, ...])


@dataclass(frozen=True)
class NewEvent:
    """An event an attempt reports with its heartbeat."""

    kind: EventKind
    detail: dict[str, Any]


class JobQueue(Broker):
    """The queue of one Redis (or Valkey). Safe to share between threads."""

    scripts = ("submit", "lease", "heartbeat", "finish", "cancel", "retry", "reap", "yield", "members")

    # What a user does.

    def submit(
        self, spec: JobSpec, idempotency_key: str | None = None, held_s: float | None = None
    ) -> tuple[str, bool]:
        """Enqueue `spec`. Returns the job's id and whether this call created it.

        With `held_s` no dispatcher may lease a new job for so long: its submitter means to `take` it.

        Raises:
            RequestError: the idempotency key belongs to a job with another spec.
        """
        answer: dict[str, Any] = {"taken": True}
        while answer.get("taken"):  # by another job of this name, whose random suffix is the same
            answer = self._submit(spec, idempotency_key, held_s)
        if answer.get("conflict"):
            raise RequestError(
                f"the idempotency key {idempotency_key} belongs to {answer['id']}, whose spec is another; "
                "choose another key"
            )
        return answer["id"], answer["created"]

    def _submit(self, spec: JobSpec, idempotency_key: str | None, held_s: float | None) -> dict[str, Any]:
        return self._run(
            "submit",
            id=f"{spec.name}-{secrets.token_hex(3)}",
            spec=spec.model_dump_json(),
            priority=spec.priority_number,
            cpus=spec.resources.cpus,
            gpus=spec.resources.gpus,
            evaluates=vars(spec.subject) if isinstance(spec, EvaluateSpec) else None,
            idempotency_key=idempotency_key,
            detail=json.dumps(spec.origin),
            held_ms=int(held_s * 1000) if held_s else 0,
        )

    def cancel(self, job_id: str, *, now: bool = False) -> State:
        """Cancel a job: after a checkpoint, or at once with `now`. Returns the state it is in now."""
        message = "cancelled by its user"
        answer = self._run("cancel", id=job_id, now=now, message=message, ttl_ms=self._ttl_ms)
        if answer.get("missing"):
            raise JobNotFound(_unknown_job(job_id))
        return State(answer["state"])

    def retry(self, job_id: str) -> None:
        """Put a failed or cancelled job back into the queue. Raises IllegalTransition for any other."""
        answer = self._run("retry", id=job_id)
        if answer.get("missing"):
            raise JobNotFound(_unknown_job(job_id))
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; only a failed or cancelled job can be retried")

    # What a dispatcher and its attempts do.

    def lease(self, free: Capacity, total: Capacity, leadership: int | None = None) -> Lease | None:
        """Take the next job that fits into `free`, or None. `total` is all the cluster has.

        With the token of a `leadership` nothing is leased once another dispatcher leads.
        """
        answer = self._lease(free=vars(free), total=vars(total), leadership=leadership)
        return self._granted(answer) if "id" in answer else None

    def take(self, job_id: str) -> Lease:
        """Lease this very job, for a process that runs it outside the cluster: no capacity and no delay matters.

        Raises:
            JobNotFound: there is no such job.
            IllegalTransition: it is not queued.
        """
        answer = self._lease(id=job_id)
        if answer.get("missing"):
            raise JobNotFound(_unknown_job(job_id))
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; only a queued job can be run")
        return self._granted(answer)

    def _lease(self, **which: Any) -> dict[str, Any]:
        return self._run("lease", lease_ms=int(self._settings.lease_s * 1000), owner=process_name(), **which)

    def _granted(self, answer: dict[str, Any]) -> Lease:
        return Lease(
            job_id=answer["id"],
            attempt=answer["attempt"],
            token=answer["token"],
            lease_s=self._settings.lease_s,
            spec=JOB_SPEC.validate_json(answer["spec"]),
            rollbacks=_ROLLBACKS.validate_json(answer["rollbacks"]),
        )

    def heartbeat(  # noqa: PLR0913 # by keyword, each a part of what is reported
        self,
        lease: Lease,
        progress: Progress | None = None,
        *,
        pulse: Pulse | None = None,
        precision: Precision | None = None,
        images_trained: int = 0,
        missed_beats: int = 0,
        resumed_images: int | None = None,
        checkpoint: Checkpoint | None = None,
        events: Sequence[NewEvent] = (),
        logs: Sequence[str] = (),
    ) -> Directive:
        """Renew the lease and report. `images_trained` counts the images since the last beat that Redis answered,
        `missed_beats` the beats since then that it did not.

        Raises:
            LeaseLost: the token is stale or the lease ran out; nothing was written.
        """
        answer = self._run(
            "heartbeat",
            id=lease.job_id,
            token=lease.token,
            lease_ms=int(lease.lease_s * 1000),
            progress=progress and progress.model_dump_json(),
            pulse=pulse and pulse.model_dump_json(),
            precision=precision,
            images_trained=images_trained,
            missed_beats=missed_beats,
            resumed_images=resumed_images,
            checkpoint=checkpoint and checkpoint.model_dump_json(),
            events=[{"kind": event.kind, "detail": json.dumps(event.detail)} for event in events],
            logs=list(logs),
        )
        _check(lease, answer)
        return Directive(answer["directive"])

    def ask_to_yield(self, lease: Lease) -> None:
        """Ask the attempt, with its next heartbeat, to give its job back. Raises LeaseLost."""
        _check(lease, self._run("yield", id=lease.job_id, token=lease.token))

    def finish(self, lease: Lease, outcome: Outcome, request: str | None = None) -> State:
        """End the attempt; a failure goes back to the queue or is given up, as `retry.decide` says.

        Asked again with the same `request`, after an answer that never came, Redis tells how the attempt ended.

        Raises:
            LeaseLost: as `heartbeat`.
        """
        verdict = self._verdict(lease.job_id, outcome)
        answer = self._run("finish", request=request, id=lease.job_id, token=lease.token, **verdict)
        _check(lease, answer)
        return State(answer["state"])

    def reap(self) -> list[str]:
        """End every attempt whose lease has run out, and forget jobs finished too long ago. Returns ids."""
        with self._translated():
            now_ms = self._now_ms()
            expired = self._redis.zrangebyscore(_state_key(State.RUNNING), "-inf", now_ms)
            for state in State:
                if state.is_final:
                    self._redis.zremrangebyscore(_state_key(state), "-inf", now_ms - self._ttl_ms)
        return [job_id for job_id in cast(list[str], expired) if self._reap_one(job_id)]

    def _reap_one(self, job_id: str) -> bool:
        try:
            job = self.get(job_id)
        except (JobNotFound, JobUnreadable):
            return False
        outcome = Outcome(
            reason=Reason.LEASE_EXPIRED,
            message=f"no heartbeat for {self._settings.lease_s:g} s from {job.owner}",
        )
        answer = self._run("reap", id=job_id, token=job.token, **self._verdict(job_id, outcome))
        return bool(answer["reaped"])

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
        if outcome.reason is Reason.CANCELLED:
            return verdict | {"state": State.CANCELLED}
        try:
            decision = decide(self.get(job_id), outcome.reason)
        except JobNotFound:  # the script refuses the token of a job that is gone
            return verdict | {"state": State.FAILED}
        verdict["failures"] = decision.failures
        if outcome.rollback:
            verdict["rollback"] = outcome.rollback.model_dump_json()
        if isinstance(decision, GiveUp):
            return verdict | {"state": State.FAILED}
        return verdict | {"state": State.QUEUED, "delay_ms": int(decision.delay_s * 1000)}

    # What anyone may look at.

    def get(self, job_id: str) -> Job:
        """The job as it stands. Raises JobNotFound."""
        with self._translated():
            fields = cast(dict[str, str], self._redis.hgetall(_job_key(job_id)))
        if not fields:
            raise JobNotFound(_unknown_job(job_id))
        return read_job(fields)

    def list_jobs(self, states: Sequence[State] = tuple(State), finished_since: float | None = None) -> list[Job]:
        """All jobs in `states`, in the order they were submitted; with a Unix time, of finished ones the later only."""
        since = {
            state: f"{finished_since * 1000:.0f}" if finished_since and state.is_final else "-inf" for state in states
        }
        ids = self._run("members", since=since)["ids"]
        jobs = self._read_jobs(ids)
        return sorted((job for job in jobs if job.state in states), key=lambda job: job.order)

    def head(self, count: int) -> list[Job]:
        """The first jobs of those that may be leased now, in the order in which they will be."""
        with self._translated():
            ids = self._redis.zrange(ROOT + "ready", 0, count - 1)
        return self._read_jobs(cast(list[str], ids))

    def _read_jobs(self, ids: Iterable[str]) -> list[Job]:
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hgetall(_job_key(job_id))
            return readable_jobs(pipeline.execute())

    def waiting(self) -> list[tuple[int, float]]:
        """The priority of each queued job, and since when it may be leased, Unix time in s; cheap for thousands."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zrange(_state_key(State.QUEUED), 0, -1)
            for job_id in pipeline.execute()[0]:
                pipeline.hmget(_job_key(job_id), "priority", "ready_at")
            rows = pipeline.execute()
        return [(int(priority), int(ready_at) / 1000) for priority, ready_at in rows if ready_at]

    def resolve(self, reference: str) -> str:
        """The id meant by an id, the beginning of one, or a name (its newest job). Raises JobNotFound."""
        with self._translated():
            if self._redis.exists(_job_key(reference)):
                return reference
        jobs = self.list_jobs()
        named = [job.id for job in jobs if job.name == reference]
        if named:
            return named[-1]
        candidates = [job.id for job in jobs if job.id.startswith(reference)]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            others = f" and {len(candidates) - 5} more" if len(candidates) > 5 else ""
            raise RequestError(
                f"{reference or 'nothing'} is the beginning of {len(candidates)} jobs: "
                f"{', '.join(sorted(candidates)[:5])}{others}"
            )
        raise JobNotFound(_unknown_job(reference))

    def events(self, job_id: str, after: str = "-", block_ms: int | None = None) -> list[Event]:
        """Events after the id `after` (by default all), oldest first; waits `block_ms` for the next."""
        entries = self._read_stream(f"{ROOT}events:{job_id}", after, block_ms)
        return [
            Event(
                id=entry_id,
                at=_entry_time_s(entry_id),
                kind=entry["kind"],
                attempt=int(entry["attempt"]),
                detail=json.loads(entry["detail"]),
            )
            for entry_id, entry in entries
        ]

    def evaluations(self, job_id: str) -> list[Evaluation]:
        """The evaluations of a training's checkpoints, in the order of their images."""
        with self._translated():
            values = cast(list[str], self._redis.hvals(f"{ROOT}evaluations:{job_id}"))
        evaluations = [Evaluation.model_validate_json(text) for text in values]
        return sorted(evaluations, key=lambda evaluation: (evaluation.images, evaluation.at))

    def evaluations_under_way(self, job_id: str) -> set[int]:
        """Images of the training's checkpoints that evaluation jobs in the queue are about."""
        with self._translated():
            values = cast(list[str], self._redis.hvals(f"{ROOT}evaluations_under_way:{job_id}"))
        return {int(images) for images in values}

    def logs(self, job_id: str, after: str = "-", block_ms: int | None = None) -> list[LogLine]:
        """Log lines, as `events`."""
        entries = self._read_stream(f"{ROOT}logs:{job_id}", after, block_ms)
        return [
            LogLine(id=entry_id, at=_entry_time_s(entry_id), attempt=int(entry["attempt"]), text=entry["text"])
            for entry_id, entry in entries
        ]

    def totals(self) -> dict[str, int]:
        """All counters, by name."""
        with self._translated():
            counters = cast(dict[str, str], self._redis.hgetall(ROOT + "totals"))
        return {name: int(value) for name, value in counters.items()}

    def count_by_state(self) -> dict[State, int]:
        """Number of jobs in each state."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for state in State:
                pipeline.zcard(_state_key(state))
            return dict(zip(State, pipeline.execute(), strict=True))

    def _read_stream(self, key: str, after: str, block_ms: int | None) -> list[tuple[str, dict[str, str]]]:
        with self._translated():
            start = "-" if after == "-" else f"({after}"
            entries = cast(list[tuple[str, dict[str, str]]], self._redis.xrange(key, start))
            if entries or block_ms is None:
                return entries
            # No longer than the connection waits for an answer: a caller that follows a stream asks again.
            patience_ms = int(self._redis.connection_pool.connection_kwargs["socket_timeout"] * 500)
            streams = self._redis.xread({key: "0" if after == "-" else after}, block=min(block_ms, patience_ms))
        return [entry for _, stream in cast(list[Any], streams or []) for entry in stream]

    @property
    def _ttl_ms(self) -> int:
        return int(self._settings.finished_ttl_s * 1000)


def _about_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """What finish.lua writes to the training that was evaluated."""
    detail = {"images": evaluation.images, "protocol": evaluation.protocol.digest, "measures": evaluation.measures}
    return {
        "job_id": evaluation.job_id,
        "images": evaluation.images,
        "attempt": evaluation.attempt,
        "field": f"{evaluation.images:012d}/{evaluation.protocol.digest}",
        "text": evaluation.model_dump_json(),
        "event": json.dumps(detail | {"by": evaluation.by}),
    }


def _job_key(job_id: str) -> str:
    return f"{ROOT}job:{job_id}"


def _state_key(state: State) -> str:
    return f"{ROOT}state:{state}"


def _entry_time_s(entry_id: str) -> float:
    return int(entry_id.partition("-")[0]) / 1000


def _unknown_job(reference: str) -> str:
    return f"no job has the id or name {reference}; see `ganctl list`"


def _check(lease: Lease, answer: dict[str, Any]) -> None:
    if answer.get("lost"):
        raise LeaseLost(f"attempt {lease.attempt} of {lease.job_id} no longer holds its lease")
