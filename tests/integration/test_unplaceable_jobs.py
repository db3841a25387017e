"""Jobs that the cluster could not hold: a look does not come to them, and nothing else is changed by that."""

from collections.abc import Callable
from typing import Any

import redis

from ganservice.job import Capacity, Lease
from ganservice.queue import JobQueue
from ganservice.spec import Resources, TrainSpec
from tests.integration.jobs import CLUSTER, lease, submit

FULL = Capacity(cpus=0, gpus=0)
LARGER = Capacity(cpus=64, gpus=8)
TOO_LARGE = Resources(cpus_per_worker=5)


def lease_of_all(queue: JobQueue) -> Lease:
    """A lease of a larger cluster, all of which is free."""
    found = queue.lease(LARGER, LARGER)
    assert found
    return found


def commands_of_a_look(admin: redis.Redis, queue: JobQueue) -> int:
    """How many commands Redis carries out to find that nothing fits."""
    admin.config_resetstat()
    assert queue.lease(CLUSTER, CLUSTER) is None
    stats: Any = admin.info("commandstats")
    return sum(each["calls"] for each in stats.values())


def test_a_look_costs_the_same_however_many_jobs_the_cluster_could_not_hold(
    admin: redis.Redis, queue: JobQueue, spec: TrainSpec
) -> None:
    costs = []
    for count in (1, 300):
        for _ in range(count):
            submit(queue, spec, resources=TOO_LARGE)
        assert queue.lease(CLUSTER, CLUSTER) is None
        costs.append(commands_of_a_look(admin, queue))
    assert costs[0] == costs[1]


