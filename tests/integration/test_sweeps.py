"""Sweeps on a real broker: a dispatcher without Ray advances them, dies at any step, and is succeeded by another."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from redis.connection import Connection

from ganservice.errors import (
    IllegalTransition,
    JobNotFound,
    JobUnreadable,
    LeadershipLost,
    RequestError,
    RightMissing,
    SpecInvalid,
)
from ganservice.job import Lease, Outcome, Reason, State
from ganservice.job_hash import FORMAT
from ganservice.judging import Judging
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.sweep import Place, SweepSpec
from ganservice.sweep_queue import SweepQueue
from ganservice.sweeps import Sweep
from ganservice.users import UserRecord, Users
from tests.integration.broker import Broker
from tests.integration.cluster import InMemoryCluster
from tests.integration.conftest import Submitter
from tests.integration.jobs import CLUSTER, SUCCESS, checkpoint, evaluation, lease, report, submit, submit_sweep
from tests.integration.scraping import Scrape
from workers.dispatch import sweeps
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.sweeps import SweepWatch
from workers.dispatch.troubles import Troubles

GRID = [
    {"kind": "listed", "key": "recipe.optimiser_g.lr", "values": [1e-4, 2e-4]},
    {"kind": "listed", "key": "recipe.d_steps", "values": [1, 2]},
]
HALTED = Outcome(reason=Reason.HALTED, message="as far as its sweep lets it")


@pytest.fixture(autouse=True)
def _every_round_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "LOOK_SHARE", 1e9)


@pytest.fixture
def base(spec: TrainSpec) -> TrainSpec:
    return spec.model_copy(update={"evaluate": Evaluate(judging=Judging(samples=100)), "images": 640})


@pytest.fixture
def sweep(base: TrainSpec) -> Callable[..., SweepSpec]:
    return lambda **keys: SweepSpec.model_validate({"base": base, "factors": GRID} | keys)


@pytest.fixture
def watch(dispatching: Settings) -> Iterator[Callable[[], None]]:
    """One look of a dispatcher at all sweeps, with no more rights than it needs; each time of another one."""
    with Leadership(dispatching) as leadership:
        token = leadership.lead()
        assert token

        def look() -> None:
            SweepWatch(dispatching, Troubles()).advance(token)

        yield look


def jobs_of(queue: JobQueue, sweep_id: str) -> dict[str, str]:
    """The jobs of a sweep, by place."""
    return {str(child.place): child.job_id for child in queue.children(queue.sweep(sweep_id))}


def judge(queue: JobQueue, admin: redis.Redis, held: Lease, distance: float) -> None:
    """Have a job train as far as it may, and an evaluation find this distance there."""
    images, job = held.until_images or 640, queue.get(held.job_id)
    before = job.checkpoint.images if job.checkpoint else 0
    queue.heartbeat(held, report(images), checkpoint=checkpoint(images), trained_images=images - before)
    found = evaluation(held.job_id, images, distance)
    admin.hset(f"{{gan}}:evaluations:{held.job_id}", f"{images:012d}/x", found.model_dump_json())


def distance_of(queue: JobQueue, held: Lease) -> float:
    """The lower the setting, the better."""
    [place] = [place for place, job_id in jobs_of(queue, sweep_of(queue, held)).items() if job_id == held.job_id]
    setting, _, seed = place.partition("/")
    return 100.0 * int(setting) + int(seed) + 1000.0 / (held.until_images or 640)


def sweep_of(queue: JobQueue, held: Lease) -> str:
    sweep_id = queue.get(held.job_id).sweep
    assert sweep_id
    return sweep_id


@pytest.fixture
def work(queue: JobQueue, admin: redis.Redis) -> Callable[[], int]:
    """work(): do all that may be leased, as workers would. Returns how many attempts that took."""

    def attempts() -> int:
        count = 0
        while held := queue.lease(CLUSTER, CLUSTER):
            assert isinstance(held.spec, TrainSpec)
            judge(queue, admin, held, distance_of(queue, held))
            is_done = held.end_images(held.spec) >= held.spec.total_images
            queue.finish(held, SUCCESS if is_done else HALTED)
            count += 1
        return count

    return attempts


# What becomes of a sweep.


def test_a_grid_is_submitted_and_ends_with_its_jobs(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    admin: redis.Redis,
) -> None:
    sweep_id = submit_sweep(queue, sweep(seeds=3))
    assert sweep_id.startswith("tiny-sweep-")
    assert queue.count_by_state()[State.QUEUED] == 0, "the dispatcher submits its jobs"
    watch()
    jobs = jobs_of(queue, sweep_id)
    assert len(jobs) == 12
    job = queue.get(jobs["3/2"])
    assert (job.user, job.sweep, job.until_images) == ("ada", sweep_id, None)
    assert isinstance(job.spec, TrainSpec)
    assert (job.spec.recipe.optimiser_g.lr, job.spec.recipe.d_steps, job.spec.seed) == (2e-4, 2, 2)
    watch()
    assert jobs_of(queue, sweep_id) == jobs
    assert work() == 12
    watch()
    found = queue.sweep(sweep_id)
    assert (found.state, found.cancel_requested) == (State.SUCCEEDED, False)
    assert found.children
    assert [child.quality() for child in found.children][:3] == [1000 / 640 + seed for seed in range(3)]
    assert admin.pttl(f"{{gan}}:sweep:{sweep_id}") > 0
    assert queue.live_sweep_ids() == []
    # What is shown of it lasts as long as it is remembered itself.
    for job_id in jobs.values():
        assert queue.delete(job_id)
    assert queue.children(queue.sweep(sweep_id)) == found.children


def test_what_was_found_of_a_job_outlives_it(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], admin: redis.Redis
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    held = lease(queue)
    judge(queue, admin, held, 7.0)
    queue.finish(held, SUCCESS)
    watch()
    queue.delete(held.job_id)
    watch()
    [child] = [child for child in queue.children(queue.sweep(sweep_id)) if child.job_id == held.job_id]
    assert (child.quality(), child.state) == (7.0, State.SUCCEEDED)
    assert len(jobs_of(queue, sweep_id)) == 4, "its place is not filled again"


def test_however_many_sweeps_there_are_each_has_its_turn(
    queue: JobQueue, sweep: Callable[..., SweepSpec], dispatching: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "ROUND_S", 0.0)
    several = {submit_sweep(queue, sweep()) for _ in range(3)}
    with Leadership(dispatching) as leadership:
        token = leadership.lead()
        assert token
        looks = SweepWatch(dispatching, Troubles())
        for _ in several:
            looks.advance(token)
    assert all(jobs_of(queue, sweep_id) for sweep_id in several)


def test_halving_stops_the_others_and_lets_the_best_go_on_from_where_it_is(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], work: Callable[[], int]
) -> None:
    sweep_id = submit_sweep(queue, sweep(seeds=3, halving=4))
    watch()
    jobs = jobs_of(queue, sweep_id)
    assert work() == 12
    waiting = queue.get(jobs["2/1"])
    assert (waiting.state, waiting.halted, waiting.until_images) == (State.QUEUED, True, 160)
    assert (waiting.waits_for, waiting.ready_at) == ("its sweep to let it go on", None)
    assert (queue.depth().total(), queue.waits_since()) == (0, None), "alerts on long waits look at these"
    assert queue.lease(CLUSTER, CLUSTER) is None
    watch()
    stopped = queue.get(jobs["2/1"])
    assert (stopped.state, stopped.message) == (
        State.CANCELLED, "cancelled: not among the best 1 of 4 settings at 160 images",
    )  # fmt: skip
    promoted = queue.get(jobs["0/1"])
    assert (promoted.state, promoted.halted, promoted.until_images, promoted.attempt) == (State.QUEUED, False, 640, 1)
    assert promoted.waits_for is None
    assert work() == 3
    watch()
    found = queue.sweep(sweep_id)
    assert found.state is State.SUCCEEDED
    assert found.children
    assert sum(child.trained_images for child in found.children) == 9 * 160 + 3 * 640
    assert queue.count_by_state() == {
        State.QUEUED: 0, State.RUNNING: 0, State.SUCCEEDED: 3, State.FAILED: 0, State.CANCELLED: 9,
    }  # fmt: skip


def test_an_evaluation_that_ends_as_its_sweep_is_looked_at_is_missed_by_nobody(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    admin: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither under way any more nor found yet, it counted as nothing, and its setting was stopped."""
    sweep_id = submit_sweep(queue, sweep(seeds=2, halving=4))
    watch()
    job_id = jobs_of(queue, sweep_id)["0/1"]
    admin.hset(f"{{gan}}:evaluations_under_way:{job_id}", "judge-1", 160)
    looks: list[str] = []

    def ends_after(name: str) -> None:
        look: Any = getattr(queue, name)

        def looked(*about: Any) -> Any:
            found = look(*about)
            if not looks:
                admin.hset(
                    f"{{gan}}:evaluations:{job_id}", f"{160:012d}/x", evaluation(job_id, 160, 1.0).model_dump_json()
                )
                admin.delete(f"{{gan}}:evaluations_under_way:{job_id}")
            looks.append(name)
            return found

        monkeypatch.setattr(queue, name, looked)

    ends_after("_findings")
    ends_after("_under_way")
    [child] = [child for child in queue.children(queue.sweep(sweep_id)) if child.job_id == job_id]
    assert set(looks) == {"_findings", "_under_way"}
    assert child.under_way or child.findings


