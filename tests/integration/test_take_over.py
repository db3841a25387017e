"""Dispatchers that go, by whatever way and at whatever moment, and those that come after them: nothing is lost, and
nothing is left."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from ganservice import job_index, leadership
from ganservice.job import Activity, Directive, Lease, Outcome, Pulse, Reason, State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from tests.conftest import wait_until
from tests.integration.cluster import InMemoryCluster, InMemoryGang
from tests.integration.jobs import CLUSTER, SUCCESS, reap, skip_delay, submit
from workers.dispatch import dispatcher, watch
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Phase
from workers.dispatch.name import GangName
from workers.dispatch.room import Machine

Successor = Callable[[], Dispatcher]


@pytest.fixture
def cluster() -> InMemoryCluster:
    return InMemoryCluster(cpus=4)


@pytest.fixture(autouse=True)
def _every_round_does_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatcher, "LEASE_SHARE", 1e9)
    monkeypatch.setattr(dispatcher, "RECONCILE_S", 0.0)
    monkeypatch.setattr(dispatcher, "RECONCILE_SHARE", 1e9)
    monkeypatch.setattr(watch, "MISSING_S", 0.0)


@pytest.fixture
def new_dispatcher(dispatching: Settings, cluster: InMemoryCluster, monkeypatch: pytest.MonkeyPatch) -> Successor:
    """Makes a dispatcher that leads at its first tick: to it, whoever leads is silent."""

    def make() -> Dispatcher:
        monkeypatch.setattr(leadership, "LEADERSHIP_S", 0.0)
        return Dispatcher(dispatching, cluster)

    return make


@pytest.fixture
def lead(dispatching: Settings, cluster: InMemoryCluster) -> Dispatcher:
    """The first dispatcher, which leads."""
    leader = Dispatcher(dispatching, cluster)
    leader.tick()
    return leader


def lose_answer(queue: JobQueue, admin: redis.Redis) -> Lease:
    """A lease that is granted to the leader, who never hears of it."""
    leader: Any = admin.hgetall("{gan}:leader")
    lease = queue.lease(CLUSTER, CLUSTER, int(leader["token"]), leader["owner"])
    assert lease
    return lease


class Moments:
    """A job that one dispatcher has brought to a moment of its life."""

    names = ("leased", "placing", "meeting", "running", "told")

    def __init__(self, lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, admin: redis.Redis) -> None:
        self.lead, self.cluster, self.queue, self.admin = lead, cluster, queue, admin

    def reach(self, moment: str, job_id: str) -> None:
        if moment == "leased":  # and not started
            assert lose_answer(self.queue, self.admin).job_id == job_id
            return
        self.lead.tick()
        gang = self.cluster.gang(job_id)
        if moment == "placing":
            return
        gang.phase = Phase.MEETING
        if moment == "meeting":
            return
        gang.phase = Phase.RUNNING
        self.queue.heartbeat(gang.lease, pulse=Pulse(activity=Activity.TRAINING))
        if moment == "told":  # the outcome, and not ended
            self.queue.finish(gang.lease, SUCCESS)


@pytest.fixture
def moments(lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, admin: redis.Redis) -> Moments:
    return Moments(lead, cluster, queue, admin)


def assert_all_belongs_together(queue: JobQueue, cluster: InMemoryCluster) -> None:
    running = {GangName(it.job_id, it.attempt) for it in queue.running_attempts()}
    assert {gang.name for gang in cluster.alive()} == running


@pytest.fixture
def assert_room_for_all(cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec) -> Callable[[Dispatcher], None]:
    """Fails unless a job as large as the cluster starts once the others have ended."""

    def check(leader: Dispatcher) -> None:
        for job in queue.list_jobs([State.QUEUED, State.RUNNING]):
            queue.cancel(job.id, now=True)
        large = submit(queue, spec, resources=Resources(cpus_per_worker=4))
        leader.tick()
        leader.tick()
        assert [gang.name for gang in cluster.alive()] == [GangName(large, 1)]

    return check


@pytest.mark.parametrize("moment", Moments.names)
@pytest.mark.parametrize("way", ["is killed", "resigns"])
@pytest.mark.parametrize("comes_back", [False, True])
def test_no_moment_at_which_a_dispatcher_goes_costs_anything(
    moment: str,
    way: str,
    comes_back: bool,
    moments: Moments,
    new_dispatcher: Successor,
    spec: TrainSpec,
    assert_room_for_all: Callable[[Dispatcher], None],
) -> None:
    lead, cluster, queue = moments.lead, moments.cluster, moments.queue
    job_id = submit(queue, spec)
    moments.reach(moment, job_id)
    if way == "resigns":
        lead.resign()
    leader = new_dispatcher()
    leader.tick()
    if comes_back:
        leader.resign()
        leader = lead
        leader.tick()
    assert_all_belongs_together(queue, cluster)
    job = queue.get(job_id)
    assert (job.failures, job.attempt) == (0, 1)
    if moment == "leased":
        assert (job.state, job.reason) == (State.QUEUED, Reason.YIELDED)
        skip_delay(moments.admin, job_id)
        leader.tick()
        job = queue.get(job_id)
    assert job.state is (State.SUCCEEDED if moment == "told" else State.RUNNING)
    assert_room_for_all(leader)


@pytest.mark.parametrize("moment", Moments.names)
def test_no_moment_of_a_drain_costs_anything(
    moment: str,
    moments: Moments,
    new_dispatcher: Successor,
    spec: TrainSpec,
    assert_room_for_all: Callable[[Dispatcher], None],
) -> None:
    lead, cluster, queue = moments.lead, moments.cluster, moments.queue
    job_id = submit(queue, spec)
    moments.reach(moment, job_id)
    for gang in cluster.alive():
        gang.on_poll = lambda gang: leave_politely(queue, gang)
    lead.drain()
    lead.resign()
    job = queue.get(job_id)
    if moment == "told":
        assert job.state is State.SUCCEEDED
    else:
        assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
    assert cluster.alive() == []
    successor = new_dispatcher()
    successor.tick()
    assert_room_for_all(successor)


def leave_politely(queue: JobQueue, gang: InMemoryGang) -> None:
    """As a worker does whose heartbeat is told to give its job back."""
    if gang.phase is Phase.RUNNING and queue.holds(gang.lease) and queue.heartbeat(gang.lease) is Directive.YIELD:
        queue.finish(gang.lease, Outcome(reason=Reason.YIELDED, message="gave its job back"))
        gang.phase = Phase.ENDED


def test_a_drain_ends_those_that_are_deaf(
    moments: Moments,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    lead, cluster, queue = moments.lead, moments.cluster, moments.queue
    monkeypatch.setattr(dispatcher, "DRAIN_S", 0.5)
    polite, deaf = submit(queue, spec), submit(queue, spec)
    moments.reach("running", polite)
    moments.reach("running", deaf)
    cluster.gang(polite).on_poll = lambda gang: leave_politely(queue, gang)
    lead.drain()
    assert [queue.get(job_id).message for job_id in (polite, deaf)] == ["gave its job back", "its dispatcher went down"]
    assert cluster.alive() == []


# A dispatcher that is paused, succeeded, and thawed in the middle of what it was doing.


def test_one_that_is_thawed_between_lease_and_start_harms_nothing(
    lead: Dispatcher,
    new_dispatcher: Successor,
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
) -> None:
    job_id = submit(queue, spec)
    successor = new_dispatcher()

    def pause() -> None:
        cluster.on_start = lambda: None
        successor.tick()
        assert queue.get(job_id).state is State.QUEUED, "given back at once, not after a lease"
        skip_delay(admin, job_id)
        successor.tick()

    cluster.on_start = pause
    lead.tick()
    assert queue.get(job_id).attempt == 2
    successor.tick()
    assert [gang.name for gang in cluster.alive()] == [GangName(job_id, 2)]
    assert queue.get(job_id).failures == 0


@pytest.mark.parametrize("phase", list(Phase))
def test_one_that_is_thawed_while_it_settles_a_gang_ends_and_tells_nothing(
    phase: Phase,
    moments: Moments,
    new_dispatcher: Successor,
    spec: TrainSpec,
) -> None:
    lead, cluster, queue = moments.lead, moments.cluster, moments.queue
    job_id = submit(queue, spec)
    moments.reach("running", job_id)
    gang, successor = cluster.gang(job_id), new_dispatcher()

    def pause(gang: InMemoryGang) -> None:
        gang.on_poll = lambda _: None
        gang.phase = Phase.RUNNING
        successor.tick()
        gang.phase = phase  # as the one that was paused has it

    gang.on_poll = pause
    lead.tick()
    gang.phase = Phase.RUNNING
    assert not gang.is_ended
    job = queue.get(job_id)
    assert job.state is State.RUNNING
    assert job.pulse == Pulse(activity=Activity.TRAINING), "it renews no lease either"
    lead.tick()
    successor.tick()
    assert [gang.name for gang in cluster.alive()] == [GangName(job_id, 1)]
    assert_all_belongs_together(queue, cluster)


# What is there and what should be.


def end_job(queue: JobQueue, admin: redis.Redis, gang: InMemoryGang) -> None:
    del admin
    queue.finish(gang.lease, SUCCESS)


def lose_job(queue: JobQueue, admin: redis.Redis, gang: InMemoryGang) -> None:
    del queue
    admin.delete("{gan}:job:" + gang.name.job_id)


def begin_anew(queue: JobQueue, admin: redis.Redis, gang: InMemoryGang) -> None:
    del admin
    queue.finish(gang.lease, Outcome(reason=Reason.YIELDED))
    queue.take(gang.name.job_id)


def lose_worker(queue: JobQueue, admin: redis.Redis, gang: InMemoryGang) -> None:
    del queue, admin
    gang.is_whole = False


@pytest.mark.parametrize("happen", [end_job, lose_job, begin_anew, lose_worker])
def test_gangs_of_no_current_attempt_are_ended(
    happen: Callable[..., None],
    moments: Moments,
    new_dispatcher: Successor,
    spec: TrainSpec,
) -> None:
    cluster, queue = moments.cluster, moments.queue
    kept, stray = submit(queue, spec), submit(queue, spec)
    moments.reach("running", kept)
    moments.reach("running", stray)
    happen(queue, moments.admin, cluster.gang(stray))
    new_dispatcher().tick()
    assert cluster.strays == [GangName(stray, 1)]
    assert cluster.adopted == [GangName(kept, 1)]


def test_a_running_job_whose_gang_has_vanished_goes_on_at_once(
    lead: Dispatcher,
    moments: Moments,
    new_dispatcher: Successor,
    cluster: InMemoryCluster,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    del lead
    job_id = submit(queue, spec)
    moments.reach("running", job_id)
    cluster.gang(job_id).end()
    successor = new_dispatcher()
    successor.tick()
    assert queue.get(job_id).state is State.RUNNING, "Ray may not have told all"
    successor.tick()
    job = queue.get(job_id)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.WORKER_DIED, 0)


def test_leases_whose_answers_are_lost_never_use_up_a_job(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec, max_attempts=3)
    for attempt in range(1, 5):
        assert lose_answer(queue, admin).attempt == attempt
        lead.tick()
        job = queue.get(job_id)
        assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
        skip_delay(admin, job_id)
    lead.tick()
    assert [gang.name for gang in cluster.alive()] == [GangName(job_id, 5)]


def test_what_runs_outside_the_cluster_is_left_alone(
    lead: Dispatcher, new_dispatcher: Successor, queue: JobQueue, spec: TrainSpec
) -> None:
    lease = queue.take(submit(queue, spec))
    lead.tick()
    lead.tick()
    new_dispatcher().tick()
    assert queue.holds(lease)


def test_a_gang_that_waits_for_room_gives_none_away_when_its_dispatcher_changes(
    lead: Dispatcher,
    moments: Moments,
    new_dispatcher: Successor,
    cluster: InMemoryCluster,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    del lead
    job_id = submit(queue, spec)
    moments.reach("placing", job_id)
    successor = new_dispatcher()
    waiting = submit(queue, spec, resources=Resources(cpus_per_worker=4))
    successor.tick()
    assert queue.get(waiting).state is State.QUEUED
    cluster.gang(job_id).phase = Phase.BROKEN
    successor.tick()
    assert queue.get(job_id).reason is Reason.WORKER_DIED
    assert queue.get(waiting).state is State.RUNNING


# What no round may end by.


def make_unreadable(admin: redis.Redis, job_id: str) -> None:
    admin.hset("{gan}:job:" + job_id, mapping={"spec": '{"name": "of the next release"}', "format": 99})


def test_a_gang_whose_job_this_release_cannot_read_runs_on_while_its_lease_does(
    moments: Moments,
    new_dispatcher: Successor,
    spec: TrainSpec,
) -> None:
    lead, cluster, queue = moments.lead, moments.cluster, moments.queue
    unreadable, readable = submit(queue, spec), submit(queue, spec)
    moments.reach("running", unreadable)
    moments.reach("running", readable)
    make_unreadable(moments.admin, unreadable)
    lead.tick()
    successor = new_dispatcher()
    other = submit(queue, spec)
    successor.tick()
    assert {gang.name.job_id for gang in cluster.alive()} == {unreadable, readable, other}
    assert cluster.adopted == [GangName(readable, 1)]
    assert unreadable in reap(queue)
    successor.tick()
    assert GangName(unreadable, 1) in cluster.strays


def test_a_gang_that_cannot_be_settled_holds_up_no_other(
    lead: Dispatcher, moments: Moments, cluster: InMemoryCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    bad, good = submit(queue, spec), submit(queue, spec)
    moments.reach("running", bad)
    moments.reach("running", good)

    def fail(gang: InMemoryGang) -> None:
        raise RuntimeError(f"no word of {gang.name}")

    cluster.gang(bad).on_poll = fail
    queue.finish(cluster.gang(good).lease, SUCCESS)
    waiting = submit(queue, spec)
    lead.tick()
    assert {gang.name.job_id for gang in cluster.alive()} == {bad, waiting}


def test_a_dispatcher_lives_through_an_outage_and_an_error_and_tells_each_once(
    dispatching: Settings,
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    leader, stopping = Dispatcher(dispatching, cluster), threading.Event()
    thread = threading.Thread(target=leader.run, args=[stopping])
    polled = threading.Semaphore(0)
    monkeypatch.setattr(dispatcher, "TICK_S", 0.01)

    def told(text: str) -> int:
        return sum(text in message for message in caplog.messages)

    def machines() -> list[Machine]:
        polled.release()
        raise RuntimeError("Ray is out")

    thread.start()
    try:
        wait_until(lambda: told("this dispatcher leads"))
        admin.config_set("maxmemory", 1)
        wait_until(lambda: told("waiting for it"))
        admin.config_set("maxmemory", 0)
        wait_until(lambda: told("it is well again"))
        with monkeypatch.context() as context:
            context.setattr(cluster, "machines", machines)
            for _ in range(3):
                assert polled.acquire(timeout=60)
        job_id = submit(queue, spec)
        wait_until(lambda: queue.get(job_id).state is State.RUNNING)
    finally:
        admin.config_set("maxmemory", 0)
        stopping.set()
        thread.join()
    assert [told("waiting for it"), told("it is well again"), told("dispatching: Ray is out")] == [1, 1, 1]


def test_a_leader_forgets_jobs_whose_time_is_over(
    dispatching: Settings, cluster: InMemoryCluster, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    queue.cancel(job_id)
    admin.delete("{gan}:job:" + job_id)
    admin.zadd("{gan}:state:cancelled", {job_id: 0})
    known: Any = admin.zcard("{gan}:jobs")
    assert known == 1
    Dispatcher(dispatching, cluster).tick()
    assert admin.zcard("{gan}:jobs") == 0


def test_a_leader_finds_a_place_for_every_job_when_it_takes_over_and_now_and_then_some_in_each_round(
    dispatching: Settings,
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [submit(queue, spec) for _ in range(8)]
    monkeypatch.setattr(dispatcher, "TEND_ROUND_S", -1.0)  # one page
    monkeypatch.setattr(job_index, "FORGOTTEN_AT_ONCE", 4)
    leader = Dispatcher(dispatching, cluster)

    def entered() -> int:
        found: Any = admin.zcard("{gan}:jobs_of:ada")
        return int(found)

    def lose(every_s: float) -> None:
        """Have jobs without places among as many places without jobs, which are looked at so often."""
        monkeypatch.setattr(dispatcher, "TEND_S", 0.0)
        monkeypatch.setattr(dispatcher, "COMPARE_S", every_s)
        admin.delete("{gan}:jobs_of:ada", "{gan}:user_of")
        admin.hset("{gan}:user_of", mapping=dict.fromkeys(ids, "nobody"))

    lose(every_s=0.0)
    seen = set[int]()

    def is_over() -> bool:
        leader.tick()
        seen.add(entered())
        return entered() == len(ids)

    wait_until(is_over)
    assert 4 in seen, "the rounds go on where the one before has ended"
    lose(every_s=3_600.0)
    wait_until(is_over)
    lose(every_s=3_600.0)
    for _ in range(30):
        leader.tick()
    assert entered() == 0, "their numbers agree, and the hour is not over"


def test_an_adopted_gang_of_a_sweep_knows_how_far_it_may_train(
    lead: Dispatcher,
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
    new_dispatcher: Successor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It trained to its whole length, if the first dispatcher had told its workers nothing yet."""
    job_id, adopt = submit(queue, spec), cluster.adopt
    admin.hset("{gan}:job:" + job_id, "until_images", 32)
    lead.tick()
    leases: list[Lease] = []

    def note(settings: Settings, lease: Lease, *, has_begun: bool) -> Any:
        leases.append(lease)
        return adopt(settings, lease, has_begun=has_begun)

    monkeypatch.setattr(cluster, "adopt", note)
    new_dispatcher().tick()
    assert leases == [cluster.gang(job_id).lease]
    assert leases[0].until_images == 32
