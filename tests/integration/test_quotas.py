"""What an operator allows each user: how much may wait, how much may run."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from ganservice.cli import ganctl
from ganservice.errors import RequestError
from ganservice.holdings import Holding, Holdings
from ganservice.job import Capacity, State
from ganservice.judging import Judging
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Resources, Subject, TrainSpec
from tests.integration.jobs import CLUSTER, FAILURE, SUCCESS, lease, reap, skip_delay, submit

LARGE = Capacity(cpus=64, gpus=8)
NEEDS = {"cpus": {"cpus_per_worker": 2}, "gpus": {"gpus_per_worker": 2}}


@pytest.fixture
def bob(settings: Settings) -> JobQueue:
    """The same queue, as another user than ada."""
    return JobQueue(settings.model_copy(update={"user": "bob"}))


@pytest.fixture
def allow(admin: redis.Redis) -> Callable[..., None]:
    """allow(user, cpus=2, ...): all that the operator allows a user."""

    def enter(user: str, **limits: Any) -> None:
        admin.hset("{gan}:users", user, json.dumps(limits))

    return enter


def sized(spec: TrainSpec, **needs: int) -> TrainSpec:
    return spec.model_copy(update={"resources": Resources(**needs)})


def holding(settings: Settings, user: str) -> Holding:
    with Holdings(settings) as holdings:
        return holdings.of_users([user])[user]


# What may wait.


def test_no_more_jobs_are_taken_than_may_wait(
    queue: JobQueue, bob: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("ada", jobs_queued=2)
    first, _ = queue.submit(spec, idempotency_key="one")
    submit(queue, spec)
    with pytest.raises(RequestError) as told:
        queue.submit(spec, idempotency_key="three")
    assert str(told.value) == "ada has 2 jobs in the queue, as many as the quota allows; wait, or ask the operator"
    with pytest.raises(RequestError, match="ada has 2 jobs in the queue"):
        queue.submit_all([(spec, "one"), (spec, None)])
    assert queue.submit(spec, idempotency_key="one") == (first, False), "it is there already"
    submit(bob, spec)
    assert lease(queue).job_id == first
    assert queue.submit(spec, idempotency_key="three")[1], "the key was not used up"
    assert len(queue.list_jobs()) == 4


def test_what_a_failure_sends_back_is_not_refused_and_counts(
    queue: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("ada", jobs_queued=1)
    submit(queue, spec)
    held = lease(queue)
    submit(queue, spec)
    assert queue.finish(held, FAILURE) is State.QUEUED
    with pytest.raises(RequestError, match="ada has 2 jobs in the queue"):
        queue.submit(spec)


def test_a_job_is_not_taken_up_again_beyond_the_quota(
    queue: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    cancelled = submit(queue, spec)
    queue.cancel(cancelled)
    allow("ada", jobs_queued=1)
    waiting = submit(queue, spec)
    with pytest.raises(RequestError, match="ada has 1 job in the queue"):
        queue.retry(cancelled)
    queue.cancel(waiting)
    queue.retry(cancelled)


def test_a_training_may_always_have_itself_evaluated(
    settings: Settings, queue: JobQueue, bob: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    trained = submit(queue, spec)
    allow("ada", jobs_queued=0, cpus=1)
    evaluation = EvaluateSpec(
        name="e", recipe=spec.recipe, subject=Subject(job_id=trained, images=8, checkpoint="c"), judging=Judging(),
        resources=Resources(cpus_per_worker=2),
    )  # fmt: skip
    found, _ = bob.submit(evaluation, for_user_of=trained)  # by a worker, whoever that is
    assert bob.get(found).user == "ada"
    assert holding(settings, "ada").jobs_queued == 2
    with pytest.raises(RequestError, match="ada may hold 1 CPU at a time, and the job takes 2"):
        queue.submit(evaluation)


@pytest.mark.parametrize(
    ("quota", "needs", "complaint"),
    [
        ({"cpus": 1}, NEEDS["cpus"], "ada may hold 1 CPU at a time, and the job takes 2; "),
        ({"gpus": 0}, NEEDS["gpus"], "ada may hold 0 GPUs at a time, and the job takes 2; "),
    ],
)
def test_a_job_that_never_fits_the_quota_is_refused(
    quota: dict[str, int],
    needs: dict[str, int],
    complaint: str,
    queue: JobQueue,
    spec: TrainSpec,
    allow: Callable[..., None],
) -> None:
    allow("ada", **quota)
    with pytest.raises(RequestError) as told:
        queue.submit(sized(spec, **needs))
    assert str(told.value) == complaint + "ask for fewer, or ask the operator"


# What may run.


@pytest.mark.parametrize(
    ("quota", "needs", "waits_for"),
    [
        ({"jobs_running": 1}, {}, "ada's quota of 1 running job: 1 is held"),
        ({"cpus": 3}, NEEDS["cpus"], "ada's quota of 3 CPUs: 2 are held"),
        ({"gpus": 2}, NEEDS["gpus"], "ada's quota of 2 GPUs: 2 are held"),
    ],
)
def test_a_job_that_the_quota_holds_back_holds_back_nobody_else(
    quota: dict[str, int], needs: dict[str, int], waits_for: str, request: pytest.FixtureRequest, queue: JobQueue
) -> None:
    bob, spec, allow = map(request.getfixturevalue, ("bob", "spec", "allow"))
    allow("ada", **quota)
    first, second = (submit(queue, sized(spec, **needs)) for _ in range(2))
    other = submit(bob, sized(spec, **needs))
    held = queue.lease(LARGE, LARGE)
    assert held
    assert held.job_id == first
    exactly = Capacity(cpus=needs.get("cpus_per_worker", 1), gpus=needs.get("gpus_per_worker", 0))
    theirs = queue.lease(exactly, LARGE)
    assert theirs
    assert theirs.job_id == other, "what ada's job waits for is free for others"
    assert queue.lease(LARGE, LARGE) is None
    assert queue.get(second).waits_for == waits_for
    queue.finish(held, SUCCESS)
    assert lease(queue, LARGE).job_id == second
    assert queue.get(second).waits_for is None


def test_of_one_user_what_a_job_waits_for_none_behind_it_gets(
    queue: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("ada", gpus=2)
    first, large, small, without = (submit(queue, sized(spec, gpus_per_worker=gpus)) for gpus in (1, 2, 1, 0))
    held = [queue.lease(LARGE, LARGE) for _ in range(3)]
    assert [each and each.job_id for each in held] == [first, without, None], "one of the jobs waits for no GPU"
    assert queue.get(large).waits_for == "ada's quota of 2 GPUs: 1 is held"
    assert queue.get(small).waits_for == "ada's quota of 2 GPUs, which jobs before it wait for"


def test_a_job_that_a_lower_quota_can_never_hold_keeps_none_behind_it(
    queue: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    large, small = submit(queue, sized(spec, cpus_per_worker=2)), submit(queue, spec)
    allow("ada", cpus=1)
    assert lease(queue, LARGE).job_id == small
    assert queue.lease(LARGE, LARGE) is None
    assert queue.get(large).waits_for == "ada's quota of 1 CPU to be raised: it takes 2"


def test_however_many_a_lower_quota_can_never_hold_they_keep_none_behind_them(
    queue: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    large = queue.submit_all([(sized(spec, cpus_per_worker=2), None)] * 60)
    small = submit(queue, spec)
    allow("ada", cpus=1)
    assert lease(queue, LARGE).job_id == small
    waiting = queue.get(large[-1][0])
    assert waiting.waits_for == "ada's quota of 1 CPU to be raised: it takes 2"
    assert waiting.ready_at is not None or waiting.state is State.QUEUED
    allow("ada", cpus=4)
    assert lease(queue, LARGE).job_id == large[0][0], "once it is higher they come at once, in their order"


@pytest.mark.parametrize("way", ["succeeds", "fails", "expires", "is cancelled"])
def test_what_ends_is_held_no_more(
    way: str, settings: Settings, queue: JobQueue, admin: redis.Redis, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("ada", jobs_running=1)
    first, second = submit(queue, spec, max_attempts=1), submit(queue, spec)
    held = lease(queue)
    assert holding(settings, "ada") == Holding(jobs_queued=1, jobs_running=1, cpus=1)
    match way:
        case "succeeds":
            queue.finish(held, SUCCESS)
        case "fails":
            queue.finish(held, FAILURE)
        case "is cancelled":
            queue.cancel(first, now=True)
        case "expires":
            reap(queue)
            skip_delay(admin, first)
            assert lease(queue).job_id == first, "it is before the other"
            queue.cancel(first, now=True)
    assert lease(queue).job_id == second
    assert holding(settings, "ada") == Holding(jobs_running=1, cpus=1)


def test_the_quota_of_everybody_holds_where_a_user_has_none(
    queue: JobQueue, bob: JobQueue, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("*", jobs_queued=1, cpus=1)
    allow("bob", jobs_queued=2)
    for each, count in ((queue, 1), (bob, 2)):
        for _ in range(count):
            submit(each, spec)
        with pytest.raises(RequestError, match="as many as the quota allows"):
            each.submit(spec)
        with pytest.raises(RequestError, match="may hold 1 CPU at a time"):
            each.submit(sized(spec, cpus_per_worker=2))


# What other hands leave.


def test_what_is_damaged_holds_no_quota_for_ever(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    allow("ada", jobs_running=1, jobs_queued=1)
    admin.delete("{gan}:job:" + submit(queue, spec))
    submit(queue, spec)
    admin.hdel("{gan}:job:" + lease(queue).job_id, "user")
    waiting = submit(queue, spec)
    assert lease(queue).job_id == waiting
    assert admin.smembers("{gan}:running_of:ada") == {waiting}
    assert admin.smembers("{gan}:queued_of:ada") == set()


@pytest.mark.parametrize("entry", ["", "no JSON", "[1]", '{"cpus": "many", "jobs_queued": null, "gpus": {}}'])
def test_a_damaged_quota_is_none(entry: str, queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    admin.hset("{gan}:users", "ada", entry)
    job_id = submit(queue, spec)
    assert lease(queue).job_id == job_id


def test_a_job_of_no_user_has_no_quota(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, allow: Callable[..., None]
) -> None:
    """As an earlier release wrote it."""
    allow("*", jobs_running=0)
    job_id = submit(queue, spec)
    admin.hdel("{gan}:job:" + job_id, "user")
    admin.rename("{gan}:ready_of:ada", "{gan}:ready")
    assert [job.id for job in queue.head(9)] == [job_id]
    held = lease(queue)
    assert held.job_id == job_id
    assert queue.finish(held, SUCCESS) is State.SUCCEEDED


def test_a_job_of_a_user_that_an_earlier_release_put_into_the_one_queue_leaves_it(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    admin.rename("{gan}:ready_of:ada", "{gan}:ready")
    assert lease(queue).job_id == job_id
    assert admin.zcard("{gan}:ready") == 0


def test_the_queue_of_several_users_has_one_order(queue: JobQueue, bob: JobQueue, spec: TrainSpec) -> None:
    submitted = [submit(each, spec, priority=priority) for priority in (50, 60) for each in (queue, bob, queue)]
    expected = submitted[3:] + submitted[:3]
    assert [job.id for job in queue.head(9)] == expected
    assert [job.id for job in queue.head(2)] == expected[:2]
    assert [lease(queue).job_id for _ in submitted] == expected
    assert queue.lease(CLUSTER, CLUSTER) is None


# What an operator types.


def test_an_operator_sets_and_sees_quotas(
    settings: Settings, queue: JobQueue, bob: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.require_broker())

    def give(*arguments: str) -> Result:
        return CliRunner().invoke(ganctl, ["quota", *arguments], catch_exceptions=False)

    for each in (queue, queue, bob):
        submit(each, spec)
    lease(queue)
    assert "ada" in give("set", "ada", "--queued", "50", "--cpus", "16").stderr
    give("set", "ada", "--running", "4")
    give("set", "*", "--queued", "10", "--gpus", "0")
    assert [row.split() for row in give("show").stdout.splitlines()] == [
        ["USER", "QUEUED", "RUNNING", "CPUS", "GPUS"],
        ["*", "0/10", "0", "0", "0/0"],
        ["ada", "1/50", "1/4", "1/16", "0/0"],
        ["bob", "1/10", "0", "0", "0/0"],
    ]
    give("set", "ada", "--clear", "--gpus", "2")
    [told] = json.loads(give("show", "ada", "-o", "json").stdout)["users"]
    assert told == {
        "user": "ada",
        "jobs_queued": {"used": 1, "limit": 10},
        "jobs_running": {"used": 1, "limit": None},
        "cpus": {"used": 1, "limit": None},
        "gpus": {"used": 0, "limit": 2},
    }
    for wrong in (["set", "ada"], ["set", "a b", "--cpus", "1"]):
        with pytest.raises(RequestError):
            give(*wrong)