def one_after_the_other(submit_children: Callable[..., Any]) -> Callable[..., None]:
    """Jobs travel together, but a dispatcher may die when only some of them have arrived."""

    def submit(queue: SweepQueue, sweep: Sweep, jobs: dict[Place, Any], *how: Any) -> None:
        for place, job in jobs.items():
            assert submit_children(queue, sweep, {place: job}, *how) is None

    return submit


@pytest.mark.parametrize("halving", [None, 2])
def test_nothing_is_lost_or_doubled_wherever_the_dispatcher_dies(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    halving: int | None,
) -> None:
    """Looks die at each of their steps, once before it is taken and once after it."""
    sweep_id = submit_sweep(queue, sweep(seeds=2, halving=halving))
    left, after = 0, False

    def deadly(method: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0 and not after:
                raise LeadershipLost("died before")
            answer = method(*arguments, **options)
            if left < 0:
                raise LeadershipLost("died after")
            return answer

        return step

    monkeypatch.setattr(SweepQueue, "submit_children", one_after_the_other(deadly(SweepQueue.submit_children)))
    for name in ("promote", "stop", "settle"):
        monkeypatch.setattr(SweepQueue, name, deadly(getattr(SweepQueue, name)))
    attempts, deaths = 0, 0
    for look in range(200):
        if queue.sweep(sweep_id).state.is_final:
            break
        left, after = look // 2 % 4, look % 2 == 1
        try:
            watch()
        except LeadershipLost:
            deaths += 1
        attempts += work()
    found = queue.sweep(sweep_id)
    assert found.state is State.SUCCEEDED
    assert found.children
    assert len(found.children) == len({child.place for child in found.children}) == 8
    assert queue.totals()["submitted"] == 8
    assert attempts == (8 if halving is None else 8 + 4 + 2)
    assert deaths > 4


def test_a_dispatcher_advances_sweeps_by_itself(
    dispatching: Settings, queue: JobQueue, sweep: Callable[..., SweepSpec]
) -> None:
    leader = Dispatcher(dispatching, InMemoryCluster(cpus=0))
    sweep_id = submit_sweep(queue, sweep())
    leader.tick()
    assert len(jobs_of(queue, sweep_id)) == 4


def test_one_that_no_longer_leads_does_nothing(
    queue: JobQueue, dispatching: Settings, sweep: Callable[..., SweepSpec], admin: redis.Redis
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    admin.hset("{gan}:leader", mapping={"token": 9, "owner": "another"})
    with pytest.raises(LeadershipLost):
        SweepWatch(dispatching, Troubles()).advance(8)
    assert jobs_of(queue, sweep_id) == {}


def test_a_quota_holds_for_the_jobs_of_a_sweep_and_those_that_halt_do_not_count(
    queue: JobQueue,
    settings: Settings,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
) -> None:
    with Users(settings) as users:
        users.put("ada", UserRecord(jobs_queued=3))
    sweep_id = submit_sweep(queue, sweep(seeds=2, halving=4))
    watch()
    assert len(jobs_of(queue, sweep_id)) == 3
    waits_for = queue.sweep(sweep_id).waiting_for
    assert waits_for == "ada has 3 jobs in the queue, as many as the quota allows; wait, or ask the operator"
    for _ in range(2):
        assert work() == 3
        watch()
    assert work() == 2
    assert len(jobs_of(queue, sweep_id)) == 8
    watch()
    assert queue.sweep(sweep_id).waiting_for is None
    assert work() == 2
    watch()
    assert queue.sweep(sweep_id).state is State.SUCCEEDED


def test_a_sweep_is_cancelled_with_all_its_jobs(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None]
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=2))
    watch()
    running = lease(queue)
    halted = lease(queue)
    queue.finish(halted, HALTED)
    assert queue.cancel_sweep(sweep_id) is State.RUNNING
    with pytest.raises(IllegalTransition, match=f"{sweep_id} is not over; `ganctl cancel {sweep_id}` first"):
        queue.delete_sweep(sweep_id)
    watch()
    assert queue.get(running.job_id).cancel_requested
    assert queue.get(halted.job_id).message == "cancelled: its sweep is cancelled"
    assert queue.sweep(sweep_id).state is State.RUNNING, "a job is stopping yet"
    queue.finish(running, Outcome(reason=Reason.CANCELLED))
    watch()
    assert queue.sweep(sweep_id).state is State.CANCELLED
    assert queue.count_by_state()[State.CANCELLED] == 4
    assert queue.cancel_sweep(sweep_id) is State.CANCELLED
    assert queue.delete_sweep(sweep_id)
    with pytest.raises(JobNotFound, match="no sweep has the id"):
        queue.sweep(sweep_id)
    assert not queue.delete_sweep(sweep_id)


