"""Several clients do what they like with one queue, in any order; a model in Python says what must come of it."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ganservice import broker
from ganservice.errors import GanServiceError, IllegalTransition, LeadershipLost, LeaseLost, RequestError
from ganservice.job import TRANSITIONS, Capacity, Checkpoint, Directive, Lease, Outcome, Reason, State
from ganservice.judging import Judging
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue, Report
from ganservice.retry import HOPELESS, INFRASTRUCTURE
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, JobSpec, Resources, Subject, TrainSpec
from tests.conftest import wait_until
from tests.integration.jobs import evaluation

CLUSTER = Capacity(cpus=100, gpus=0)
MAX_ATTEMPTS = 2
CLIENTS = st.integers(0, 2)
EVALUATED_IMAGES = 64
# Whose jobs each client submits.
USERS = ("ada", "ada", "bob")


class ForgetfulQueue(JobQueue):
    """A client that loses an answer when told to, and then asks again as its connection does: with the same request."""

    loses_answer = False

    def _run(self, script: str, request: str | None = None, **arguments: Any) -> dict[str, Any]:
        request = request or secrets.token_hex(8)
        if self.loses_answer:
            self.loses_answer = False
            super()._run(script, request, **arguments)
        return super()._run(script, request, **arguments)


@dataclass
class Known:
    """What the model knows of a job."""

    spec: JobSpec
    order: int
    user: str
    state: State = State.QUEUED
    delayed: bool = False
    halted: bool = False  # in none of the queue's orders, until a sweep lets it go on
    holder: Lease | None = None  # who may write
    silent: int | None = None  # the end of its lease that has not moved for too long
    cancel_requested: bool = False
    yield_requested: bool = False
    attempt: int = 0
    failures: int = 0
    troubles: int = 0
    attempts_that_trained: set[int] = field(default_factory=set)
    checkpoint: int = 0
    resumed: int = 0
    observed: State = field(default=State.QUEUED)  # where the broker last had it
    priority: int = field(init=False)

    def __post_init__(self) -> None:
        self.priority = self.spec.priority_number

    @property
    def is_ready(self) -> bool:
        return self.state is State.QUEUED and not self.delayed and not self.halted

    @property
    def images(self) -> int:
        """The images that count: each attempt tells of the same eight, if it tells of any."""
        return 8 * len(self.attempts_that_trained)

    @property
    def made_progress(self) -> bool:
        return self.checkpoint > self.resumed

    def end(self, reason: Reason) -> None:
        """The attempt has ended."""
        self.holder, self.silent, self.yield_requested = None, None, False
        if reason is Reason.SUCCEEDED:
            self.state = State.SUCCEEDED
        elif reason is Reason.CANCELLED:
            self.state = State.CANCELLED
        elif reason is Reason.HALTED:
            self.state = State.CANCELLED if self.cancel_requested else State.QUEUED
        elif self._is_given_up(reason):
            self.state = State.FAILED
        else:
            self.state = State.CANCELLED if self.cancel_requested else State.QUEUED
        self.halted = self.state is State.QUEUED and reason is Reason.HALTED
        self.delayed = self.state is State.QUEUED and not self.halted
        self.cancel_requested = False

    def _is_given_up(self, reason: Reason) -> bool:
        if self.made_progress:
            self.failures = self.troubles = 0
        if reason is Reason.ROLLED_BACK:
            return False
        if reason in INFRASTRUCTURE:
            self.troubles += 1
            return False
        self.failures += 1
        return reason in HOPELESS or self.failures >= MAX_ATTEMPTS


def _is_empty(admin: redis.Redis) -> bool:
    """Empty the server, which on a busy machine may still load what an example before had it read anew."""
    try:
        return bool(admin.flushdb())
    except redis.BusyLoadingError:
        return False


class Clients(RuleBasedStateMachine):
    """The rules are what clients can do; the invariants are what must hold after each of them."""

    jobs = Bundle("jobs")
    leases = Bundle("leases")  # stale ones stay in it

    def __init__(
        self, clients: list[ForgetfulQueue], leaderships: list[Leadership], admin: redis.Redis, spec: TrainSpec
    ) -> None:
        super().__init__()
        wait_until(lambda: _is_empty(admin))
        self.clients, self.leaderships, self.admin, self.spec = clients, leaderships, admin, spec
        self.known: dict[str, Known] = {}
        self.forgotten: set[str] = set()
        self.totals: Counter[str] = Counter()
        self.last_token = self.stale_writes = 0
        self.leader: int | None = None
        self.tokens: dict[int, int] = {}  # of the leadership, as each client knows it
        self.quotas: dict[str, dict[str, int]] = {}

    # What clients do.

    # Few jobs: their histories grow long.
    @precondition(lambda self: len(self.known) < 3)
    @rule(
        target=jobs,
        client=CLIENTS,
        priority=st.sampled_from([0, 50, 100]),
        cpus=st.integers(1, 2),
        held=st.booleans(),
        loses=st.booleans(),
    )
    def submit(self, client: int, priority: int, cpus: int, held: bool, loses: bool) -> Any:
        resources = Resources(cpus_per_worker=cpus)
        spec = self.spec.model_copy(update={"priority": priority, "resources": resources})
        quota = self.quotas.get(USERS[client], {})
        if cpus > quota.get("cpus", 9) or self._has_too_many(USERS[client]):
            with pytest.raises(RequestError, match=USERS[client]):
                self.clients[client].submit(spec, idempotency_key=f"key {len(self.known) + len(self.forgotten)}")
            return multiple()
        return self._submit(client, spec, loses, 3600 if held else None)

    def _has_too_many(self, user: str) -> bool:
        queued = [
            job for job in self.known.values() if job.user == user and job.state is State.QUEUED and not job.halted
        ]
        return len(queued) >= self.quotas.get(user, {}).get("jobs_queued", 99)

    @rule(
        user=st.sampled_from(USERS),
        queued=st.sampled_from([None, None, 1, 2]),
        running=st.sampled_from([None, 0, 1]),
        cpus=st.sampled_from([None, 1, 2]),
    )
    def set_quota(self, user: str, queued: int | None, running: int | None, cpus: int | None) -> None:
        limits = {"jobs_queued": queued, "jobs_running": running, "cpus": cpus}
        self.quotas[user] = {name: limit for name, limit in limits.items() if limit is not None}
        self.admin.hset("{gan}:users", user, json.dumps(self.quotas[user]))

    @precondition(lambda self: 0 < len(self.known) < 4)
    @rule(target=jobs, client=CLIENTS, job_id=jobs, loses=st.booleans())
    def submit_evaluation(self, client: int, job_id: str, loses: bool) -> str:
        subject = Subject(job_id=job_id, images=EVALUATED_IMAGES, checkpoint="c")
        spec = EvaluateSpec(
            name="evaluation", recipe=self.spec.recipe, subject=subject, judging=Judging(), max_attempts=MAX_ATTEMPTS
        )
        # As a training submits it: no quota keeps it out.
        return self._submit(client, spec, loses, None, for_user_of=job_id)

    def _submit(
        self, client: int, spec: JobSpec, loses: bool, held_s: float | None, for_user_of: str | None = None
    ) -> str:
        key = f"key {len(self.known) + len(self.forgotten)}"
        queue = self._client(client, loses)
        job_id, created = queue.submit(spec, idempotency_key=key, held_s=held_s, for_user_of=for_user_of)
        assert created
        user = USERS[client]
        if for_user_of:
            user = self.known[for_user_of].user if for_user_of in self.known else ""
        self.known[job_id] = Known(spec, order=len(self.known), user=user, delayed=bool(held_s))
        return job_id

    @rule(client=CLIENTS, number=st.integers(0, 3))
    def submit_again(self, client: int, number: int) -> None:
        if number < len(self.known) and not self.forgotten:
            job_id, job = list(self.known.items())[number]
            again = self.clients[client].submit(job.spec, idempotency_key=f"key {number}")
            assert again == (job_id, False)
            other = job.spec.model_copy(update={"max_attempts": 77})
            with pytest.raises(RequestError, match=job_id):
                self.clients[client].submit(other, idempotency_key=f"key {number}")

    @rule(target=leases, client=CLIENTS, loses=st.booleans(), leads=st.booleans())
    def lease(self, client: int, loses: bool, leads: bool) -> Any:
        token = self.tokens.get(client) if leads else None
        if token is not None and client != self.leader:
            with pytest.raises(LeadershipLost):
                self.clients[client].lease(CLUSTER, CLUSTER, token)
            return multiple()
        ready = self._may_be_leased()
        held = self._client(client, loses).lease(CLUSTER, CLUSTER, token)
        if not ready:
            assert held is None
            return multiple()
        assert held
        assert held.job_id == ready[0]
        self._check_granted(held)
        return held

    def _may_be_leased(self) -> list[str]:
        """The jobs that quotas do not hold back, in the order of the queue."""
        running = [job for job in self.known.values() if job.state is State.RUNNING]
        left = {
            user: {
                "jobs_running": quota.get("jobs_running", 99) - sum(job.user == user for job in running),
                "cpus": quota.get("cpus", 99) - sum(job.spec.resources.cpus for job in running if job.user == user),
            }
            for user, quota in self.quotas.items()
        }
        found = []
        for job_id, job in sorted(self.known.items(), key=lambda item: (-item[1].priority, item[1].order)):
            needs = {"jobs_running": 1, "cpus": job.spec.resources.cpus}
            mine = left.get(job.user, {})
            short = [name for name in mine if needs[name] > mine[name]]
            if job.is_ready and not short:
                found.append(job_id)
            elif job.is_ready and needs[short[0]] <= self.quotas[job.user][short[0]]:
                mine[short[0]] = 0  # nobody behind it gets what it waits for
        return found

    @rule(target=leases, client=CLIENTS, job_id=jobs, loses=st.booleans())
    def take(self, client: int, job_id: str, loses: bool) -> Any:
        if job_id in self.forgotten:
            return multiple()
        if self.known[job_id].state is not State.QUEUED:
            with pytest.raises(IllegalTransition, match=self.known[job_id].state):
                self.clients[client].take(job_id)
            return multiple()
        held = self._client(client, loses).take(job_id)
        assert held.job_id == job_id
        self._check_granted(held)
        return held

    def _check_granted(self, held: Lease) -> None:
        job = self.known[held.job_id]
        assert job.holder is None, "nothing runs twice at the same time"
        assert held.token > self.last_token, "tokens only grow"
        assert held.attempt == job.attempt + 1
        self.last_token = held.token
        job.state, job.holder, job.attempt, job.resumed = State.RUNNING, held, held.attempt, job.checkpoint
        job.delayed = job.halted = False

    @rule(client=CLIENTS, held=leases, checkpoints=st.booleans(), loses=st.booleans(), leads=st.booleans())
    def heartbeat(self, client: int, held: Lease, checkpoints: bool, loses: bool, leads: bool) -> None:
        job = self.known.get(held.job_id)
        images = job.checkpoint + 8 if job else 8
        checkpoint = Checkpoint(key="k", images=images, bytes=1, seconds=0.1) if checkpoints else None
        directive = self._write(
            client,
            held,
            loses,
            leads,
            lambda queue, token: queue.heartbeat(held, checkpoint=checkpoint, trained_images=8, leadership=token),
        )
        if directive is not None and job:
            expected = Directive.YIELD if job.yield_requested else Directive.CONTINUE
            assert directive is (Directive.STOP if job.cancel_requested else expected)
            job.checkpoint = images if checkpoints else job.checkpoint
            job.attempts_that_trained.add(held.attempt)
            job.silent = None

    @rule(client=CLIENTS, held=leases, reason=st.sampled_from(Reason), loses=st.booleans(), leads=st.booleans())
    def finish(self, client: int, held: Lease, reason: Reason, loses: bool, leads: bool) -> None:
        outcome = Outcome(reason=reason)
        if reason is Reason.SUCCEEDED and isinstance(held.spec, EvaluateSpec):
            found = evaluation(held.spec.subject.job_id, EVALUATED_IMAGES, 1.0, by=held.job_id)
            outcome = outcome.model_copy(update={"evaluation": found})
        report: Report | None = {"trained_images": 8} if reason is Reason.SUCCEEDED else None
        state = self._write(
            client,
            held,
            loses,
            leads,
            lambda queue, token: queue.finish(held, outcome, leadership=token, report=report),
        )
        if state is not None:
            job = self.known[held.job_id]
            if report:
                job.attempts_that_trained.add(held.attempt)
            job.end(reason)
            assert state is job.state

    @rule(client=CLIENTS, held=leases, loses=st.booleans(), leads=st.booleans())
    def ask_to_yield(self, client: int, held: Lease, loses: bool, leads: bool) -> None:
        if self._write(client, held, loses, leads, lambda queue, token: _yields(queue, held, token)):
            self.known[held.job_id].yield_requested = True

    @rule(client=CLIENTS, job_id=jobs, now=st.booleans(), loses=st.booleans())
    def cancel(self, client: int, job_id: str, now: bool, loses: bool) -> None:
        if job_id in self.forgotten:
            return
        job = self.known[job_id]
        if job.state is State.QUEUED or (job.state is State.RUNNING and now):
            job.end(Reason.CANCELLED)
        elif job.state is State.RUNNING:
            job.cancel_requested = True
        assert self._client(client, loses).cancel(job_id, now=now) is job.state

    @rule(client=CLIENTS, job_id=jobs, priority=st.sampled_from([0, 50, 100]), loses=st.booleans())
    def prioritise(self, client: int, job_id: str, priority: int, loses: bool) -> None:
        if job_id in self.forgotten:
            return
        job = self.known[job_id]
        if job.state.is_final:
            with pytest.raises(IllegalTransition):
                self.clients[client].prioritise(job_id, priority)
            return
        assert self._client(client, loses).prioritise(job_id, priority) == job.priority
        job.priority = priority

    @rule(client=CLIENTS, job_id=jobs, loses=st.booleans())
    def retry(self, client: int, job_id: str, loses: bool) -> None:
        if job_id in self.forgotten:
            return
        job = self.known[job_id]
        if job.state in (State.FAILED, State.CANCELLED) and self._has_too_many(job.user):
            with pytest.raises(RequestError, match=job.user):
                self.clients[client].retry(job_id)
        elif job.state in (State.FAILED, State.CANCELLED):
            self._client(client, loses).retry(job_id)
            job.state, job.failures, job.troubles = State.QUEUED, 0, 0
        else:
            with pytest.raises(IllegalTransition):
                self.clients[client].retry(job_id)

    @rule(client=CLIENTS, job_id=jobs, loses=st.booleans())
    def delete(self, client: int, job_id: str, loses: bool) -> None:
        job = self.known.get(job_id)
        is_read = any(
            isinstance(other.spec, EvaluateSpec) and other.spec.subject.job_id == job_id and not other.state.is_final
            for other in self.known.values()
        )
        if is_read or (job and not job.state.is_final):
            with pytest.raises(IllegalTransition):
                self.clients[client].delete(job_id)
            return
        assert self._client(client, loses).delete(job_id) is (job is not None)
        if job:
            self._forget(job_id)

    @rule(client=CLIENTS, loses=st.booleans(), leads=st.booleans())
    def reap(self, client: int, loses: bool, leads: bool) -> None:
        token = self.tokens.get(client) if leads else None
        silent = {job_id: job.silent for job_id, job in self.known.items() if job.silent}
        if token is not None and client != self.leader:
            if silent:
                with pytest.raises(LeadershipLost):
                    self.clients[client].reap(silent, token)
            return
        # Somebody saw them all as they were; those that have moved since are left alone.
        moved = {job_id: 1 for job_id, job in self.known.items() if job.holder and not job.silent}
        assert set(self._client(client, loses).reap(silent | moved, token)) == set(silent)
        for job_id in silent:
            self.known[job_id].end(Reason.LEASE_EXPIRED)

    @rule(client=CLIENTS)
    def lead(self, client: int) -> None:
        token = self.leaderships[client].lead()
        assert token is not None, "nobody waits for a leader in this test"
        if client != self.leader:
            assert token > self.last_token
            self.last_token = token
        self.leader, self.tokens[client] = client, token

    # What time, and who runs the broker, do.

    @rule(held=leases)
    def fall_silent(self, held: Lease) -> None:
        job = self.known.get(held.job_id)
        if job and job.holder == held:
            job.silent = self.clients[0].leases()[held.job_id]

    @rule(job_id=jobs)
    def wait_until_it_is_ready(self, job_id: str) -> None:
        if job_id in self.known:
            job = self.known[job_id]
            assert self.admin.zadd("{gan}:delayed", {job_id: 0}, xx=True, ch=True) == job.delayed
            job.delayed = False

    @rule()
    def forget_scripts(self) -> None:
        self.admin.script_flush()

    @rule()
    def restart(self) -> None:
        """What the broker knows after it is what it has written to its append-only file."""
        self.admin.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]

    @rule(job_id=jobs)
    def expire(self, job_id: str) -> None:
        """The time of a finished job has passed."""
        if job_id in self.forgotten or not self.known[job_id].state.is_final:
            return
        for key in self._keys_of(job_id):
            assert self.admin.pexpire(key, 0)
        self.admin.zadd(f"{{gan}}:state:{self.known[job_id].state}", {job_id: 0})
        self.clients[0].forget()
        self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        del self.known[job_id]
        self.forgotten.add(job_id)
        for order, job in enumerate(self.known.values()):
            job.order = order

    # What holds at any time.

    @invariant()
    def jobs_are_as_the_model_says(self) -> None:
        jobs = {job.id: job for job in self.clients[0].list_jobs()}
        assert list(jobs) == list(self.known)
        for job_id, job in self.known.items():
            found = jobs[job_id]
            assert found.state is job.state
            assert found.token == (job.holder.token if job.holder else 0)
            assert (found.attempt, found.failures, found.troubles) == (job.attempt, job.failures, job.troubles)
            assert (found.checkpoint.images if found.checkpoint else 0) == job.checkpoint
            assert found.images_trained == job.images
            assert found.cancel_requested == job.cancel_requested

    @invariant()
    def transitions_are_legal(self) -> None:
        for found in self.clients[0].list_jobs():
            job = self.known[found.id]
            assert found.state is job.observed or found.state in TRANSITIONS[job.observed]
            job.observed = found.state

    @invariant()
    def counts_are_those_of_the_list(self) -> None:
        listed = Counter(job.state for job in self.clients[0].list_jobs())
        assert self.clients[0].count_by_state() == {state: listed[state] for state in State}

    @invariant()
    def every_job_is_in_the_indexes_of_its_state_only(self) -> None:
        names = [*(f"state:{state}" for state in State), "ready", "delayed", "jobs", "ids"]
        members = {name: set(self.admin.zrange("{gan}:" + name, 0, -1)) for name in names}
        for user in USERS:
            ready = set(self.admin.zrange(f"{{gan}}:ready_of:{user}", 0, -1))
            assert not ready or self.admin.sismember("{gan}:ready_users", user)
            members["ready"] |= ready
        for state in State:
            assert members[f"state:{state}"] == {i for i, job in self.known.items() if job.state is state}
        halted = {job_id for job_id, job in self.known.items() if job.halted}
        assert members["ready"] | members["delayed"] == members["state:queued"] - halted
        assert not members["ready"] & members["delayed"]
        assert members["jobs"] == members["ids"] == set(self.known)
        for name in ("tiny", "evaluation"):
            named = self.admin.zrange("{gan}:named:" + name, 0, -1)
            assert named == [job_id for job_id, job in self.known.items() if job.spec.name == name]
        assert self.admin.hgetall("{gan}:user_of") == {job_id: job.user for job_id, job in self.known.items()}
        for user in USERS:
            theirs = self.admin.zrange("{gan}:jobs_of:" + user, 0, -1)
            assert theirs == [job_id for job_id, job in self.known.items() if job.user == user]

    @invariant()
    def what_users_hold_is_what_their_jobs_say(self) -> None:
        for user in USERS:
            for state in (State.QUEUED, State.RUNNING):
                jobs = {job_id: job for job_id, job in self.known.items() if job.user == user and not job.halted}
                mine = {job_id for job_id, job in jobs.items() if job.state is state}
                assert self.admin.smembers(f"{{gan}}:{state}_of:{user}") == mine

    @invariant()
    def evaluations_in_the_queue_hold_their_checkpoint(self) -> None:
        for job_id, job in self.known.items():
            if isinstance(job.spec, TrainSpec):
                judged = {
                    other.spec.subject.images
                    for other in self.known.values()
                    if isinstance(other.spec, EvaluateSpec)
                    and other.spec.subject.job_id == job_id
                    and not other.state.is_final
                }
                assert self.clients[0].evaluations_under_way(job_id) == judged

    @invariant()
    def only_what_is_finished_expires(self) -> None:
        for job_id, job in self.known.items():
            for key in self._keys_of(job_id):
                assert (self.admin.pttl(key) > 0) == job.state.is_final, key

    @invariant()
    def totals_never_decrease(self) -> None:
        totals = Counter(self.clients[0].totals())
        assert self.totals <= totals
        assert totals["submitted"] == len(self.known) + len(self.forgotten)
        if not self.forgotten:
            assert totals["attempts"] == sum(job.attempt for job in self.known.values())
            assert totals["images"] == sum(job.images for job in self.known.values())
        assert totals["stale_writes"] == self.stale_writes
        self.totals = totals

    def _client(self, number: int, loses_answer: bool) -> ForgetfulQueue:
        self.clients[number].loses_answer = loses_answer
        return self.clients[number]

    def _keys_of(self, job_id: str) -> list[str]:
        names = [f"{kind}:{job_id}" for kind in ("job", "events", "logs", "evaluations")]
        return [key for key in ("{gan}:" + name for name in names) if self.admin.exists(key)]

    def _write(
        self, client: int, held: Lease, loses: bool, leads: bool, write: Callable[[JobQueue, int | None], Any]
    ) -> Any:
        """The answer to a write, or None where the model says that it must be refused."""
        job, token = self.known.get(held.job_id), self.tokens.get(client) if leads else None
        is_deposed = token is not None and client != self.leader
        if job and job.holder == held and not is_deposed:
            return write(self._client(client, loses), token)
        before = self.admin.hgetall("{gan}:job:" + held.job_id)
        with pytest.raises(LeadershipLost if is_deposed else LeaseLost):
            write(self._client(client, loses_answer=False), token)  # an answer that says no is not kept
        assert self.admin.hgetall("{gan}:job:" + held.job_id) == before
        self.stale_writes += not is_deposed
        return None


def _yields(queue: JobQueue, held: Lease, token: int | None) -> bool:
    queue.ask_to_yield(held, token)
    return True


class Played:
    """The rules of a machine in an order of one's own, with every invariant asked after each."""

    def __init__(self, machine: Clients) -> None:
        self._machine = machine

    def __getattr__(self, rule: str) -> Callable[..., Any]:
        return partial(self._play, rule)

    def _play(self, rule: str, *arguments: Any, **options: Any) -> Any:
        answer = getattr(self._machine, rule)(*arguments, **options)
        for each in self._machine.invariants:
            each.function(self._machine)
        return answer

    def submit(self, priority: int = 50) -> Any:
        return self._play("submit", 0, priority, cpus=1, held=False, loses=False)

    def lease(self, client: int = 0, loses: bool = False, leads: bool = False) -> Any:
        return self._play("lease", client, loses, leads)

    def heartbeat(self, held: Lease) -> None:
        self._play("heartbeat", 0, held, checkpoints=False, loses=False, leads=False)

    def cancel(self, job_id: str) -> None:
        self._play("cancel", 0, job_id, now=True, loses=False)

    def retry(self, job_id: str) -> None:
        self._play("retry", 0, job_id, loses=False)


