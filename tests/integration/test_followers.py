"""Jobs that run after another one: when they may, and what becomes of them when that one never succeeds."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pydantic import SecretStr

from ganservice.errors import RequestError
from ganservice.job import Reason, State
from ganservice.queue import JobQueue
from ganservice.roles import Role, rights
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.users import UserRecord, Users
from tests.integration.conftest import Submitter
from tests.integration.jobs import CLUSTER, FAILURE, SUCCESS, TROUBLE, lease, reap, skip_delay, submit


def follow(queue: JobQueue, spec: TrainSpec, after: str, **changes: Any) -> str:
    return queue.submit(spec.model_copy(update=changes), after=after)[0]


def places_of(admin: redis.Redis, job_id: str) -> list[str]:
    """The sets and sorted sets of the queue in which a job waits."""
    found = []
    for key in admin.scan_iter("{gan}:*"):
        name, kind = key.removeprefix("{gan}:"), admin.type(key)
        if kind == "set" and admin.sismember(key, job_id):
            found.append(name)
        if kind == "zset" and admin.zscore(key, job_id) is not None:
            found.append(name)
    return sorted(set(found) - {"jobs", "ids", "named:tiny", "jobs_of:ada"})


def test_a_follower_runs_once_the_other_has_succeeded(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first, priority="high")
    job = queue.get(follower)
    assert (job.state, job.after, job.waits_for) == (State.QUEUED, first, f"{first} to succeed")
    waits = [f"followers:{first}", "following_of:ada", "queued_of:ada", "state:queued", "waiting"]
    assert places_of(admin, follower) == waits
    assert follower in [job.id for job in queue.list_jobs(most_queued=10)]

    held = lease(queue)
    assert held.job_id == first
    assert queue.lease(CLUSTER, CLUSTER) is None
    queue.finish(held, TROUBLE)
    skip_delay(admin, first)
    held = lease(queue)
    assert held.job_id == first, "a retry is no success"
    queue.finish(held, SUCCESS)
    job = queue.get(follower)
    assert job.waits_for is None
    assert job.ready_at == queue.get(first).finished_at, "it could not have been leased before"
    assert places_of(admin, follower) == ["queued_of:ada", "ready_of:ada", "state:queued"]
    assert lease(queue).job_id == follower


def test_what_waits_for_another_waits_for_no_dispatcher(queue: JobQueue, spec: TrainSpec) -> None:
    first = submit(queue, spec, max_attempts=1)
    follower = follow(queue, spec, first)
    assert queue.get(follower).ready_at is None
    assert (queue.depth().total(), queue.waits_since()) == (1, queue.get(first).ready_at), (
        "alerts on long waits look at these"
    )
    queue.finish(lease(queue), FAILURE)
    queue.retry(first)
    queue.retry(follower)
    assert queue.get(follower).ready_at is None
    assert (queue.depth().total(), queue.waits_since()) == (1, queue.get(first).ready_at)


def test_one_that_has_succeeded_already_is_not_waited_for(queue: JobQueue, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    queue.finish(lease(queue), SUCCESS)
    follower = follow(queue, spec, first)
    assert queue.get(follower).after == first
    assert lease(queue).job_id == follower


@pytest.mark.parametrize("ends", ["fails", "is cancelled", "is cancelled while it waits", "is deleted by another hand"])
def test_all_that_wait_are_cancelled_where_it_never_succeeds(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, ends: str
) -> None:
    first = submit(queue, spec, max_attempts=1)
    follower = follow(queue, spec, first)
    last = follow(queue, spec, follower)
    if ends == "is cancelled while it waits":
        queue.cancel(first)
    elif ends == "is deleted by another hand":
        admin.delete(f"{{gan}}:job:{first}")
        assert queue.lease(CLUSTER, CLUSTER) is None
    else:
        held = lease(queue)
        if ends == "fails":
            queue.finish(held, FAILURE)
        else:
            queue.cancel(first, now=True)
    told = {"fails": "has failed", "is deleted by another hand": "is gone"}.get(ends, "is cancelled")
    job = queue.get(follower)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert job.message == f"cancelled: {first}, after which it is to run, {told}"
    assert queue.get(last).message == f"cancelled: {follower}, after which it is to run, is cancelled"
    assert queue.lease(CLUSTER, CLUSTER) is None
    for job_id in (follower, last):
        assert places_of(admin, job_id) == ["state:cancelled"]
        assert admin.pttl(f"{{gan}}:job:{job_id}") > 0


def test_a_job_that_is_reaped_and_given_up_takes_its_followers_along(queue: JobQueue, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    lease(queue)
    queue.cancel(first)
    reap(queue)
    assert queue.get(first).state is State.CANCELLED
    assert queue.get(follower).state is State.CANCELLED


def test_a_follower_is_retried_after_the_other(queue: JobQueue, spec: TrainSpec) -> None:
    first = submit(queue, spec, max_attempts=1)
    follower = follow(queue, spec, first)
    queue.finish(lease(queue), FAILURE)
    with pytest.raises(RequestError) as told:
        queue.retry(follower)
    assert str(told.value) == (
        f"{follower} cannot run: {first}, after which it is to run, has failed; `ganctl retry` that one first"
    )
    queue.retry(first)
    queue.retry(follower)
    assert queue.get(follower).waits_for == f"{first} to succeed"
    queue.finish(lease(queue), SUCCESS)
    assert lease(queue).job_id == follower


def test_one_that_has_run_does_not_wait_again(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first, max_attempts=1)
    queue.finish(lease(queue), SUCCESS)
    queue.finish(lease(queue), FAILURE)
    assert queue.delete(first)
    queue.retry(follower)
    assert places_of(admin, follower) == ["queued_of:ada", "ready_of:ada", "state:queued"]


def test_a_cancelled_follower_leaves_nothing_behind(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    queue.cancel(follower)
    assert places_of(admin, follower) == ["state:cancelled"]
    queue.finish(lease(queue), SUCCESS)
    assert queue.get(follower).state is State.CANCELLED


@pytest.mark.parametrize(
    ("state", "told"), [("failed", "has failed"), ("cancelled", "is cancelled"), (None, "is gone")]
)
def test_nothing_is_submitted_after_what_never_succeeds(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, state: str | None, told: str
) -> None:
    first = submit(queue, spec, max_attempts=1)
    if state == "failed":
        queue.finish(lease(queue), FAILURE)
    else:
        queue.cancel(first)
    if state is None:
        queue.delete(first)
    with pytest.raises(RequestError) as error:
        follow(queue, spec, first)
    assert str(error.value) == f"{first}, after which it is to run, {told}"
    assert not admin.exists(f"{{gan}}:followers:{first}")


def test_no_more_jobs_wait_for_others_than_a_script_can_end_at_once(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    admin.sadd("{gan}:following_of:ada", *(f"job-{place}" for place in range(1_000)))
    with pytest.raises(RequestError) as error:
        follow(queue, spec, first)
    assert str(error.value) == "1000 jobs wait for others already, as many as may; wait for some of them"
    assert len(queue.list_ids()) == 1


def test_a_retry_adds_none_to_as_many_as_may_wait(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    queue.cancel(follower)
    admin.sadd("{gan}:following_of:ada", *(f"job-{place}" for place in range(1_000)))
    with pytest.raises(RequestError, match="1000 jobs wait for others already, as many as may"):
        queue.retry(follower)
    assert places_of(admin, follower) == ["state:cancelled"]


def test_a_job_that_names_a_follower_runs_it_at_once(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    assert queue.take(follower).job_id == follower
    assert places_of(admin, follower) == ["running_of:ada", "state:running"]


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_may_have_a_job_follow_another(
    submitter: Submitter, queue: JobQueue, settings: Settings, spec: TrainSpec
) -> None:
    bob, first = submitter("bob"), submit(queue, spec)
    with Users(settings) as users:
        users.put("bob", UserRecord(jobs_queued=1))
    follower = follow(bob, spec, first)
    job = queue.get(follower)
    assert (job.user, job.after) == ("bob", first)
    with pytest.raises(RequestError, match="bob has 1 job in the queue, as many as the quota allows"):
        follow(bob, spec, first)


def test_what_another_hand_puts_in_the_place_of_followers_ends_no_script(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    admin.set(f"{{gan}}:followers:{first}", follower)
    queue.finish(lease(queue), SUCCESS)
    assert queue.get(first).state is State.SUCCEEDED
    assert queue.cancel(follower) is State.CANCELLED


def test_what_another_hand_puts_there_once_a_follower_may_run_does_not_keep_it(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    follower = follow(queue, spec, first)
    queue.finish(lease(queue), SUCCESS)
    admin.set(f"{{gan}}:followers:{first}", follower)
    assert lease(queue).job_id == follower


def test_a_follower_that_has_lost_whom_it_waits_for_is_not_counted_for_ever(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    follower = follow(queue, spec, submit(queue, spec))
    admin.hdel(f"{{gan}}:job:{follower}", "after")
    queue.cancel(follower)
    assert not admin.exists("{gan}:following_of:ada")


@pytest.fixture
def patient(settings: Settings, admin: redis.Redis) -> Iterator[JobQueue]:
    """A client that waits minutes for an answer, with the rights of an earlier release: it can leave nothing over."""
    url = urlsplit(settings.require_broker())
    former = [right for right in rights(Role.DISPATCHER, "former").split() if right != "~{gan}:ended"]
    acl: Any = admin
    acl.execute_command("ACL", "SETUSER", "former", "on", ">secret", *former)
    address = SecretStr(f"redis://former:secret@{url.hostname}:{url.port}/0?socket_timeout=300")
    with JobQueue(settings.model_copy(update={"broker_url": address})) as queue:
        yield queue
    acl.execute_command("ACL", "DELUSER", "former")


def chain_of(queue: JobQueue, admin: redis.Redis, spec: TrainSpec, length: int) -> list[str]:
    """A job, and as many that wait for one another. Of one user there are a thousand at most, but each may wait for
    another user's."""
    chain = [submit(queue, spec), *(f"tiny-{number}" for number in range(length))]
    with admin.pipeline(transaction=False) as pipeline:
        for after, job_id in pairwise(chain):
            waiting: dict[Any, Any] = {"state": "queued", "priority": 50, "order": 9, "after": after, "attempt": 0}
            pipeline.hset(f"{{gan}}:job:{job_id}", mapping=waiting)
            pipeline.sadd(f"{{gan}}:followers:{after}", job_id)
        pipeline.execute()
    return chain