def test_one_that_is_cancelled_before_its_jobs_are_submitted_gets_none(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None]
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    queue.cancel_sweep(sweep_id)
    watch()
    assert (queue.sweep(sweep_id).state, jobs_of(queue, sweep_id)) == (State.CANCELLED, {})


def test_a_job_that_is_retried_after_its_sweep_trains_to_its_end(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], work: Callable[[], int]
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=4))
    watch()
    jobs = jobs_of(queue, sweep_id)
    for _ in range(2):
        work()
        watch()
    assert queue.sweep(sweep_id).state is State.SUCCEEDED
    queue.retry(jobs["3/0"])
    assert lease(queue).until_images is None


# Who may do what, and what is refused.


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_has_a_sweep_of_his_own_and_cancels_no_other(
    submitter: Submitter, queue: JobQueue, sweep: Callable[..., SweepSpec], eventually: Callable[..., Any]
) -> None:
    bob = submitter("bob")
    sweep_id = submit_sweep(bob, sweep(seeds=2))
    eventually(lambda: len(jobs_of(queue, sweep_id)) == 8)
    assert {queue.get(job_id).user for job_id in jobs_of(queue, sweep_id).values()} == {"bob"}
    eve = submitter("eve")
    with pytest.raises(RequestError, match=f"{sweep_id} is bob's sweep; eve may cancel no sweep but eve's"):
        eve.cancel_sweep(sweep_id)
    with pytest.raises(RightMissing):
        bob.delete_sweep(sweep_id)
    bob.cancel_sweep(sweep_id)
    eventually(lambda: queue.sweep(sweep_id).state is State.CANCELLED)