def _one_writes_after_another_took_over(played: Played) -> None:
    job_id = played.submit()
    stale = played.lease()
    played.cancel(job_id)
    played.retry(job_id)
    played.lease()
    played.heartbeat(stale)


def _one_reaps_what_has_moved(played: Played) -> None:
    played.submit()
    played.lease()
    played.reap(0, loses=False, leads=False)


def _an_answer_is_lost(played: Played) -> None:
    played.submit()
    played.lease(loses=True)


def _a_cancelled_job_is_tried_again(played: Played) -> None:
    job_id = played.submit()
    played.cancel(job_id)
    played.retry(job_id)


def _a_checkpoint_waits_for_its_evaluation(played: Played) -> None:
    played.submit_evaluation(0, played.submit(), loses=False)


def _one_leases_after_another_leads(played: Played) -> None:
    played.submit()
    played.lead(0)
    played.lead(1)
    played.lease(leads=True)


def _two_are_leased(played: Played) -> None:
    played.submit()
    played.submit()
    played.lease()
    played.lease()


def _the_same_images_are_told_twice(played: Played) -> None:
    played.submit()
    held = played.lease()
    played.heartbeat(held)
    played.heartbeat(held)


def _one_runs_to_its_end(played: Played) -> None:
    played.submit()
    played.finish(0, played.lease(), Reason.SUCCEEDED, loses=False, leads=False)