def cancelled(admin: redis.Redis, ids: list[str]) -> int:
    with admin.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hget(f"{{gan}}:job:{job_id}", "state")
        return pipeline.execute().count("cancelled")


@pytest.mark.parametrize("length", [3, 10_100])
def test_however_long_a_chain_of_followers_is_all_are_cancelled(
    queue: JobQueue, patient: JobQueue, admin: redis.Redis, spec: TrainSpec, length: int
) -> None:
    """Lua calls 10,000 deep."""
    chain = chain_of(queue, admin, spec, length)
    assert patient.cancel(chain[0]) is State.CANCELLED
    assert cancelled(admin, chain) == len(chain)


def test_what_one_script_does_of_a_long_chain_is_bounded(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    assert queue.lease(CLUSTER, CLUSTER) is None, "the script is loaded"
    chain = chain_of(queue, admin, spec, 450)
    assert queue.cancel(chain[0]) is State.CANCELLED
    assert cancelled(admin, chain) == 101
    assert admin.scard("{gan}:ended") == 1
    stats: Any = admin
    stats.config_resetstat()
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert stats.info("commandstats")["cmdstat_evalsha"]["calls"] == 4
    assert cancelled(admin, chain) == len(chain)
    assert not admin.exists("{gan}:ended", *(f"{{gan}}:followers:{job_id}" for job_id in chain))


def test_however_many_wait_for_a_job_all_may_run_in_their_order(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    held = lease(queue)
    followers = [follow(queue, spec, first) for _ in range(250)]
    urgent = follow(queue, spec, first, priority="high")
    queue.finish(held, SUCCESS)
    assert admin.zcard("{gan}:ready_of:ada") == 100
    leased = [lease(queue).job_id for _ in range(251)]
    assert leased == [urgent, *followers]
    assert admin.zcard("{gan}:waiting") == 0


def test_those_left_over_wait_on_where_the_other_is_retried_at_once(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    first = submit(queue, spec)
    followers = [follow(queue, spec, first) for _ in range(150)]
    queue.cancel(first)
    queue.retry(first)
    assert lease(queue).job_id == first
    assert cancelled(admin, followers) == 100
    assert admin.scard(f"{{gan}}:followers:{first}") == 50


def test_what_another_hand_puts_in_the_place_of_those_left_over_holds_up_no_look(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    admin.set("{gan}:ended", "no set")
    job_id = submit(queue, spec)
    assert lease(queue).job_id == job_id
    assert not admin.exists("{gan}:ended")
    admin.sadd("{gan}:ended", "no-job-of-ours", job_id, "odd")
    admin.set("{gan}:followers:odd", "no set")
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert not admin.exists("{gan}:ended")