@pytest.mark.parametrize("key", ["sweep:x", "sweep_jobs:x", "live_sweeps", "sweeps"])
def test_a_worker_writes_nothing_of_sweeps(broker: Broker, settings: Settings, key: str) -> None:
    url = broker.as_user("gan-worker", settings).require_broker()
    with closing(redis.Redis.from_url(url)) as worker, pytest.raises(redis.exceptions.NoPermissionError):
        worker.set("{gan}:" + key, "x")


def test_what_cannot_be_is_refused_before_anything_is_written(
    queue: JobQueue, base: TrainSpec, admin: redis.Redis
) -> None:
    wrong = {"kind": "listed", "key": "recipe.d_stepps", "values": [1]}
    with pytest.raises(SpecInvalid, match=r"unknown key recipe\.d_stepps"):
        submit_sweep(queue, SweepSpec.model_validate({"base": base, "factors": [wrong]}))
    large = {"kind": "listed", "key": "recipe.d_steps", "values": ["x" * 300_000]}
    with pytest.raises(SpecInvalid):
        submit_sweep(queue, SweepSpec.model_validate({"base": base, "factors": [large]}))
    assert admin.keys("{gan}:*") == []


def test_one_whose_jobs_cannot_be_fails_whoever_has_submitted_it(
    queue: JobQueue,
    base: TrainSpec,
    watch: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    factor = {"kind": "listed", "key": "recipe.d_steps", "values": [1, "many"]}
    with monkeypatch.context() as patch:
        patch.setattr(SweepSpec, "check", lambda _: None)
        sweep_id = submit_sweep(queue, SweepSpec.model_validate({"base": base, "factors": [factor]}))
    watch()
    found = queue.sweep(sweep_id)
    assert found.state is State.FAILED
    assert found.message
    assert 'recipe.d_steps: found "many"' in found.message
    assert queue.list_ids() == set(), "nor is any that would have travelled with it"


def test_no_user_has_more_sweeps_than_may_be(queue: JobQueue, sweep: Callable[..., SweepSpec]) -> None:
    for _ in range(20):
        submit_sweep(queue, sweep())
    with pytest.raises(RequestError, match="ada has 20 sweeps that are not over, as many as may"):
        submit_sweep(queue, sweep())


def test_a_sweep_that_another_hand_has_damaged_holds_up_no_other(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], admin: redis.Redis
) -> None:
    damaged, gone, sound = (submit_sweep(queue, sweep()) for _ in range(3))
    admin.hset(f"{{gan}}:sweep:{damaged}", "spec", json.dumps({"base": 1}))
    admin.delete(f"{{gan}}:sweep:{gone}")
    admin.hset(f"{{gan}}:sweep_jobs:{sound}", mapping={"x": "y", "0/0": "../../etc", "-1/7": "z"})
    watch()
    found = queue.sweep(sound)
    assert isinstance(found, Sweep)
    assert len(jobs_of(queue, sound)) >= 3