def _more_wait_than_may(played: Played) -> None:
    played.set_quota(USERS[0], queued=1, running=None, cpus=None)
    played.submit()
    played.submit()


def _more_would_run_than_may(played: Played) -> None:
    played.set_quota(USERS[0], queued=None, running=1, cpus=None)
    played.submit()
    played.submit()
    played.lease()
    played.lease()


def _the_last_comes_first(played: Played) -> None:
    played.submit()
    played.prioritise(0, played.submit(), 100, loses=False)
    played.lease()


@dataclass(frozen=True)
class Fault:
    """A fault put into the scripts, `text` in place of what is there, and the shortest history that shows it."""

    history: Callable[[Played], None]
    original: str
    text: str


# Each takes away one thing that the queue is built on.
FAULTS = {
    "token": Fault(
        _one_writes_after_another_took_over, "job[1] == 'running' and number(job[2]) == token", "job[1] == 'running'"
    ),
    "expiry": Fault(_one_reaps_what_has_moved, "lease_expires_at == args.lease_expires_at", "true"),
    "replay": Fault(_an_answer_is_lost, "if replayed then return replayed end", ""),
    "persist": Fault(_a_cancelled_job_is_tried_again, "redis.call('PERSIST', kept)", "local _ = kept"),
    "under way": Fault(
        _a_checkpoint_waits_for_its_evaluation,
        "if is_under_way then redis.call('HSET', under_way_key(job[1]), id, job[2])",
        "if is_under_way then",
    ),
    "leadership": Fault(_one_leases_after_another_leads, "return reply({deposed = true})", "local _ = nil"),
    "growing tokens": Fault(_two_are_leased, "redis.call('SET', root .. 'token', text)", "text = '1'"),
    "images once": Fault(
        _the_same_images_are_told_twice, "local new_images = ", "local new_images = told.trained_images --"
    ),
    "quota of what runs": Fault(
        _one_runs_to_its_end,
        "SREM', held_key('running', user), id)",
        "SCARD', held_key('running', user))",
    ),
    "quota of what waits": Fault(_more_wait_than_may, "if refused then return reply({refused = refused}) end", ""),
    "quota in the queue": Fault(_more_would_run_than_may, "needs[what] > queue.left[what]", "needs[what] > limit"),
    "place by priority": Fault(_the_last_comes_first, "place(args.priority, ", "place(before, "),
    "retention": Fault(
        _a_cancelled_job_is_tried_again, "redis.call('PEXPIRE', expiring, options.ttl_ms)", "local _ = expiring"
    ),
}


