"""A dispatcher on a real queue and a cluster in memory: what it starts, what it ends, and what it tells the queue."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from ganservice.job import Activity, Capacity, Pulse, Reason, State
from ganservice.maintenance import Maintenance
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from tests.conftest import wait_until
from tests.integration.cluster import InMemoryCluster
from tests.integration.jobs import SUCCESS, skip_delay, submit
from workers.dispatch import dispatcher, watch
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Phase
from workers.dispatch.name import GangName
from workers.dispatch.room import Machine


@pytest.fixture
def cluster() -> InMemoryCluster:
    return InMemoryCluster(cpus=4)


@pytest.fixture(autouse=True)
def _every_round_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatcher, "LEASE_SHARE", 1e9)


@pytest.fixture
def lead(dispatching: Settings, cluster: InMemoryCluster) -> Dispatcher:
    """The dispatcher that leads."""
    leader = Dispatcher(dispatching, cluster)
    leader.tick()
    return leader


@pytest.fixture
def start(lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec) -> Callable[..., str]:
    """Submits a job and has its gang started, in a phase."""

    def submit_and_start(phase: Phase = Phase.PLACING, **changes: Any) -> str:
        job_id = submit(queue, spec, **changes)
        lead.tick()
        cluster.gang(job_id).phase = phase
        return job_id

    return submit_and_start


def state_and_reason(queue: JobQueue, job_id: str) -> tuple[State, Reason | None]:
    job = queue.get(job_id)
    return job.state, job.reason


# What it starts.


def test_a_gang_that_starts_is_moved_on_between_two_rounds(
    dispatching: Settings,
    cluster: InMemoryCluster,
    queue: JobQueue,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "TICK_S", 0.01)
    stopping, moved_on = threading.Event(), threading.Semaphore(0)

    def on_start() -> None:
        monkeypatch.setattr(dispatcher, "TICK_S", 3600.0)  # the next round comes too late

    cluster.on_start = on_start
    thread = threading.Thread(target=Dispatcher(dispatching, cluster).run, args=[stopping])
    thread.start()
    try:
        submit(queue, spec)
        wait_until(lambda: cluster.started)
        cluster.started[0].on_poll = lambda _: moved_on.release()
        for _ in range(5):
            assert moved_on.acquire(timeout=60)
    finally:
        stopping.set()
        thread.join()


def test_idle_workers_are_kept_on_nodes_that_take_work_alone(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, settings: Settings
) -> None:
    without_cpus = Machine("head", "two", "10.0.0.2", Capacity(cpus=0, gpus=0), Capacity(cpus=0, gpus=0))
    cluster.others = [replace(without_cpus, id="node-1", total=Capacity(cpus=1, gpus=0)), without_cpus]
    lead.tick()
    assert cluster.warm == {"node-0": 1, "node-1": 1}
    with Maintenance(settings) as maintenance:
        maintenance.cordon("node-1", drain=False)
    lead.tick()
    assert cluster.warm == {"node-0": 1}
    cluster.warm = {}
    start(Phase.MEETING)
    lead.tick()
    assert cluster.warm == {}, "none starts beside a gang that does"


def test_jobs_run_as_capacity_allows_in_order_of_priority(
    dispatching: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    cluster = InMemoryCluster(cpus=2)
    leader = Dispatcher(dispatching, cluster)
    # Takes the whole cluster, so that the eight below meet in the queue.
    blocker = submit(queue, spec, resources=Resources(cpus_per_worker=2))
    leader.tick()
    priorities: list[Any] = ["low", 60, "normal", "high", "low", 90, "high", "normal"]
    submitted = [submit(queue, spec, priority=priority) for priority in priorities]
    leader.tick()
    assert [gang.name.job_id for gang in cluster.alive()] == [blocker]

    while cluster.alive():
        assert sum(gang.lease.spec.resources.cpus for gang in cluster.alive()) <= 2
        first = cluster.alive()[0]
        queue.finish(first.lease, SUCCESS)
        first.phase = Phase.ENDED
        leader.tick()
    number = {"low": 25, "normal": 50, "high": 75, 60: 60, 90: 90}
    expected = sorted(range(8), key=lambda index: (-number[priorities[index]], index))
    assert [submitted.index(gang.name.job_id) for gang in cluster.started[1:]] == expected


def test_no_room_is_given_twice_however_late_ray_counts(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    # Ray says that all four CPUs are free throughout.
    two = Resources(cpus_per_worker=2)
    start(Phase.PLACING, resources=two)
    start(Phase.RUNNING, resources=two)
    waiting = submit(queue, spec)
    lead.tick()
    assert queue.get(waiting).state is State.QUEUED
    assert len(cluster.started) == 2


def test_room_that_others_hold_is_not_given_away(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    cluster.held_by_others = 3
    start(Phase.PLACING)
    waiting = submit(queue, spec)
    lead.tick()
    assert queue.get(waiting).state is State.QUEUED
    cluster.held_by_others = 1
    lead.tick()
    assert queue.get(waiting).state is State.RUNNING


def test_the_autoscaler_is_asked_for_what_waits_together_with_what_runs(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    start(Phase.RUNNING)
    submit(queue, spec, resources=Resources(workers=2, cpus_per_worker=3))
    lead.tick()
    lead.tick()
    assert cluster.requested == [[], [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 1.0}]]


def test_a_job_that_publishes_gives_its_room_to_the_next_and_runs_until_its_files_are_there(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    all_of_it = Resources(cpus_per_worker=4)
    publishes, waits = start(Phase.RUNNING, resources=all_of_it), submit(queue, spec, resources=all_of_it)
    gang = cluster.gang(publishes)
    for activity in (Activity.TRAINING, Activity.PUBLISHING):
        assert queue.get(waits).state is State.QUEUED
        queue.heartbeat(gang.lease, pulse=Pulse(activity=activity))
        lead.tick()
    assert (queue.get(publishes).state, queue.get(waits).state) == (State.RUNNING, State.RUNNING)
    assert not gang.is_ended
    another = submit(queue, spec)
    lead.tick()
    lead.tick()
    assert cluster.requested[-1] == [{"CPU": 1.0}, {"CPU": 4.0}], "no room is asked for what publishes"
    assert queue.get(another).state is State.QUEUED
    queue.finish(gang.lease, SUCCESS)
    lead.tick()
    assert queue.get(publishes).state is State.SUCCEEDED
    assert gang.is_ended


def test_no_more_jobs_publish_without_room_than_their_node_bears(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    all_of_it, publishing = Resources(cpus_per_worker=4), Pulse(activity=Activity.PUBLISHING)
    first, second, waits = (submit(queue, spec, resources=all_of_it) for _ in range(3))
    for job_id in (first, second):
        lead.tick()
        cluster.gang(job_id).phase = Phase.RUNNING
        queue.heartbeat(cluster.gang(job_id).lease, pulse=publishing)
        lead.tick()
    lead.tick()
    assert [cluster.gang(job_id).holds_room for job_id in (first, second)] == [False, True]
    assert queue.get(waits).state is State.QUEUED
    queue.finish(cluster.gang(first).lease, SUCCESS)
    lead.tick()
    lead.tick()
    assert not cluster.gang(second).holds_room
    assert queue.get(waits).state is State.RUNNING


def test_a_job_that_waits_for_the_store_as_it_publishes_keeps_its_room(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    gang = cluster.gang(start(Phase.RUNNING))
    for waits_for in ("the store to answer", None):
        assert gang.holds_room
        queue.heartbeat(gang.lease, pulse=Pulse(activity=Activity.PUBLISHING, waits_for=waits_for))
        lead.tick()
        assert gang.holds_room is bool(waits_for)


def test_a_job_that_dies_as_it_publishes_waits_for_room_like_any_other(
    lead: Dispatcher,
    start: Callable[..., str],
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
) -> None:
    all_of_it = Resources(cpus_per_worker=4)
    publishes, waits = start(Phase.RUNNING, resources=all_of_it), submit(queue, spec, resources=all_of_it)
    queue.heartbeat(cluster.gang(publishes).lease, pulse=Pulse(activity=Activity.PUBLISHING))
    lead.tick()
    assert queue.get(waits).state is State.RUNNING
    cluster.gang(publishes).phase = Phase.BROKEN
    lead.tick()
    assert state_and_reason(queue, publishes) == (State.QUEUED, Reason.WORKER_DIED)
    skip_delay(admin, publishes)
    lead.tick()
    assert queue.get(publishes).state is State.QUEUED
    queue.cancel(waits, now=True)
    lead.tick()
    lead.tick()
    again = cluster.gang(publishes)
    assert again.name == GangName(publishes, 2)
    again.phase = Phase.RUNNING
    lead.tick()
    assert again.holds_room, "what the first attempt said is forgotten"


def test_a_job_whose_gang_cannot_be_started_holds_up_no_other(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    refused = submit(queue, spec, priority="high")
    other = submit(queue, spec)

    def refuse() -> None:
        cluster.on_start = lambda: None
        raise RuntimeError("Ray has no time")

    cluster.on_start = refuse
    lead.tick()
    lead.tick()
    job = queue.get(refused)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.UNPLACED, 0)
    assert job.message == "its gang does not start: RuntimeError: Ray has no time"
    assert [gang.name.job_id for gang in cluster.alive()] == [other]


def test_what_ray_cannot_even_be_asked_for_is_the_fault_of_the_job(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    def refuse() -> None:
        raise ValueError("bundles are absurd")

    cluster.on_start = refuse
    job_id = submit(queue, spec, max_attempts=1)
    lead.tick()
    assert state_and_reason(queue, job_id) == (State.FAILED, Reason.ERROR)


# What becomes of a gang that has not begun.


def test_workers_that_hang_before_they_are_ready_are_given_up(
    lead: Dispatcher,
    start: Callable[..., str],
    cluster: InMemoryCluster,
    queue: JobQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "MEETING_LIMIT_S", 0.0)
    job_id = start(Phase.MEETING)
    lead.tick()
    job = queue.get(job_id)
    assert (job.state, job.reason, job.message) == (
        State.QUEUED, Reason.WORKER_DIED, "its workers were not ready in 0 s"
    )  # fmt: skip
    assert cluster.alive() == []


@pytest.mark.parametrize(("phase", "activity"), [(Phase.PLACING, Activity.PLACING), (Phase.MEETING, Activity.STARTING)])
def test_the_lease_of_a_gang_that_has_not_begun_is_kept(
    phase: Phase, activity: Activity, lead: Dispatcher, start: Callable[..., str], queue: JobQueue
) -> None:
    job_id = start(phase)
    leased = queue.get(job_id)
    lead.tick()
    job = queue.get(job_id)
    assert job.pulse
    assert job.pulse.activity is activity
    assert (job.lease_expires_at or 0) > (leased.lease_expires_at or 0)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [(Phase.PLACING, (State.QUEUED, Reason.UNPLACED)), (Phase.MEETING, (State.RUNNING, None))],
)
def test_a_gang_that_finds_no_room_in_time_gives_its_job_back(
    phase: Phase,
    outcome: tuple[State, Reason | None],
    dispatching: Settings,
    cluster: InMemoryCluster,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    leader = Dispatcher(dispatching.model_copy(update={"placement_timeout_s": 1e-9}), cluster)
    job_id = submit(queue, spec)
    leader.tick()
    cluster.gang(job_id).phase = phase
    leader.tick()
    job = queue.get(job_id)
    assert (job.state, job.reason, job.failures) == (*outcome, 0)
    assert cluster.gang(job_id).is_ended == (phase is Phase.PLACING)
    if phase is Phase.PLACING:
        assert job.message == "the cluster found no room in 0 s"


def test_a_job_that_is_cancelled_before_it_begins_is_ended(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    job_id = start(Phase.PLACING)
    queue.cancel(job_id)
    lead.tick()
    job = queue.get(job_id)
    assert (job.state, job.message) == (State.CANCELLED, "cancelled by ada; before it began")
    assert cluster.gang(job_id).is_ended
    queue.retry(job_id)
    lead.tick()
    queue.cancel(job_id)
    lead.tick()
    assert queue.get(job_id).message == "cancelled by ada; before attempt 2 began"


# What becomes of one that runs.


def test_a_gang_that_breaks_sends_its_job_back(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    job_id = start(Phase.BROKEN)
    cluster.gang(job_id).message = "a worker died: on purpose"
    lead.tick()
    job = queue.get(job_id)
    assert (job.state, job.reason, job.message) == (State.QUEUED, Reason.WORKER_DIED, "a worker died: on purpose")
    assert cluster.gang(job_id).is_ended


def test_a_gang_that_ends_without_an_outcome_gives_its_job_back(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    job_id = start(Phase.ENDED)
    lead.tick()
    assert state_and_reason(queue, job_id) == (State.QUEUED, Reason.WORKER_DIED)
    assert cluster.alive() == []


def test_a_gang_that_has_said_all_is_ended(
    lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    job_id = start(Phase.RUNNING)
    queue.finish(cluster.gang(job_id).lease, SUCCESS)
    cluster.gang(job_id).phase = Phase.ENDED
    lead.tick()
    assert queue.get(job_id).state is State.SUCCEEDED
    assert cluster.alive() == []


def test_a_gang_that_is_silent_for_a_lease_is_ended_and_its_job_goes_on(
    dispatching: Settings, cluster: InMemoryCluster, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    leader = Dispatcher(dispatching.model_copy(update={"lease_s": 1e-9}), cluster)
    job_id = submit(queue, spec)
    leader.tick()
    cluster.gang(job_id).phase = Phase.RUNNING
    leader.tick()  # sees when the lease ends
    leader.tick()  # sees that nothing has moved it
    assert state_and_reason(queue, job_id) == (State.QUEUED, Reason.LEASE_EXPIRED)
    leader.tick()
    assert cluster.alive() == []
    skip_delay(admin, job_id)
    leader.tick()
    assert [gang.name for gang in cluster.alive()] == [GangName(job_id, 2)]


@pytest.mark.parametrize("phase", [Phase.MEETING, Phase.RUNNING])
def test_a_gang_whose_job_is_cancelled_at_once_is_ended(
    phase: Phase, lead: Dispatcher, start: Callable[..., str], cluster: InMemoryCluster, queue: JobQueue
) -> None:
    job_id = start(phase)
    queue.cancel(job_id, now=True)
    lead.tick()
    assert cluster.gang(job_id).is_ended
    assert queue.get(job_id).state is State.CANCELLED


def test_a_dispatcher_that_does_not_lead_starts_nothing(
    lead: Dispatcher, dispatching: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    del lead
    others = InMemoryCluster(cpus=4)
    job_id = submit(queue, spec)
    Dispatcher(dispatching, others).tick()
    assert others.started == []
    assert queue.get(job_id).state is State.QUEUED
