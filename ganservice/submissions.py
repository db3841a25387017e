"""Submissions: what users do with jobs and sweeps. Who may run no script asks the dispatcher, as `requests` says."""

import hashlib
import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ganservice.broker import json_text
from ganservice.errors import (
    IllegalTransition,
    JobNotFound,
    JobUnreadable,
    RequestError,
    RightMissing,
)
from ganservice.job import (
    Reason,
    State,
)
from ganservice.job_hash import FORMAT, UNREADABLE
from ganservice.job_records import pages, unknown_job
from ganservice.mistakes import shown
from ganservice.requests import (
    CancelRequest,
    CancelSweepRequest,
    PrioritiseRequest,
    Request,
    Requests,
    RetryRequest,
    SubmitRequest,
    SweepRequest,
)
from ganservice.spec import EvaluateSpec, JobSpec, spec_text
from ganservice.sweep import SweepSpec, sweep_text
from ganservice.sweep_list import unknown_sweep
from ganservice.sweeps import Sweeps

# Of an idempotency key, which is a part of a key in Redis.
MAX_KEY_CHARS = 200
# Jobs that are submitted in one round trip: some 30 ms of Redis' time, in which others have their turn.
TOGETHER = 100
# How those idempotency keys begin that tell all that is asked for: another release writes the same otherwise.
ONCE, EVALUATE = "once/", "evaluate/"