@pytest.fixture
def machine(
    settings: Settings, admin: redis.Redis, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Clients]]:
    """machine(): three clients, any of which leads as soon as it asks; a retry's delay lasts until a rule ends it."""
    for limit in ("FIRST_DELAY_S", "LONGEST_DELAY_S"):
        monkeypatch.setattr(f"ganservice.retry.{limit}", 3600.0)
    monkeypatch.setattr("ganservice.queue.LONGEST_DELAY_S", 7200.0)
    monkeypatch.setattr("ganservice.leadership.LEADERSHIP_S", 0.0)
    spec = spec.model_copy(update={"max_attempts": MAX_ATTEMPTS})
    with ExitStack() as stack:
        of_users = [settings.model_copy(update={"user": user}) for user in USERS]
        clients = [stack.enter_context(closing(ForgetfulQueue(each))) for each in of_users]
        leaderships = [stack.enter_context(closing(Leadership(settings))) for _ in range(3)]
        yield lambda: Clients(clients, leaderships, admin, spec)


def test_no_order_of_requests_breaks_the_queue(machine: Callable[[], Clients]) -> None:
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # it takes any factory, as its name says
        settings=hypothesis_settings(
            max_examples=50,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
@pytest.mark.parametrize(
    "history", dict.fromkeys(fault.history for fault in FAULTS.values()), ids=lambda each: each.__name__
)
def test_a_history_that_shows_a_fault_shows_none_in_sound_scripts(
    machine: Callable[[], Clients], history: Callable[[Played], None]
) -> None:
    history(Played(machine()))


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    """A fault that the scripts have, for as long as the test runs."""
    fault, source = FAULTS[request.param], broker.script_source

    def with_fault(name: str) -> str:
        return source(name).replace(fault.original, fault.text)

    assert any(fault.original in source(name) for name in JobQueue.scripts), "the scripts have changed"
    monkeypatch.setattr(broker, "script_source", with_fault)
    return fault


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
@pytest.mark.usefixtures("broker")
def test_a_fault_in_the_scripts_is_found(fault: Fault, request: pytest.FixtureRequest) -> None:
    machine = request.getfixturevalue("machine")  # after the fault is in
    with pytest.raises((AssertionError, pytest.fail.Exception, GanServiceError)):
        fault.history(Played(machine()))
