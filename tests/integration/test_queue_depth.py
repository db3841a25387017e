"""How many jobs wait and for how long, told by their places in the queue."""

from typing import Any

import pytest
import redis

from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from tests.integration.jobs import CLUSTER, FAILURE, lease, submit
from tests.integration.scraping import Scrape

MANY = 600
TOO_LARGE = Resources(cpus_per_worker=5)


def calls(admin: redis.Redis, *commands: str) -> int:
    """How often Redis has carried out these commands."""
    statistics: Any = admin.info("commandstats")
    return sum(int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"]) for command in commands)


def test_a_first_scrape_reads_no_more_where_many_wait(
    scrape: Scrape, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    urgent = spec.model_copy(update={"priority": "high"})
    queue.submit_all([(spec, None)] * MANY + [(urgent, None)] * 2)
    admin.config_resetstat()
    found = scrape()
    assert found["queue_depth"] == {("low",): 0, ("normal",): MANY, ("high",): 2}
    assert calls(admin, "hget", "hmget") <= 100


def test_all_that_wait_for_room_or_a_delay_are_counted_by_priority(
    settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    assert queue.depth() == {}
    submit(queue, spec, max_attempts=3)
    queue.finish(lease(queue), FAILURE)  # and waits for its second try
    submit(queue, spec, priority=7)
    submit(queue, spec, priority=7, resources=TOO_LARGE)
    with JobQueue(settings.model_copy(update={"user": "grace"})) as theirs:
        submit(theirs, spec, priority=100)
        submit(theirs, spec, priority=0, resources=TOO_LARGE)
    running = [lease(queue).job_id for _ in range(2)]
    assert queue.lease(CLUSTER, CLUSTER) is None, "those that the cluster cannot hold are put aside"
    assert queue.depth() == {spec.priority_number: 1, 7: 1, 0: 1}
    queue.submit(spec, after=running[0])
    assert queue.depth().total() == 3, "one that waits for another is not counted"


def test_places_that_another_hand_has_made_are_not_counted(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    submit(queue, spec)
    admin.zadd("{gan}:ready_of:ada", {"a": -1.0, "b": 2.0**47, "c": 2.0**49, "d": float("inf"), "e": float("-inf")})
    assert queue.depth() == {spec.priority_number: 1}


@pytest.mark.parametrize("is_late", [False, True])
def test_who_was_delayed_waits_since_the_end_of_the_delay(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, is_late: bool
) -> None:
    first, second = (submit(queue, spec, max_attempts=3) for _ in range(2))
    queue.finish(lease(queue), FAILURE)
    assert queue.waits_since() == queue.get(second).ready_at, "the first is delayed"
    if is_late:  # nobody has looked for a job for an hour
        ready_ms = int(queue.now_s() - 3_600) * 1000
        admin.zadd("{gan}:delayed", {first: ready_ms})
        admin.hset("{gan}:job:" + first, "ready_at", ready_ms)
        admin.hset("{gan}:pause", "by", "ada")
        assert queue.lease(CLUSTER, CLUSTER) is None
        assert queue.waits_since() == queue.get(first).ready_at == ready_ms / 1000


def test_the_longest_wait_is_told_where_an_earlier_release_has_queued_jobs_by_the_time_they_came(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    delayed, later, longest, last = (submit(queue, spec) for _ in range(4))
    now_ms = int(queue.now_s() * 1000)
    # By when they came to their state; from when on they may be leased; the second as another hand has it.
    for job_id, came_ms, ready_ms in (
        (delayed, now_ms - 9_000, now_ms + 60_000),
        (later, now_ms - 8_000, 10**15),
        (longest, now_ms - 7_000, now_ms - 6_000),
        (last, now_ms - 5_000, now_ms - 5_000),
    ):
        admin.zadd("{gan}:state:queued", {job_id: came_ms})
        admin.hset("{gan}:job:" + job_id, "ready_at", ready_ms)
    assert queue.waits_since() == (now_ms - 6_000) / 1000
    admin.zadd("{gan}:state:queued", {f"gone-{number}": 1 for number in range(1_200)})
    admin.config_resetstat()
    assert queue.waits_since() == (now_ms - 6_000) / 1000
    assert calls(admin, "zrange") <= 3, "pages are large where the first jobs tell nothing"


def test_one_that_is_gone_has_not_waited_longest(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    admin.zadd("{gan}:state:queued", {"gone-1": 0})
    assert queue.waits_since() == queue.get(job_id).ready_at
    assert lease(queue).job_id == job_id
    assert queue.waits_since() is None
