"""Round trips to the broker, counted, so that they do not grow again unseen."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from redis.connection import AbstractConnection

from ganservice.job import Capacity
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.cluster import InMemoryCluster
from tests.integration.jobs import SUCCESS, lease, report, submit
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
