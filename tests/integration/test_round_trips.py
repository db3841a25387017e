"""Round trips to the broker, counted, so that they do not grow again unseen."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from redis.connection import AbstractConnection

from ganservice.job import Capacity, Lease
from ganservice.judging import Judging
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.sweep import SweepSpec, places
from ganservice.sweep_queue import SweepQueue
from tests.integration.cluster import InMemoryCluster
from tests.integration.jobs import SUCCESS, lease, report, submit, submit_sweep
from workers.attempt.heartbeat import Heartbeat
from workers.dispatch.gang import Phase
from workers.dispatch.troubles import Troubles
from workers.dispatch.watch import GangWatch

LARGER = Capacity(cpus=64, gpus=8)

Trips = Callable[[Callable[[], Any]], int]


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> Trips:
    """How often this process sends something to a broker when it does something; the scripts of that are loaded."""
    sent, send = list[Any](), cast(Any, AbstractConnection.send_packed_command)

    def counting(connection: AbstractConnection, command: Any, *arguments: Any, **options: Any) -> None:
        sent.append(command)
        send(connection, command, *arguments, **options)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counting)

    def of(act: Callable[[], Any]) -> int:
        before = len(sent)
        act()
        return len(sent) - before

    return of


def train(queue: JobQueue, spec: TrainSpec) -> None:
    """The whole life of a job in the queue, one report included."""
    submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, report(64))
    queue.finish(held, SUCCESS)


def test_a_job_takes_one_round_trip_for_each_step_of_its_life(queue: JobQueue, spec: TrainSpec, trips: Trips) -> None:
    train(queue, spec)
    # Submit, which also asks whose job it is, lease, heartbeat, finish.
    assert trips(lambda: train(queue, spec)) == 5


def test_an_attempt_that_ends_at_once_takes_two_round_trips(
    settings: Settings, queue: JobQueue, spec: TrainSpec, trips: Trips
) -> None:
    def attempt() -> None:
        submit(queue, spec)
        held = lease(queue)
        with Heartbeat(queue, held, settings.heartbeat_s, lambda: None) as heartbeat:
            heartbeat.progress(report(64))
            heartbeat.finish(SUCCESS)
        assert queue.get(held.job_id).images == 64

    attempt()
    # Beside those of its submission and of the look at it: its lease, and its end with all that it has to tell.
    assert trips(attempt) == 2 + 2 + 1


def test_what_redis_does_for_a_job_is_little(admin: redis.Redis, queue: JobQueue, spec: TrainSpec) -> None:
    def commands_of(act: Callable[[], Any]) -> int:
        admin.config_resetstat()
        act()
        stats: Any = admin.info("commandstats")
        return sum(
            each["calls"] for name, each in stats.items() if not name.startswith(("cmdstat_config", "cmdstat_evalsha"))
        )

    train(queue, spec)
    submit(queue, spec)
    held = list[Lease]()
    assert commands_of(lambda: held.append(lease(queue))) <= 35
    assert commands_of(lambda: queue.heartbeat(held[0], report(64))) <= 16
    assert commands_of(lambda: queue.finish(held[0], SUCCESS, report={"progress": report(128)})) <= 34


def test_a_hundred_jobs_are_submitted_in_one_round_trip(queue: JobQueue, spec: TrainSpec, trips: Trips) -> None:
    submit(queue, spec)
    # Whose jobs they are is asked once.
    assert trips(lambda: queue.submit_all([(spec, None)] * 100)) == 2
    assert trips(lambda: queue.submit_all([(spec, None)] * 101)) == 3
    orders = [job.order for job in queue.list_jobs()]
    assert orders == list(range(1, 1 + 1 + 100 + 101))


@pytest.mark.parametrize("each", [1, 10])
def test_however_many_priorities_there_are_the_depth_takes_a_few_looks(
    queue: JobQueue, spec: TrainSpec, trips: Trips, each: int
) -> None:
    priorities = range(0, 101, 10)
    jobs = [spec.model_copy(update={"priority": priority}) for priority in priorities for _ in range(each)]
    queue.submit_all([(job, None) for job in jobs])
    assert trips(queue.depth) <= 5
    assert queue.depth() == dict.fromkeys(priorities, each)


# What dispatchers ask.


@pytest.fixture
def gangs(settings: Settings, queue: JobQueue, spec: TrainSpec) -> Callable[[int], GangWatch]:
    """A watch over so many gangs that run."""

    def make(count: int) -> GangWatch:
        with Leadership(settings) as leadership:
            token = leadership.lead()
        assert token
        found = GangWatch(settings, InMemoryCluster(cpus=100), queue, token, Troubles())
        for _ in range(count):
            submit(queue, spec)
            held = queue.lease(LARGER, LARGER)
            assert held
            assert found.start(held)
        for gang in found.gangs.values():
            gang.phase = Phase.RUNNING
        return found

    return make


def test_a_look_at_running_gangs_takes_one_round_trip(gangs: Callable[[int], GangWatch], trips: Trips) -> None:
    many = gangs(7)
    assert trips(lambda: many.settle(look=True)) == 1
    assert trips(lambda: many.settle(look=False)) == 0
    assert len(many.gangs) == 7


def test_a_gang_that_has_lost_its_job_is_ended_alone(gangs: Callable[[int], GangWatch], queue: JobQueue) -> None:
    some = gangs(3)
    lost = list(some.gangs.values())[1]
    queue.finish(lost.lease, SUCCESS)
    some.settle(look=False)
    assert len(some.gangs) == 3
    some.settle(look=True)
    assert lost.name not in some.gangs
    assert len(some.gangs) == 2


def test_jobs_of_a_sweep_are_submitted_in_one_round_trip(
    settings: Settings, queue: JobQueue, admin: redis.Redis, spec: TrainSpec, trips: Trips
) -> None:
    factor = {"kind": "listed", "key": "recipe.optimiser_g.lr", "values": [1e-4, 2e-4]}
    base = spec.model_copy(update={"evaluate": Evaluate(judging=Judging(samples=100)), "images": 640})
    asked = SweepSpec.model_validate({"base": base, "factors": [factor], "seeds": 10})
    with Leadership(settings) as leadership, SweepQueue(settings) as sweeps:
        token = leadership.lead()
        assert token
        sweep = queue.sweep(submit_sweep(queue, asked))
        jobs = {place: asked.job(asked.settings()[place.setting], place.seed) for place in places(asked)}
        admin.script_flush()  # as a server does that was started anew
        assert sweeps.submit_children(sweep, jobs, None, token) is None
        assert len(set(queue.sweep_jobs(sweep.id))) == len(jobs)
        assert trips(lambda: sweeps.submit_children(sweep, jobs, None, token)) == 1
        assert queue.totals()["submitted"] == len(jobs)