def test_a_job_that_the_cluster_cannot_hold_keeps_its_place(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first, second = (submit(queue, spec, resources=TOO_LARGE) for _ in range(2))
    small, urgent = submit(queue, spec), submit(queue, spec, resources=TOO_LARGE, priority="high")
    assert lease(queue, CLUSTER).job_id == small
    for job_id in (first, second, urgent):
        job = queue.get(job_id)
        assert (job.unplaceable, job.waiting_for) == (True, "5 CPUs; the cluster has 4 CPUs and 1 GPU")
    later = submit(queue, spec)
    order = [urgent, first, second, later]
    assert [job.id for job in queue.head(10)] == order
    assert [job.id for job in queue.head(2)] == order[:2]
    assert [job.id for job in queue.list_jobs(most_queued=2) if job.state == "queued"] == [first, urgent]
    # A larger cluster is full: the first holds back what it waits for, and is told so.
    assert queue.lease(FULL, LARGER) is None
    assert (queue.get(first).unplaceable, queue.get(first).waiting_for) == (False, "5 CPUs to be free")
    assert [lease_of_all(queue).job_id for _ in order] == order
    assert admin.zcard("{gan}:ready_of:ada") == 0


def test_one_that_is_given_another_priority_keeps_to_it(queue: JobQueue, spec: TrainSpec) -> None:
    first, second = (submit(queue, spec, resources=TOO_LARGE) for _ in range(2))
    for _ in range(2):
        assert queue.lease(CLUSTER, CLUSTER) is None
        queue.prioritise(second, 90)
        assert [job.id for job in queue.head(2)] == [second, first]
    assert [lease_of_all(queue).job_id for _ in range(2)] == [second, first]


def test_one_that_is_cancelled_leaves_the_queue(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec, resources=TOO_LARGE)
    assert queue.lease(CLUSTER, CLUSTER) is None
    queue.cancel(job_id)
    assert admin.zcard("{gan}:ready_of:ada") == 0


def test_one_that_another_hand_has_damaged_meanwhile_is_found_after_a_while(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec, resources=TOO_LARGE)
    assert queue.lease(CLUSTER, CLUSTER) is None
    admin.hdel("{gan}:job:" + job_id, "priority", "cpus")
    assert 0 < admin.pttl("{gan}:aside") <= 60_000
    admin.delete("{gan}:aside")
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.state_of(job_id) == "failed"


# Long looks, which are several scripts.

MANY, ROOM = 450, Capacity(cpus=4_000, gpus=0)
WITH_GPU = Resources(cpus_per_worker=1, gpus_per_worker=1)
WITH_GPUS = Capacity(cpus=4_000, gpus=1_000)


def scripts_of(admin: Any, act: Callable[[], Any]) -> int:
    admin.config_resetstat()
    act()
    return int(admin.info("commandstats")["cmdstat_evalsha"]["calls"])


def submit_many(queue: JobQueue, spec: TrainSpec, resources: Resources) -> list[str]:
    each = spec.model_copy(update={"resources": resources})
    assert queue.lease(CLUSTER, CLUSTER) is None, "the script is loaded"
    return [job_id for job_id, _ in queue.submit_all([(each, None)] * MANY)]


def test_a_small_job_passes_all_that_wait_and_no_script_goes_through_them_all(
    admin: redis.Redis, queue: JobQueue, spec: TrainSpec
) -> None:
    waiting = submit_many(queue, spec, WITH_GPU)
    small = submit(queue, spec)
    found = list[Lease | None]()
    assert scripts_of(admin, lambda: found.append(queue.lease(ROOM, WITH_GPUS))) == 3
    assert found[0]
    assert found[0].job_id == small
    # What each of those before it waits for is free for no other.
    last = submit(queue, spec)
    assert queue.lease(Capacity(cpus=MANY, gpus=0), WITH_GPUS) is None
    found.append(queue.lease(Capacity(cpus=MANY + 1, gpus=0), WITH_GPUS))
    assert found[1]
    assert found[1].job_id == last
    assert queue.get(waiting[-1]).waiting_for == "1 CPU and 1 GPU to be free"
    assert [queue.lease(WITH_GPUS, WITH_GPUS) and job_id for job_id in waiting] == waiting


def test_a_quota_holds_from_script_to_script(admin: redis.Redis, queue: JobQueue, spec: TrainSpec) -> None:
    admin.hset("{gan}:users", "ada", '{"gpus": 420}')
    waiting = submit_many(queue, spec, WITH_GPU)
    assert queue.lease(ROOM, WITH_GPUS) is None
    assert queue.get(waiting[419]).waiting_for == "1 CPU and 1 GPU to be free"
    assert queue.get(waiting[420]).waiting_for == "ada's quota of 420 GPUs, which jobs before it wait for"


def test_many_that_the_cluster_could_not_hold_go_aside_and_come_back_in_shares(
    admin: redis.Redis, queue: JobQueue, spec: TrainSpec
) -> None:
    large = submit_many(queue, spec, TOO_LARGE)
    urgent = submit(queue, spec, resources=TOO_LARGE, priority="high")
    assert scripts_of(admin, lambda: queue.lease(CLUSTER, CLUSTER)) == 3
    assert scripts_of(admin, lambda: queue.lease(CLUSTER, CLUSTER)) == 1
    found = list[Lease]()
    assert scripts_of(admin, lambda: found.append(lease_of_all(queue))) == 3
    assert [lease.job_id for lease in found] == [urgent]
    assert [lease_of_all(queue).job_id for _ in range(3)] == large[:3]


def test_one_whose_order_is_damaged_comes_back_once(admin: redis.Redis, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec, resources=TOO_LARGE)
    assert queue.lease(CLUSTER, CLUSTER) is None
    admin.hset("{gan}:job:" + job_id, "order", 2**52)
    admin.delete("{gan}:aside")
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert lease_of_all(queue).job_id == job_id


def test_many_whose_delay_is_over_are_leased_in_their_order(
    admin: redis.Redis, queue: JobQueue, spec: TrainSpec
) -> None:
    ids = submit_many(queue, spec, WITH_GPU)
    urgent = submit(queue, spec, resources=WITH_GPU, priority="high")
    for place, job_id in enumerate([*ids, urgent]):
        admin.zrem("{gan}:ready_of:ada", job_id)
        admin.zadd("{gan}:delayed", {job_id: MANY - place})
    leased = [found.job_id for _ in range(3) if (found := queue.lease(WITH_GPUS, WITH_GPUS))]
    assert leased == [urgent, *ids[:2]]
    assert admin.zcard("{gan}:delayed") == 0
