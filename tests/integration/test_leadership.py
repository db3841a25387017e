"""Several dispatchers and one broker: one of them leads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from ganservice.job import Capacity
from ganservice.leadership import Cluster, Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec

CLUSTER = Cluster(nodes=2, total=Capacity(cpus=8, gpus=1), free=Capacity(cpus=3, gpus=0))
Dispatcher = Callable[[str], Leadership]


@pytest.fixture
def dispatcher(settings: Settings) -> Iterator[Dispatcher]:
    """dispatcher(name): one of several, always the same by the same name; all in one process, as if in containers."""
    with ExitStack() as stack:
        known: dict[str, Leadership] = {}

        def named(name: str) -> Leadership:
            if name not in known:
                known[name] = stack.enter_context(Leadership(settings))
            return known[name]

        yield named


def let_leadership_run_out(admin: redis.Redis) -> None:
    admin.hset("{gan}:leader", "expires_at", 0)


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


def test_a_silent_leader_is_succeeded_and_its_token_is_stale(
    dispatcher: Dispatcher, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    old = dispatcher("a").lead()
    assert old
    let_leadership_run_out(admin)
    assert dispatcher("a").leader() is None
    new = dispatcher("b").lead()
    assert new
    assert new > old
    assert queue.totals()["leader_changes"] == 1
    job_id, _ = queue.submit(spec)
    assert queue.lease(CLUSTER.total, CLUSTER.total, old) is None, "the old leader starts nothing more"
    lease = queue.lease(CLUSTER.total, CLUSTER.total, new)
    assert lease
    assert lease.job_id == job_id
    assert dispatcher("a").lead() is None


def test_a_leader_that_was_late_with_no_successor_stays_it(dispatcher: Dispatcher, admin: redis.Redis) -> None:
    token = dispatcher("a").lead()
    let_leadership_run_out(admin)
    assert dispatcher("a").lead() == token


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