def test_a_sweep_is_found_by_its_id_and_the_beginning_of_one(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None]
) -> None:
    first = submit_sweep(queue, sweep())
    watch()
    assert queue.find_sweep(first) == first
    assert queue.find_sweep(first[:-2]) == first
    assert queue.find_sweep(next(iter(jobs_of(queue, first).values()))) is None
    assert queue.find_sweep("tiny") is None, "it is the name of jobs"
    second = submit_sweep(queue, sweep())
    assert queue.sweep_ids() == [second, first]
    with pytest.raises(RequestError, match="tiny-sweep is the beginning of several sweeps"):
        queue.find_sweep("tiny-sweep")


def test_a_metric_tells_of_which_sweep_a_job_is_and_how_long_it_waits_for_that(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    scrape: Scrape,
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=4))
    watch()
    halted = lease(queue)
    queue.finish(halted, HALTED)
    found = scrape()
    jobs = set(jobs_of(queue, sweep_id).values())
    assert {labels[0] for labels in found["job_info"] if sweep_id in labels} == jobs
    assert found["job_queue_wait_seconds"][halted.job_id,] == 0
    assert found["job_halts"][halted.job_id,] == 1


def test_a_place_that_the_sweep_has_not_is_nobodys(
    queue: JobQueue, admin: redis.Redis, sweep: Callable[..., SweepSpec], spec: TrainSpec
) -> None:
    sweep_id, job_id = submit_sweep(queue, sweep()), submit(queue, spec)
    for text in ("4/0", "0/1", "00/0", " 1/0", "1"):
        admin.hset(f"{{gan}}:sweep_jobs:{sweep_id}", text, job_id)
    assert jobs_of(queue, sweep_id) == {}
    stood = [{"place": {"setting": 4, "seed": 0}, "job_id": job_id}]
    admin.hset(f"{{gan}}:sweep:{sweep_id}", "children", json.dumps(stood))
    with pytest.raises(JobUnreadable):
        queue.sweep(sweep_id)


