"""Several dispatchers and one broker: one of them leads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from ganservice.errors import LeadershipLost
from ganservice.job import Capacity
from ganservice.leadership import Cluster, Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.jobs import FAILURE, lease, submit

CLUSTER = Cluster(nodes=2, total=Capacity(cpus=8, gpus=1), free=Capacity(cpus=3, gpus=0))
Dispatcher = Callable[[str], Leadership]


@pytest.fixture
def dispatcher(dispatching: Settings) -> Iterator[Dispatcher]:
    """dispatcher(name): one of several, always the same by the same name; all in one process, as if in containers."""
    with ExitStack() as stack:
        known: dict[str, Leadership] = {}

        def named(name: str) -> Leadership:
            if name not in known:
                known[name] = stack.enter_context(Leadership(dispatching))
            return known[name]

        yield named


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks twice and has not seen the leader ask in between succeeds it."""
    monkeypatch.setattr("ganservice.leadership.LEADERSHIP_S", 1e-3)


def test_the_first_to_ask_leads_and_stays_leader(dispatcher: Dispatcher, queue: JobQueue) -> None:
    token = dispatcher("a").lead(CLUSTER)
    assert token
    assert dispatcher("b").lead(CLUSTER.model_copy(update={"nodes": 9})) is None
    assert dispatcher("a").lead(CLUSTER) == token
    assert len(dispatcher("a").dispatchers()) == 2
    leader = dispatcher("a").leader()
    assert leader
    assert leader.owner == dispatcher("a").owner
    assert leader.looked_at == pytest.approx(queue.now_s(), abs=60)
    assert dispatcher("a").cluster() == CLUSTER, "what one that waits sees is not told"
    assert "leader_changes" not in queue.totals()


@pytest.mark.usefixtures("impatient")
def test_a_silent_leader_is_succeeded_and_its_token_is_stale(
    dispatcher: Dispatcher, queue: JobQueue, spec: TrainSpec, eventually: Callable[..., Any]
) -> None:
    old = dispatcher("a").lead()
    assert old
    assert dispatcher("b").lead() is None, "it has only just been seen"
    new = eventually(dispatcher("b").lead)
    assert new > old
    assert queue.totals()["leader_changes"] == 1
    job_id, _ = queue.submit(spec)
    with pytest.raises(LeadershipLost):
        queue.lease(CLUSTER.total, CLUSTER.total, old)
    held = queue.lease(CLUSTER.total, CLUSTER.total, new)
    assert held
    assert held.job_id == job_id
    assert dispatcher("a").lead() is None


def test_a_leader_that_asks_stays_it_whatever_the_clock_of_the_broker_says(
    dispatcher: Dispatcher, admin: redis.Redis
) -> None:
    token = dispatcher("a").lead()
    for expires_at in (0, 10**15):  # the clock stepped forward, and back
        admin.hset("{gan}:leader", "expires_at", expires_at)
        assert dispatcher("b").lead() is None
        assert dispatcher("a").lead() == token


@pytest.mark.usefixtures("impatient")
def test_a_dead_leader_is_succeeded_although_the_clock_has_stepped_back(
    dispatcher: Dispatcher, admin: redis.Redis, eventually: Callable[..., Any]
) -> None:
    dispatcher("a").lead()
    admin.hset("{gan}:leader", "expires_at", 10**15)
    assert eventually(dispatcher("b").lead)


@pytest.mark.parametrize(
    "act",
    [
        lambda queue, _, token: queue.reap(queue.leases(), token),
        lambda queue, held, token: queue.finish(held, FAILURE, leadership=token),
        lambda queue, held, token: queue.heartbeat(held, leadership=token),
        lambda queue, held, token: queue.ask_to_yield(held, token),
    ],
    ids=["reap", "finish", "heartbeat", "yield"],
)
def test_one_that_leads_no_more_changes_nothing(
    dispatcher: Dispatcher, queue: JobQueue, admin: redis.Redis, spec: TrainSpec, act: Callable[..., Any]
) -> None:
    old = dispatcher("a").lead()
    assert old
    dispatcher("a").resign(old)
    dispatcher("b").lead()
    job_id = submit(queue, spec)
    held = lease(queue)
    before = admin.hgetall("{gan}:job:" + job_id)
    with pytest.raises(LeadershipLost):
        act(queue, held, old)
    assert admin.hgetall("{gan}:job:" + job_id) == before


def test_a_leader_that_resigns_is_succeeded_at_once(dispatcher: Dispatcher, queue: JobQueue) -> None:
    token = dispatcher("a").lead()
    assert token
    dispatcher("a").resign(token)
    assert dispatcher("a").leader() is None
    assert dispatcher("a").dispatchers() == []
    new = dispatcher("b").lead()
    assert new
    dispatcher("a").resign(token)  # too late to matter
    assert dispatcher("b").lead() == new
    assert queue.totals()["leader_changes"] == 1