class Submissions(Sweeps):
    """The part of the queue that users call."""

    scripts: tuple[str, ...] = (
        "submit", "cancel", "retry", "prioritise", "delete", "sweep", "cancel_sweep", "delete_sweep",
    )  # fmt: skip

    def submit(
        self,
        spec: JobSpec,
        idempotency_key: str | None = None,
        held_s: float | None = None,
        for_user_of: str | None = None,
        after: str | None = None,
    ) -> tuple[str, bool]:
        """Enqueue `spec`. Returns the job's id and whether this call created it.

        With `held_s` no dispatcher may lease a new job for so long: its submitter means to `take` it. It is the job of
        the user of the settings, or of whose job `for_user_of` is. It waits until the job `after` has succeeded, and is
        cancelled if that one fails or is cancelled.

        Raises:
            RequestError: the idempotency key belongs to a job with another spec or after another one, or to a sweep, or
                is none; or the user's quota allows no more, which holds for no job `for_user_of` another, though it
                counts; or `after` has failed, or is cancelled or gone.
            SpecInvalid: the spec is out of bounds.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        request = SubmitRequest(spec=spec, idempotency_key=idempotency_key, after=after)
        answer: dict[str, Any] = {"taken": True}
        while answer.get("taken"):  # by another job of this name, whose random suffix is the same
            if for_user_of or held_s:
                user = self.user_of(for_user_of) if for_user_of else self.me()
                answer = self.carry_out(request, user, held_s=held_s, is_part_of_a_job=for_user_of is not None)
            else:
                answer = self._ask(request)
        return _submitted(answer, idempotency_key)

    def submit_all(self, jobs: Sequence[tuple[JobSpec, str | None]]) -> list[tuple[str, bool]]:
        """As `submit`, of many, each with its idempotency key or None. They travel together, and one that is refused
        keeps out no other.

        Raises:
            RequestError, SpecInvalid: as `submit`, of the first that is refused, once all have been asked for.
        """
        for _, key in jobs:
            if key is not None:
                check_key(key)
        requests = [SubmitRequest(spec=spec, idempotency_key=key) for spec, key in jobs]
        user = self.me()
        try:
            answers = [answer for page in pages(requests, TOGETHER) for answer in self._submit_together(page, user)]
        except RightMissing:
            return list(itertools.starmap(self.submit, jobs))
        return [_submitted(answer, key) for answer, (_, key) in zip(answers, jobs, strict=True)]

    def _submit_together(
        self, requests: Sequence[SubmitRequest], user: str | None, more: Sequence[Mapping[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        """What `submit.lua` answers to each of several requests; it is told `more` of each."""
        answers: list[dict[str, Any]] = [{"taken": True} for _ in requests]
        # By another job of the same name, whose random suffix is the same.
        while taken := [at for at, answer in enumerate(answers) if answer.get("taken")]:
            calls = [submission(requests[at], user) | dict(more[at] if more else {}) for at in taken]
            for at, answer in zip(taken, self._run_all("submit", calls), strict=True):
                answers[at] = answer
        return answers

    def cancel(self, job_id: str, *, now: bool = False) -> State:
        """Cancel a job: after a checkpoint, or at once with `now`. Returns the state it is in now.

        Raises:
            JobNotFound: there is no such job.
            JobUnreadable: it is in none that this version knows, and is left as it is.
        """
        answer = self._ask(CancelRequest(job_id=job_id, now=now))
        if answer.get("missing"):
            raise JobNotFound(unknown_job(job_id))
        return state_in(job_id, answer["state"])

    def retry(self, job_id: str) -> None:
        """Put a failed or cancelled job back into the queue.

        Raises:
            IllegalTransition: it is neither, or a sweep with halving that is not over has stopped it.
            RequestError: its user has as many jobs in the queue as the quota allows, or as many that wait for others
                as may be; or the job after which it is to run has not succeeded and never will.
        """
        answer = self._ask(RetryRequest(job_id=job_id))
        if answer.get("missing"):
            raise JobNotFound(unknown_job(job_id))
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; only a failed or cancelled job can be retried")
        if sweep_id := answer.get("sweep"):
            raise IllegalTransition(
                f"{job_id} is a job of {sweep_id}, which says how far each trains and is not over; `ganctl wait "
                f"{sweep_id}`, then retry it"
            )
        if answer.get("too_many"):
            raise RequestError(answer["too_many"])
        if never := answer.get("never"):
            raise RequestError(f"{job_id} cannot run: {never}; `ganctl retry` that one first")

    def prioritise(self, job_id: str, priority: int) -> int:
        """Give a job another priority, 0 to 100. Returns the one it had. A running job has it once it waits again.

        Raises:
            IllegalTransition: it is finished.
        """
        answer = self._ask(PrioritiseRequest(job_id=job_id, priority=priority))
        if answer.get("missing"):
            raise JobNotFound(unknown_job(job_id))
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; only a queued or running job has a priority")
        return int(answer["before"])

    def delete(self, job_id: str) -> bool:
        """Forget a finished job now, as if its time were over. Returns whether it was there.

        Raises:
            IllegalTransition: it is queued or running, or an evaluation in the queue reads its checkpoint.
        """
        answer = self._run("delete", id=job_id, ttl_ms=self._ttl_ms)
        if answer.get("refused"):
            raise IllegalTransition(f"{job_id} is {answer['state']}; `ganctl cancel {job_id}` first")
        if reader := answer.get("read_by"):
            raise IllegalTransition(
                f"{job_id}: {reader}, which is in the queue, reads its checkpoint; wait for it, or cancel it first"
            )
        return bool(answer["deleted"])

    def submit_sweep(self, spec: SweepSpec, idempotency_key: str | None = None) -> tuple[str, bool]:
        """Have the leading dispatcher submit the jobs of a sweep. Returns its id and whether this call created it.

        Raises:
            SpecInvalid: one of its jobs cannot be, or it is too large; nothing is written.
            RequestError: the user has as many sweeps that are not over as may be; or the idempotency key belongs to
                another sweep or to a job, or is none.
        """
        if idempotency_key is not None:
            check_key(idempotency_key)
        spec.check()
        sweep_text(spec)
        answer: dict[str, Any] = {"taken": True}
        while answer.get("taken"):
            answer = self._ask(SweepRequest(spec=spec, idempotency_key=idempotency_key))
        return _submitted(answer, idempotency_key)

    def cancel_sweep(self, sweep_id: str) -> State:
        """Cancel a sweep: the dispatcher cancels all its jobs. Returns the state it is in now. Raises JobNotFound."""
        answer = self._ask(CancelSweepRequest(sweep_id=sweep_id))
        if answer.get("missing"):
            raise JobNotFound(unknown_sweep(sweep_id))
        return state_in(sweep_id, answer["state"])

    def delete_sweep(self, sweep_id: str) -> bool:
        """Forget a sweep that is over; its jobs stay. Returns whether it was there. Raises IllegalTransition."""
        answer = self._run("delete_sweep", id=sweep_id)
        if answer.get("refused"):
            raise IllegalTransition(f"{sweep_id} is not over; `ganctl cancel {sweep_id}` first")
        return bool(answer["deleted"])

    def _ask(self, request: Request) -> dict[str, Any]:
        user = self.me()
        try:
            return self.carry_out(request, user)
        except RightMissing as missing:
            if user != self._redis_user:
                raise RightMissing(
                    f"{missing}; a submitter is entered by `ganctl users add NAME`", missing.kind
                ) from None
            with Requests(self._settings) as requests:
                return requests.ask(user, request)

    def carry_out(
        self,
        request: Request,
        user: str | None,
        *,
        request_id: str | None = None,
        leadership: int | None = None,
        held_s: float | None = None,
        is_part_of_a_job: bool = False,
    ) -> dict[str, Any]:
        """Do what a user asks, and return what the script answers. No quota keeps out what is part of a job.

        Raises:
            RightMissing: the user of this connection may run no script.
        """
        who: dict[str, Any] = {"request": request_id, "leadership": leadership}
        match request:
            case SubmitRequest():
                told = submission(request, user) | {"held_ms": int(held_s * 1000) if held_s else 0}
                return self._run("submit", **who, **told, is_part_of_a_job=is_part_of_a_job)
            case CancelRequest():
                return self._end(request.job_id, State.CANCELLED, Reason.CANCELLED, **who, by=user, now=request.now)
            case RetryRequest():
                return self._run("retry", **who, id=request.job_id, by=user)
            case PrioritiseRequest():
                return self._run("prioritise", **who, id=request.job_id, priority=request.priority, by=user)
            case SweepRequest(spec=sweep_spec):
                sweep_id = f"{sweep_spec.base.name}-sweep-{secrets.token_hex(3)}"
                return self._run(
                    "sweep",
                    **who,
                    id=sweep_id,
                    format=FORMAT,
                    spec=sweep_text(sweep_spec),
                    settings=len(sweep_spec.settings()),
                    seeds=sweep_spec.seeds,
                    idempotency_key=request.idempotency_key,
                    user=user,
                )
            case CancelSweepRequest():
                return self._run("cancel_sweep", **who, id=request.sweep_id, by=user)

    def _end(self, job_id: str, state: State, reason: Reason, **options: Any) -> dict[str, Any]:
        return self._run("cancel", id=job_id, state=state, reason=reason, ttl_ms=self._ttl_ms, **options)

    @property
    def _ttl_ms(self) -> int:
        return int(self._settings.finished_ttl_s * 1000)


def submission(request: SubmitRequest, user: str | None) -> dict[str, Any]:
    """What `submit.lua` is told of a job that is new. Raises SpecInvalid."""
    spec = request.spec
    return {
        "id": f"{spec.name}-{secrets.token_hex(3)}",
        "format": FORMAT,
        "spec": spec_text(spec),
        "priority": spec.priority_number,
        "cpus": spec.resources.cpus,
        "gpus": spec.resources.gpus,
        "evaluates": vars(spec.subject) if isinstance(spec, EvaluateSpec) else None,
        "idempotency_key": request.idempotency_key,
        "after": request.after,
        "user": user,
        "detail": json_text(
            spec.origin | ({"by": user} if user else {}) | ({"after": request.after} if request.after else {})
        ),
        "held_ms": 0,
    }


def _submitted(answer: dict[str, Any], idempotency_key: str | None) -> tuple[str, bool]:
    """The id of what a script has written, and whether it is new. Raises RequestError."""
    if answer.get("refused"):
        raise RequestError(answer["refused"])
    if answer.get("conflict") and not (idempotency_key or "").startswith((ONCE, EVALUATE)):
        raise RequestError(
            f"the idempotency key {idempotency_key} belongs to {answer['id']}, which was submitted otherwise; "
            "choose another key"
        )
    return answer["id"], answer["created"]


def once_key(spec: JobSpec, after: str | None = None) -> str:
    """The idempotency key of a job that is submitted once: all that its spec says, and the job that it waits for."""
    # Without defaults: a key that a later version adds is no other spec.
    text = spec.model_dump_json(exclude_defaults=True) + (f" after {after}" if after else "")
    return f"{ONCE}{hashlib.sha256(text.encode()).hexdigest()}"


def check_key(key: str) -> None:
    """Raise RequestError of what can be no idempotency key."""
    if not key or len(key) > MAX_KEY_CHARS or not key.isprintable():
        raise RequestError(
            f"the idempotency key: found {shown(key)}, expected up to {MAX_KEY_CHARS} letters that can be printed"
        )


def state_in(job_id: str, text: str) -> State:
    """The state that a script told of a job. Raises JobUnreadable of one that this version does not know."""
    try:
        return State(text)
    except ValueError as error:
        raise JobUnreadable(f"{job_id}: {UNREADABLE}") from error