def test_an_ambiguous_beginning_means_neither_a_sweep_nor_a_job(
    queue: JobQueue, sweep: Callable[..., SweepSpec], spec: TrainSpec
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    assert queue.find_sweep("tin") == sweep_id
    job_id = submit(queue, spec)
    with pytest.raises(RequestError, match=f"tin is the beginning of a sweep and a job: {sweep_id}, {job_id}; give"):
        queue.find_sweep("tin")
    assert queue.find_sweep("tiny") is None, "it is the name of jobs"


# What cannot be read.


def make_newer(admin: redis.Redis, job_id: str) -> None:
    """Have a newer release have written a job."""
    admin.hset(f"{{gan}}:job:{job_id}", mapping={"format": FORMAT + 1, "spec": "of a later release"})


def damage(admin: redis.Redis, job_id: str) -> None:
    admin.hset(f"{{gan}}:job:{job_id}", "order", "x")


def test_a_damaged_job_ends_and_its_sweep_goes_on_without_it(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    admin: redis.Redis,
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=4))
    watch()
    assert work() == 4
    best = jobs_of(queue, sweep_id)["0/0"]
    damage(admin, best)
    watch()
    assert (queue.state_of(best), queue.sweep(sweep_id).state) == (State.CANCELLED, State.RUNNING)
    watch()
    assert work() == 1
    watch()
    found = queue.sweep(sweep_id)
    assert found.state is State.SUCCEEDED
    assert [child.unreadable for child in found.children] == [True, False, False, False]
    assert found.children[1].state is State.SUCCEEDED


def test_a_job_of_a_newer_release_is_waited_for_and_its_sweep_can_be_cancelled(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    admin: redis.Redis,
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=4))
    watch()
    assert work() == 4
    jobs = jobs_of(queue, sweep_id)
    make_newer(admin, jobs["0/0"])
    watch()
    assert {queue.state_of(job_id) for job_id in jobs.values()} == {State.QUEUED}, "the newer release says who goes on"
    queue.cancel_sweep(sweep_id)
    watch()
    assert {queue.state_of(job_id) for job_id in jobs.values()} == {State.CANCELLED}
    watch()
    assert queue.sweep(sweep_id).state is State.CANCELLED


