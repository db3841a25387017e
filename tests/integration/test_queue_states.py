"""Several clients do what they like with one queue, in any order; a model in Python says what must come of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
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

from ganservice.errors import IllegalTransition, LeaseLost, RequestError
from ganservice.job import TRANSITIONS, Capacity, Checkpoint, Directive, Lease, Outcome, Reason, State
from ganservice.queue import JobQueue
from ganservice.retry import BLAMELESS
from ganservice.settings import Settings
from ganservice.spec import TrainSpec

CLUSTER = Capacity(cpus=100, gpus=0)
MAX_ATTEMPTS = 2
CLIENTS = st.integers(0, 2)


@dataclass
class Known:
    """What the model knows of a job."""

    priority: int
    order: int
    state: State = State.QUEUED
    delayed: bool = False
    holder: Lease | None = None  # who may write
    expired: bool = False  # the holder has been silent for too long
    cancel_requested: bool = False
    attempt: int = 0
    failures: int = 0
    checkpoint: int = 0
    resumed: int = 0
    observed: State = field(default=State.QUEUED)  # where the broker last had it

    @property
    def is_ready(self) -> bool:
        return self.state is State.QUEUED and not self.delayed

    def end(self, reason: Reason) -> None:
        """The attempt has ended."""
        self.holder, self.expired = None, False
        if reason is Reason.SUCCEEDED:
            self.state = State.SUCCEEDED
        elif reason is Reason.CANCELLED:
            self.state = State.CANCELLED
        elif self._is_given_up(reason):
            self.state = State.FAILED
        else:
            self.state = State.CANCELLED if self.cancel_requested else State.QUEUED
        self.delayed = self.state is State.QUEUED
        self.cancel_requested = False

    def _is_given_up(self, reason: Reason) -> bool:
        if reason in BLAMELESS:  # counts no failure
            return False
        self.failures = 1 if self.checkpoint > self.resumed else self.failures + 1
        return reason in (Reason.DIVERGED, Reason.DATA, Reason.UNHEALTHY) or self.failures >= MAX_ATTEMPTS


class Clients(RuleBasedStateMachine):
    """The rules are what clients can do; the invariants are what must hold after each of them."""

    jobs = Bundle("jobs")
    leases = Bundle("leases")  # stale ones stay in it

    def __init__(self, clients: list[JobQueue], admin: redis.Redis, spec: TrainSpec) -> None:
        super().__init__()
        admin.flushdb()
        self.clients, self.admin, self.spec = clients, admin, spec
        self.known: dict[str, Known] = {}
        self.totals: Counter[str] = Counter()
        self.last_token = self.stale_writes = 0

    # What clients do.

    # Few jobs: their histories grow long.
    @precondition(lambda self: len(self.known) < 3)
    @rule(target=jobs, client=CLIENTS, priority=st.sampled_from([0, 50, 100]), held=st.booleans())
    def submit(self, client: int, priority: int, held: bool) -> str:
        spec = self.spec.model_copy(update={"priority": priority})
        key, held_s = f"key {len(self.known)}", 3600 if held else None
        job_id, created = self.clients[client].submit(spec, idempotency_key=key, held_s=held_s)
        assert created
        self.known[job_id] = Known(priority, order=len(self.known), delayed=held)
        return job_id

    @rule(client=CLIENTS, jobs=st.integers(0, 2))
    def submit_again(self, client: int, jobs: int) -> None:
        if jobs < len(self.known):
            job_id, job = list(self.known.items())[jobs]
            same = self.spec.model_copy(update={"priority": job.priority})
            again = self.clients[client].submit(same, idempotency_key=f"key {jobs}")
            assert again == (job_id, False)
            other = same.model_copy(update={"seed": 1})
            with pytest.raises(RequestError, match=job_id):
                self.clients[client].submit(other, idempotency_key=f"key {jobs}")

    @rule(target=leases, client=CLIENTS)
    def lease(self, client: int) -> Any:
        ready = [(-job.priority, job.order, job_id) for job_id, job in self.known.items() if job.is_ready]
        held = self.clients[client].lease(CLUSTER, CLUSTER)
        if not ready:
            assert held is None
            return multiple()
        assert held
        assert held.job_id == min(ready)[2]
        self._check_granted(held)
        return held

    @rule(target=leases, client=CLIENTS, job_id=jobs)
    def take(self, client: int, job_id: str) -> Any:
        if self.known[job_id].state is not State.QUEUED:
            with pytest.raises(IllegalTransition, match=self.known[job_id].state):
                self.clients[client].take(job_id)
            return multiple()
        held = self.clients[client].take(job_id)
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
        job.delayed = False

    @rule(client=CLIENTS, held=leases, checkpoints=st.booleans())
    def heartbeat(self, client: int, held: Lease, checkpoints: bool) -> None:
        job = self.known[held.job_id]
        images = job.checkpoint + 8
        checkpoint = Checkpoint(key="k", images=images, bytes=1, seconds=0.1) if checkpoints else None
        directive = self._write(held, lambda: self.clients[client].heartbeat(held, checkpoint=checkpoint))
        if directive is not None:
            assert (directive is Directive.STOP) == job.cancel_requested
            job.checkpoint = images if checkpoints else job.checkpoint

    @rule(client=CLIENTS, held=leases, reason=st.sampled_from(Reason))
    def finish(self, client: int, held: Lease, reason: Reason) -> None:
        state = self._write(held, lambda: self.clients[client].finish(held, Outcome(reason=reason)))
        if state is not None:
            job = self.known[held.job_id]
            job.end(reason)
            assert state is job.state

    @rule(client=CLIENTS, job_id=jobs, now=st.booleans())
    def cancel(self, client: int, job_id: str, now: bool) -> None:
        job = self.known[job_id]
        if job.state is State.QUEUED or (job.state is State.RUNNING and now):
            job.end(Reason.CANCELLED)
        elif job.state is State.RUNNING:
            job.cancel_requested = True
        assert self.clients[client].cancel(job_id, now=now) is job.state

    @rule(client=CLIENTS, job_id=jobs)
    def retry(self, client: int, job_id: str) -> None:
        job = self.known[job_id]
        if job.state in (State.FAILED, State.CANCELLED):
            self.clients[client].retry(job_id)
            job.state, job.failures = State.QUEUED, 0
        else:
            with pytest.raises(IllegalTransition):
                self.clients[client].retry(job_id)

    @rule(client=CLIENTS)
    def reap(self, client: int) -> None:
        expired = {job_id for job_id, job in self.known.items() if job.expired}
        assert set(self.clients[client].reap()) == expired
        for job_id in expired:
            self.known[job_id].end(Reason.LEASE_EXPIRED)

    # What time does.

    @rule(held=leases)
    def fall_silent(self, held: Lease) -> None:
        job = self.known[held.job_id]
        if job.holder == held:
            self.admin.hset("{gan}:job:" + held.job_id, "lease_expires_at", 0)
            self.admin.zadd("{gan}:state:running", {held.job_id: 0}, xx=True)
            job.expired = True

    @rule(job_id=jobs)
    def wait_until_it_is_ready(self, job_id: str) -> None:
        job = self.known[job_id]
        assert self.admin.zadd("{gan}:delayed", {job_id: 0}, xx=True, ch=True) == job.delayed
        job.delayed = False

    # What holds at any time.

    @invariant()
    def jobs_are_as_the_model_says(self) -> None:
        jobs = {job.id: job for job in self.clients[0].list_jobs()}
        assert list(jobs) == list(self.known)
        for job_id, job in self.known.items():
            found = jobs[job_id]
            assert found.state is job.state
            assert found.token == (job.holder.token if job.holder else 0)
            assert (found.attempt, found.failures) == (job.attempt, job.failures)
            assert (found.checkpoint.images if found.checkpoint else 0) == job.checkpoint
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
        names = [*(f"state:{state}" for state in State), "ready", "delayed"]
        members = {name: set(self.admin.zrange("{gan}:" + name, 0, -1)) for name in names}
        for state in State:
            assert members[f"state:{state}"] == {i for i, job in self.known.items() if job.state is state}
        assert members["ready"] | members["delayed"] == members["state:queued"]
        assert not members["ready"] & members["delayed"]

    @invariant()
    def totals_never_decrease(self) -> None:
        totals = Counter(self.clients[0].totals())
        assert self.totals <= totals
        assert totals["submitted"] == len(self.known)
        assert totals["attempts"] == sum(job.attempt for job in self.known.values())
        assert totals["stale_writes"] == self.stale_writes
        self.totals = totals

    def _write(self, held: Lease, write: Callable[[], Any]) -> Any:
        """The answer to a write, or None where the model says that it must be refused."""
        job = self.known[held.job_id]
        if job.holder == held and not job.expired:
            return write()
        before = self.admin.hgetall("{gan}:job:" + held.job_id)
        with pytest.raises(LeaseLost):
            write()
        assert self.admin.hgetall("{gan}:job:" + held.job_id) == before
        self.stale_writes += 1
        return None


@pytest.fixture
def clients(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[JobQueue]]:
    """Three of them; a retry's delay lasts until a rule lets it pass."""
    for limit in ("FIRST_DELAY_S", "LONGEST_DELAY_S"):
        monkeypatch.setattr(f"ganservice.retry.{limit}", 3600.0)
    with ExitStack() as stack:
        yield [stack.enter_context(closing(JobQueue(settings))) for _ in range(3)]


def test_no_order_of_requests_breaks_the_queue(clients: list[JobQueue], admin: redis.Redis, spec: TrainSpec) -> None:
    spec = spec.model_copy(update={"max_attempts": MAX_ATTEMPTS})
    run_state_machine_as_test(
        lambda: Clients(clients, admin, spec),  # type: ignore[arg-type]  # it takes any factory, as its name says
        settings=hypothesis_settings(
            max_examples=50,
            stateful_step_count=50,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