def test_what_was_found_of_a_job_counts_though_the_job_cannot_be_read(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    admin: redis.Redis,
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    assert work() == 4
    make_newer(admin, jobs_of(queue, sweep_id)["0/0"])
    watch()
    found = queue.sweep(sweep_id)
    assert found.state is State.SUCCEEDED
    assert found.children[0].quality() == 1000 / 640


@pytest.mark.parametrize(
    "field", [{"spec": "of a later release"}, {"state": "sleeping"}, {"submitted_at": "yesterday", "children": "["}]
)
def test_a_sweep_that_cannot_be_read_is_listed_cancelled_and_deleted(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    admin: redis.Redis,
    field: dict[Any, Any],
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    jobs = jobs_of(queue, sweep_id)
    admin.hset(f"{{gan}}:sweep:{sweep_id}", mapping=field)
    with pytest.raises(JobUnreadable, match="it can be cancelled and deleted all the same"):
        queue.sweep(sweep_id)
    headings, unreadable = queue.sweep_headings()
    assert [*(heading.id for heading in headings), *unreadable] == [sweep_id]
    with pytest.raises(IllegalTransition, match=f"{sweep_id} is not over; `ganctl cancel {sweep_id}` first"):
        queue.delete_sweep(sweep_id)
    assert queue.cancel_sweep(sweep_id) is State.RUNNING
    watch()
    assert {queue.get(job_id).message for job_id in jobs.values()} == {"cancelled: its sweep is cancelled"}
    watch()
    assert queue.live_sweep_ids() == []
    assert queue.sweep_field(sweep_id, "state") == State.CANCELLED
    assert sorted(queue.sweep_jobs(sweep_id)) == sorted(jobs.values())
    assert queue.delete_sweep(sweep_id)
    assert admin.keys(f"{{gan}}:sweep*:{sweep_id}") == []


def test_a_sweep_that_is_no_hash_any_more_is_gone_at_the_first_wish(
    queue: JobQueue, sweep: Callable[..., SweepSpec], admin: redis.Redis
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    admin.set(f"{{gan}}:sweep:{sweep_id}", "x")
    assert queue.sweep_headings() == ([], [sweep_id])
    with pytest.raises(JobUnreadable):
        queue.sweep(sweep_id)
    with pytest.raises(JobNotFound, match="no sweep has the id"):
        queue.cancel_sweep(sweep_id)


# What changes while a sweep runs.


def test_a_job_whose_sweep_says_how_far_it_trains_is_retried_once_that_is_over(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], work: Callable[[], int]
) -> None:
    sweep_id = submit_sweep(queue, sweep(halving=4))
    watch()
    jobs = jobs_of(queue, sweep_id)
    work()
    watch()
    with pytest.raises(IllegalTransition, match=f"{jobs['3/0']} is a job of {sweep_id}, which says how far each"):
        queue.retry(jobs["3/0"])
    assert queue.get(jobs["3/0"]).until_images == 160
    work()
    watch()
    queue.retry(jobs["3/0"])


def test_a_job_of_a_sweep_without_halving_may_be_retried_while_that_runs(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], work: Callable[[], int]
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    queue.cancel(jobs_of(queue, sweep_id)["0/0"])
    queue.retry(jobs_of(queue, sweep_id)["0/0"])
    assert work() == 4


def test_by_what_jobs_compare_is_decided_by_the_first_finding(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], admin: redis.Redis
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    [first, *others] = [lease(queue) for _ in range(4)]
    judge(queue, admin, first, 7.0)
    watch()
    for held in others:  # a classifier that was trained anew
        found = evaluation(held.job_id, 640, 1.0, network_digest="another")
        admin.hset(f"{{gan}}:evaluations:{held.job_id}", "640/y", found.model_dump_json())
    queue.finish(first, SUCCESS)
    watch()
    qualities = {child.job_id: child.quality() for child in queue.children(queue.sweep(sweep_id))}
    assert qualities == {first.job_id: 7.0} | {held.job_id: None for held in others}


def test_what_somebody_has_judged_otherwise_besides_does_not_count(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], admin: redis.Redis
) -> None:
    sweep_id = submit_sweep(queue, sweep())
    watch()
    held = lease(queue)
    otherwise: list[dict[str, Any]] = [{"samples": 50}, {"split": "test"}, {"seed": 1}, {"network": "pixels"}]
    for at, changes in enumerate(otherwise):
        found = evaluation(held.job_id, 320, 1.0, **changes)
        admin.hset(f"{{gan}}:evaluations:{held.job_id}", f"320/{at}", found.model_dump_json())
    watch()
    judge(queue, admin, held, 7.0)
    [child] = [child for child in queue.children(queue.sweep(sweep_id)) if child.job_id == held.job_id]
    assert child.quality() == 7.0


# How much is read.


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that anything is sent to Redis."""
    found: list[None] = []
    send: Any = Connection.send_packed_command

    def counted(self: Connection, *arguments: Any, **options: Any) -> None:
        found.append(None)
        send(self, *arguments, **options)

    monkeypatch.setattr(Connection, "send_packed_command", counted)
    return found


def test_the_list_reads_no_more_than_it_shows(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    work: Callable[[], int],
    admin: redis.Redis,
    trips: list[None],
) -> None:
    over = submit_sweep(queue, sweep(seeds=2))
    watch()
    work()
    watch()
    live = [submit_sweep(queue, sweep(halving=4)) for _ in range(3)]
    watch()
    queue.finish(lease(queue), HALTED)
    for sweep_id in (over, *live):
        admin.hset(f"{{gan}}:sweep:{sweep_id}", mapping={"spec": "unread", "children": "unread"})
    trips.clear()
    headings, unreadable = queue.sweep_headings()
    assert len(trips) == 5
    assert {heading.id for heading in headings} == {over, *live}
    told = {heading.id: heading for heading in headings}
    assert (told[over].jobs, told[over].settings, told[over].seeds, told[over].name) == ("8 succeeded", 4, 2, "tiny")
    assert sorted(told[sweep_id].jobs for sweep_id in live) == ["3 queued, 1 halted", "4 queued", "4 queued"]
    assert unreadable == []


def test_however_many_jobs_are_gone_they_are_asked_for_at_once(
    queue: JobQueue, sweep: Callable[..., SweepSpec], watch: Callable[[], None], work: Callable[[], int],
    trips: list[None],
) -> None:  # fmt: skip
    sweep_id = submit_sweep(queue, sweep(seeds=3))
    watch()
    work()
    found = queue.sweep(sweep_id)
    for job_id in jobs_of(queue, sweep_id).values():
        queue.delete(job_id)
    trips.clear()
    assert {child.state for child in queue.children(found)} == {None}
    assert len(trips) <= 5


def test_no_more_jobs_are_stopped_in_one_look_than_may_be(
    queue: JobQueue, base: TrainSpec, watch: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "CHANGED_AT_ONCE", 2)
    monkeypatch.setattr(sweeps, "SUBMITTED_AT_ONCE", 3)
    factor = {"kind": "listed", "key": "recipe.d_steps", "values": [1, 2, 3, "many"]}
    with monkeypatch.context() as patch:
        patch.setattr(SweepSpec, "check", lambda _: None)
        sweep_id = submit_sweep(queue, SweepSpec.model_validate({"base": base, "factors": [factor]}))
    for cancelled, state in ((0, State.RUNNING), (2, State.RUNNING), (3, State.FAILED)):
        watch()
        assert (queue.count_by_state()[State.CANCELLED], queue.sweep(sweep_id).state) == (cancelled, state)


# Submitting once.


def test_the_same_key_gives_the_same_sweep_and_no_other(
    queue: JobQueue,
    sweep: Callable[..., SweepSpec],
    watch: Callable[[], None],
    spec: TrainSpec,
    admin: redis.Redis,
) -> None:
    sweep_id, created = queue.submit_sweep(sweep(), "monday")
    assert created
    assert queue.submit_sweep(sweep(), "monday") == (sweep_id, False)
    belongs = f"the idempotency key monday belongs to {sweep_id}, which was submitted otherwise; choose another key"
    with pytest.raises(RequestError, match=belongs):
        queue.submit_sweep(sweep(seeds=2), "monday")
    with pytest.raises(RequestError, match=belongs):
        queue.submit(spec, "monday")
    job_id, _ = queue.submit(spec, "tuesday")
    with pytest.raises(RequestError, match=f"tuesday belongs to {job_id}"):
        queue.submit_sweep(sweep(), "tuesday")
    with pytest.raises(RequestError, match="the idempotency key: found"):
        queue.submit_sweep(sweep(), "")
    queue.cancel_sweep(sweep_id)
    watch()
    assert admin.pttl("{gan}:idempotency:monday") > 0, "it goes with its sweep"
    assert queue.submit_sweep(sweep(), "monday") == (sweep_id, False)
    assert queue.delete_sweep(sweep_id)
    again, created = queue.submit_sweep(sweep(), "monday")
    assert created
    assert again != sweep_id


@pytest.mark.usefixtures("dispatcher")
def test_a_submitters_key_is_his_own(submitter: Submitter, sweep: Callable[..., SweepSpec]) -> None:
    bob, eve = submitter("bob"), submitter("eve")
    sweep_id, _ = bob.submit_sweep(sweep(), "monday")
    assert bob.submit_sweep(sweep(), "monday") == (sweep_id, False)
    other, created = eve.submit_sweep(sweep(), "monday")
    assert created
    assert other != sweep_id
