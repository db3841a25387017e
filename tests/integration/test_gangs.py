"""Gangs in a real Ray: found by name, carried on where they stand, and gone when they are over."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import redis
from pydantic import SecretStr
from ray._private.state import actors as ray_actors
from ray.util import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from ganservice import leadership
from ganservice.embedded.parts import Part
from ganservice.job import Reason, State
from ganservice.leadership import Leadership
from ganservice.maintenance import Maintenance
from ganservice.queue import JobQueue
from ganservice.settings import Settings, child_environment
from ganservice.spec import Resources, TrainSpec
from tests.conftest import wait_until
from tests.integration.broker import Broker
from tests.integration.jobs import submit
from tests.integration.ray_head import DISPATCHER, BeatingWorker, BlindWorker, PublishingWorker, SightedWorker, ray_head
from tests.lifetime import bound
from workers.dispatch import actors, gang, room, seats, sources
from workers.dispatch.cluster import RayCluster, cluster
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Gang, Phase
from workers.dispatch.name import GangName
from workers.dispatch.pool import Candidate, WarmPool
from workers.dispatch.warm import WarmName
from workers.dispatch.worker import CONCURRENCY_GROUPS

IN_ANOTHER_NAMESPACE = """
import ray, sys
from ray.util import placement_group
ray.init(sys.argv[1], namespace="theirs", log_to_driver=False)
placement_group([{"CPU": 0.1}], name="theirs-1/1", lifetime="detached")
"""
# In a process of its own: one that has been a driver of a cluster keeps its token.
OF_ANOTHER_RAY = """
import sys, ray
ray.__version__ = "2.59.0"
from ganservice.errors import ClusterUnreachable
from workers.dispatch.cluster import cluster
try:
    with cluster(sys.argv[1]):
        pass
except ClusterUnreachable as error:
    print(error)
"""


# Which no machine of the tests need have: Ray believes what it is told.
GPUS = 4


@pytest.fixture(scope="module")
def head() -> Iterator[Part]:
    with tempfile.TemporaryDirectory(prefix="gan-") as folder, ray_head(Path(folder), gpus=GPUS) as part:
        yield part


@pytest.fixture(scope="module")
def ray_cluster(head: Part) -> Iterator[RayCluster]:
    """What this process, a driver of the head, sees of it."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in head.environment.items():
            environment.setenv(name, value)
        with cluster(head.address) as found:
            yield found


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One of the servers will do: what is tried here is Ray."""
    return valkey


@pytest.fixture
def ray_settings(dispatching: Settings, head: Part, broker: Broker) -> Settings:
    """Of a dispatcher, which has its workers be users with fewer rights."""
    worker_broker_url = SecretStr(broker.url_of("gan-worker"))
    of_here = {"ray_address": head.address, "worker_broker_url": worker_broker_url, "warm_workers": 0}
    return dispatching.model_copy(update=of_here)


@pytest.fixture(autouse=True)
def _workers_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "Worker", BeatingWorker)


@pytest.fixture(autouse=True)
def _no_gang_outlives_its_test(ray_cluster: RayCluster) -> Iterator[None]:
    yield
    for name in ray_cluster.gangs():
        ray_cluster.end_stray(name)
    wait_until(lambda: is_free(ray_cluster))

    def no_worker_is_warm() -> bool:
        ray_cluster.keep_warm((), 0, may_start=False)
        return not actors.names()

    wait_until(no_worker_is_warm)


@pytest.fixture
def new_dispatcher(
    ray_settings: Settings, ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Dispatcher]:
    """Makes a dispatcher that leads at its first tick: to it, whoever leads is silent. It keeps no workers warm unless
    it is told to."""

    def make(warm_workers: int = 0) -> Dispatcher:
        made = Dispatcher(ray_settings.model_copy(update={"warm_workers": warm_workers}), ray_cluster)
        monkeypatch.setattr(leadership, "LEADERSHIP_S", 0.0)
        return made

    return make


def is_unheld(ray_cluster: RayCluster) -> bool:
    """Whether no gang holds any room."""
    return all(node.available == node.total for node in ray_cluster.machines())


def is_free(ray_cluster: RayCluster) -> bool:
    return not ray_cluster.gangs() and is_unheld(ray_cluster)


def drive(leader: Dispatcher, until: Callable[[], Any]) -> None:
    """Have it tick until something is so."""

    def ask() -> Any:
        leader.tick()
        return until()

    wait_until(ask)


def has_begun(queue: JobQueue, job_id: str) -> bool:
    return any(it.has_begun and it.job_id == job_id for it in queue.running_attempts())


def workers_of(job_id: str) -> list[str]:
    """The names of the workers of its first attempt, by rank."""
    return [seats.holder(place) or "" for place in sorted(seats.places()) if place.startswith(f"{job_id}/1/")]


def idle_workers() -> list[str]:
    """The names of the warm ones that no gang has."""
    warm = [name for name in actors.names() if WarmName.parse(name)]
    return [name for name in warm if not ray.get(actors.find(name).get_ready.remote())]


def pid_of(worker: str) -> int:
    """The process of a worker."""
    return next(int(actor["Pid"]) for actor in ray_actors().values() if actor["Name"] == worker)


@pytest.fixture
def second_node(head: Part, ray_cluster: RayCluster) -> Iterator[str]:
    """The id of another node of two CPUs, on the same address."""
    known = {machine.id for machine in ray_cluster.machines()}
    environment = child_environment(**head.environment | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"})
    command = [
        sys.executable, str(Path(__file__).parents[1] / "chaos" / "node.py"), "start", f"--address={head.address}",
        "--node-ip-address=127.0.0.1", "--num-cpus=2", "--object-store-memory=100000000", "--disable-usage-stats",
        "--block",
    ]  # fmt: skip
    with subprocess.Popen(bound(command), env=environment, stdout=subprocess.DEVNULL) as node:
        try:
            yield wait_until(lambda: next((it.id for it in ray_cluster.machines() if it.id not in known), None))
        finally:
            node.terminate()
    wait_until(lambda: len(ray_cluster.machines()) == len(known))


def test_a_node_is_drained_left_alone_and_taken_back(
    second_node: str,
    new_dispatcher: Callable[[], Dispatcher],
    settings: Settings,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    half = Resources(cpus_per_worker=2)
    leader = new_dispatcher()
    first, second = submit(queue, spec, resources=half), submit(queue, spec, resources=half)
    drive(leader, lambda: has_begun(queue, first) and has_begun(queue, second))
    with Leadership(settings) as told, Maintenance(settings) as maintenance:

        def node(node_id: str) -> leadership.Node:
            return next(node for node in told.nodes() if node.id == node_id)

        drive(leader, lambda: node(second_node).jobs)
        [moved] = node(second_node).jobs
        maintenance.cordon(second_node, drain=True)
        drive(leader, lambda: node(second_node).drains and not node(second_node).jobs)
        job = queue.get(moved)
        assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
        # Room enough is on the node that it left, and it waits for that of the other.
        drive(leader, lambda: queue.get(moved).waiting_for == "2 CPUs to be free")
        [stayed] = {first, second} - {moved}
        queue.cancel(stayed, now=True)
        drive(leader, lambda: has_begun(queue, moved))
        drive(leader, lambda: sum(len(each.jobs) for each in told.nodes()))
        assert (node(second_node).jobs, queue.get(moved).attempt) == ((), 2)
        maintenance.uncordon(second_node)
        another = submit(queue, spec, resources=half)
        drive(leader, lambda: has_begun(queue, another))
        drive(leader, lambda: node(second_node).jobs == (another,))


def assert_a_job_as_large_as_the_cluster_runs(leader: Dispatcher, queue: JobQueue, spec: TrainSpec) -> None:
    for job in queue.list_jobs([State.QUEUED, State.RUNNING]):
        queue.cancel(job.id, now=True)
    all_of_it = Resources(cpus_per_worker=int(ray.cluster_resources()["CPU"]))
    large = submit(queue, spec, resources=all_of_it)
    drive(leader, lambda: has_begun(queue, large))


def test_workers_are_no_dispatchers_at_redis(
    new_dispatcher: Callable[[], Dispatcher], queue: JobQueue, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = submit(queue, spec)
    drive(new_dispatcher(), lambda: has_begun(queue, job_id))
    assert "gan-worker" in {client["user"] for client in admin.client_list()}


@pytest.mark.parametrize("warm_workers", [0, 1, 2], ids=lambda count: f"{count} warm")
@pytest.mark.parametrize("moment", ["placing", "meeting", "running"])
def test_a_gang_is_carried_on_by_the_next_dispatcher_from_where_it_stands(
    moment: str,
    warm_workers: int,
    new_dispatcher: Callable[..., Dispatcher],
    ray_cluster: RayCluster,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    first = new_dispatcher(warm_workers)
    drive(first, lambda: len(idle_workers()) == warm_workers)
    warm = set(idle_workers())
    job_id = submit(queue, spec, resources=Resources(workers=2))
    reached = {
        "placing": ray_cluster.gangs,
        "meeting": lambda: len(seats.places()) == 2,
        "running": lambda: has_begun(queue, job_id),
    }
    drive(first, reached[moment])
    if moment == "placing":
        assert seats.places() == []
    successor = new_dispatcher(warm_workers)  # the first is heard of no more
    drive(successor, lambda: has_begun(queue, job_id))
    job = queue.get(job_id)
    assert (job.attempt, job.failures, job.troubles) == (1, 0, 0)
    if moment != "placing":  # whose successor may not have heard of them yet
        assert len(warm & set(workers_of(job_id))) == warm_workers
    assert_a_job_as_large_as_the_cluster_runs(successor, queue, spec)


@pytest.mark.parametrize("warm_workers", [0, 1], ids=lambda count: f"{count} warm")
def test_the_next_job_begins_while_the_last_one_publishes(
    warm_workers: int,
    new_dispatcher: Callable[..., Dispatcher],
    ray_cluster: RayCluster,
    settings: Settings,
    queue: JobQueue,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader = new_dispatcher(warm_workers)
    monkeypatch.setattr(actors, "Worker", PublishingWorker)
    monkeypatch.setattr(room, "CPUS_PER_VACATED_GANG", 0.1)
    drive(leader, lambda: len(idle_workers()) == warm_workers)
    cpus = int(ray.cluster_resources()["CPU"])
    one, several = Resources(cpus_per_worker=cpus), Resources(workers=cpus)
    jobs = [submit(queue, spec, resources=all_of_it) for all_of_it in (one, several, one)]
    drive(leader, lambda: all(has_begun(queue, job_id) for job_id in jobs))
    drive(leader, lambda: is_unheld(ray_cluster))
    # The next dispatcher finds them without room, and leaves them at it.
    successor = new_dispatcher(warm_workers)
    drive(successor, lambda: ray_cluster.gangs() == {GangName(job_id, 1) for job_id in jobs})
    assert {(job.state, job.attempt) for job in map(queue.get, jobs)} == {(State.RUNNING, 1)}
    with Leadership(settings) as told:  # it learns where they are, so that a drain of their node waits for them
        drive(successor, lambda: [set(node.jobs) for node in told.nodes() if node.jobs] == [set(jobs)])
    # What then becomes of each is what becomes of any.
    died, cancelled, left = jobs
    os.kill(pid_of(*workers_of(died)), signal.SIGKILL)
    drive(successor, lambda: queue.get(died).reason is Reason.WORKER_DIED)
    queue.cancel(died, now=True)
    queue.cancel(cancelled, now=True)
    drive(successor, lambda: ray_cluster.gangs() == {GangName(left, 1)})
    successor.drain()
    assert (queue.get(left).state, queue.get(left).reason) == (State.QUEUED, Reason.YIELDED)
    assert ray_cluster.gangs() == set()


def start_in_its_room(place: str, group: Any) -> Any:
    """A worker that takes what its place has, as earlier releases started them."""
    worker = ray.remote(concurrency_groups=CONCURRENCY_GROUPS)(BeatingWorker).options(
        name=place,
        namespace=actors.NAMESPACE,
        lifetime="detached",
        num_cpus=1,
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
    )
    return worker.remote()


def test_what_another_release_started_in_its_room_keeps_that_to_the_end(
    ray_cluster: RayCluster, ray_settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    """As earlier ones did every worker that was not warm: Ray ends it with the room."""
    lease = queue.take(submit(queue, spec))
    name = GangName(lease.job_id, 1)
    group = placement_group([{"CPU": 1}], name=str(name), lifetime="detached")
    worker = start_in_its_room(f"{name}/0", group)
    assert ray.get(worker.take.remote(ray_settings, lease, 0))
    adopted = ray_cluster.adopt(ray_settings, lease, has_begun=True)
    adopted.vacate()
    assert adopted.holds_room
    assert ray.get(worker.take.remote(ray_settings, lease, 0)), "it is there yet"
    adopted.end()


def seen_by(queue: JobQueue, job_id: str) -> list[str]:
    """The GPUs that the first worker of a job sees."""
    pulse = queue.get(job_id).pulse
    return pulse.device.removeprefix("gpus-").split("-") if pulse and pulse.device else []


@pytest.mark.parametrize("warm_workers", [0, 1, 2])
def test_jobs_see_the_gpus_of_their_places_whether_their_workers_were_warm_or_not(
    warm_workers: int,
    new_dispatcher: Callable[..., Dispatcher],
    ray_cluster: RayCluster,
    queue: JobQueue,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(actors, "Worker", SightedWorker)
    leader = new_dispatcher(warm_workers)
    drive(leader, lambda: len(idle_workers()) == warm_workers)
    jobs = [submit(queue, spec, resources=Resources(gpus_per_worker=gpus)) for gpus in (1, 2)]
    drive(leader, lambda: all(has_begun(queue, job_id) for job_id in jobs))
    [one], two = (seen_by(queue, job_id) for job_id in jobs)
    assert len({one, *two}) == 3
    assert {one, *two} <= {str(gpu) for gpu in range(GPUS)}
    warm = [name for job_id in jobs for name in workers_of(job_id) if WarmName.parse(name)]
    assert len(warm) >= min(warm_workers, 1)
    for job_id in jobs:
        queue.cancel(job_id, now=True)
    drive(leader, lambda: is_free(ray_cluster))


@pytest.mark.parametrize("warm_workers", [0, 1])
def test_a_job_without_gpus_sees_none(
    warm_workers: int,
    new_dispatcher: Callable[..., Dispatcher],
    queue: JobQueue,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray shows those of all others to who has asked for none."""
    monkeypatch.setattr(actors, "Worker", SightedWorker)
    leader = new_dispatcher(warm_workers)
    drive(leader, lambda: len(idle_workers()) == warm_workers)
    job_id = submit(queue, spec)
    drive(leader, lambda: has_begun(queue, job_id))
    assert seen_by(queue, job_id) == ["none"]


def test_each_worker_of_a_gang_sees_its_own_gpus(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next dispatcher, which asks all of them again, changes nothing of that."""
    monkeypatch.setattr(actors, "Worker", SightedWorker)
    leader = new_dispatcher(warm_workers=1)
    drive(leader, idle_workers)
    job_id = submit(queue, spec, resources=Resources(workers=2, gpus_per_worker=2))
    drive(leader, lambda: has_begun(queue, job_id))
    mine = seen_by(queue, job_id)
    drive(new_dispatcher(), lambda: has_begun(queue, job_id))
    assert len(mine) == 2
    assert seen_by(queue, job_id) == mine


def test_an_idle_worker_that_sees_no_gpu_is_not_taken(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that it has imported has looked for some, when it was to see none."""
    monkeypatch.setattr(actors, "Worker", BlindWorker)
    leader = new_dispatcher(warm_workers=1)
    drive(leader, idle_workers)
    job_id = submit(queue, spec, resources=Resources(gpus_per_worker=1))
    drive(leader, lambda: has_begun(queue, job_id))
    assert workers_of(job_id) == [f"{job_id}/1/0"], "it was started for the job"
    assert seen_by(queue, job_id) != ["none"]


def test_a_gang_waits_no_longer_for_gpus_of_which_ray_does_not_tell(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a worker has them that an earlier release has started: it waited for ten minutes."""
    never = ray.remote(lambda *_: {}).options(resources={"unknown": 1})
    monkeypatch.setattr(actors, "Worker", SightedWorker)
    monkeypatch.setattr(gang, "GPUS_LIMIT_S", 1.0)
    monkeypatch.setattr(gang, "ask_place", lambda *_: never.remote())
    leader = new_dispatcher()
    job_id = submit(queue, spec, resources=Resources(gpus_per_worker=1))
    drive(leader, lambda: queue.get(job_id).reason)
    job = queue.get(job_id)
    assert (job.reason, job.failures) == (Reason.WORKER_DIED, 0)
    assert "Ray has not told in 1 s which GPUs its places have" in (job.message or "")


def idle_worker(ray_cluster: RayCluster, release: str = sources.release(), key: str = "another") -> str:
    """One that another dispatcher has started, and that is ready."""
    [machine] = ray_cluster.machines()
    name = str(WarmName(release, machine.id, key))
    ray.get(actors.start(name, machine.id).get_ready.remote())
    return name


def test_an_idle_worker_begins_with_a_job_and_another_one_comes_in_its_place(
    new_dispatcher: Callable[..., Dispatcher], ray_cluster: RayCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    found = idle_worker(ray_cluster)
    leader = new_dispatcher(warm_workers=1)
    leader.tick()
    assert idle_workers() == [found], "another dispatcher's will do"
    job_id = submit(queue, spec)
    drive(leader, lambda: has_begun(queue, job_id))
    assert workers_of(job_id) == [found]
    drive(leader, idle_workers)
    assert idle_workers() != [found]
    queue.cancel(job_id, now=True)
    drive(leader, lambda: not seats.places())
    assert len(idle_workers()) == 1
    wait_until(lambda: is_free(ray_cluster))  # it holds no room
    leader.drain()
    wait_until(lambda: not actors.names())


def test_a_worker_that_starts_is_taken_rather_than_another_one_started(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec
) -> None:
    leader = new_dispatcher(warm_workers=1)
    leader.tick()
    [starting] = actors.names()
    job_id = submit(queue, spec)
    drive(leader, lambda: has_begun(queue, job_id))
    assert workers_of(job_id) == [starting]


@pytest.mark.parametrize("release", ["", "0.0.9", version("ganservice"), f"{version('ganservice')}-{8 * '0'}"])
def test_no_worker_is_left_that_nobody_can_use(
    release: str,
    new_dispatcher: Callable[..., Dispatcher],
    ray_cluster: RayCluster,
    ray_settings: Settings,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    """Neither one of another release, or of other code of this one, nor one whose dispatcher was killed before it wrote
    down which place it took."""
    useless = idle_worker(ray_cluster, release) if release else idle_worker(ray_cluster)
    if not release:
        lease = queue.take(submit(queue, spec))
        assert ray.get(actors.find(useless).take.remote(ray_settings, lease, 0))
    leader = new_dispatcher(warm_workers=1)
    drive(leader, lambda: idle_workers() and useless not in actors.names())


def test_one_of_other_code_is_given_to_no_gang_before_it_ends(ray_cluster: RayCluster) -> None:
    """A job that waited while the dispatcher was started anew ran on it."""
    [machine] = ray_cluster.machines()
    useless, pool = idle_worker(ray_cluster, release="0.0.9"), WarmPool()
    pool.tend([machine.id], 1, may_start=False)
    ray.get(actors.find(useless).get_ready.remote())
    assert pool.take(machine.id) is None


def test_a_worker_that_is_frozen_holds_no_job_up(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec
) -> None:
    leader = new_dispatcher(warm_workers=1)
    drive(leader, idle_workers)
    leader.tick()
    [frozen] = actors.names()
    os.kill(pid_of(frozen), signal.SIGSTOP)
    job_id = submit(queue, spec)
    drive(leader, lambda: has_begun(queue, job_id))
    assert workers_of(job_id) == [f"{job_id}/1/0"]
    assert queue.get(job_id).attempt == 1
    drive(leader, lambda: frozen not in actors.names())


def test_an_idle_worker_that_is_told_to_end_ends_at_once(
    new_dispatcher: Callable[..., Dispatcher], queue: JobQueue, spec: TrainSpec
) -> None:
    leader = new_dispatcher(warm_workers=1)
    drive(leader, idle_workers)
    [idle] = actors.names()
    os.kill(pid_of(idle), signal.SIGTERM)
    wait_until(lambda: not actors.names())
    job_id = submit(queue, spec)
    drive(leader, lambda: has_begun(queue, job_id))
    assert workers_of(job_id) == [f"{job_id}/1/0"]


def test_no_worker_idles_on_a_cordoned_node(
    second_node: str, new_dispatcher: Callable[..., Dispatcher], settings: Settings
) -> None:
    leader = new_dispatcher(warm_workers=1)

    def nodes() -> set[str]:
        return {name.node for each in idle_workers() if (name := WarmName.parse(each))}

    drive(leader, lambda: len(nodes()) == 2)
    with Maintenance(settings) as maintenance:
        maintenance.cordon(second_node, drain=False)
        drive(leader, lambda: len(nodes()) == 1)
        assert second_node not in nodes()
        maintenance.uncordon(second_node)
        drive(leader, lambda: second_node in nodes())


class Choice(WarmPool):
    """A pool of one worker."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def take(self, node: str) -> Candidate:
        del node
        return Candidate(self.name, actors.find(self.name), is_ready=True)


def test_of_two_dispatchers_that_choose_a_worker_for_one_place_the_first_is_right(
    ray_cluster: RayCluster, ray_settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    """The one is paused just before it writes down its choice."""
    one, other = (idle_worker(ray_cluster, key=key) for key in ("one", "other"))
    lease = queue.take(submit(queue, spec))
    paused = Gang.start(ray_settings, lease, warm=Choice(one))
    wait_until(lambda: paused.poll() is Phase.SEATING)
    successor = Gang.adopt(ray_settings, lease, has_begun=False, warm=Choice(other))
    wait_until(lambda: successor.poll() is Phase.RUNNING)
    wait_until(lambda: paused.poll() is Phase.RUNNING)
    assert workers_of(lease.job_id) == [other]
    wait_until(lambda: actors.names() == [other])


def test_a_gang_that_breaks_as_its_places_are_given_leaves_no_worker(
    ray_cluster: RayCluster, ray_settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    """One of them is that of a worker which has just gone."""
    lease = queue.take(submit(queue, spec, resources=Resources(workers=2)))
    gang = Gang.start(ray_settings, lease)
    seats.give(f"{gang.name}/1", "gone")
    wait_until(lambda: gang.poll() is Phase.BROKEN)
    assert actors.names() == [f"{gang.name}/0"]
    gang.end()
    wait_until(lambda: not (actors.names() or ray_cluster.gangs()))


def test_a_worker_takes_one_place(
    ray_cluster: RayCluster, ray_settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    worker = actors.find(idle_worker(ray_cluster))
    one, other = queue.take(submit(queue, spec)), queue.take(submit(queue, spec))
    meeting_point = ray.get(worker.take.remote(ray_settings, one, 0))
    assert meeting_point
    assert ray.get(worker.take.remote(ray_settings, one, 0)) == meeting_point
    assert ray.get(worker.take.remote(ray_settings, other, 0)) == ""
    assert ray.get(worker.take.remote(ray_settings, one, 1)) == ""


def test_a_gang_whose_workers_died_with_its_dispatcher_leaves_nothing(
    new_dispatcher: Callable[[], Dispatcher], ray_cluster: RayCluster, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    drive(new_dispatcher(), lambda: has_begun(queue, job_id))
    ray.kill(ray.get_actor(f"{job_id}/1/0"))
    wait_until(lambda: not actors.names())
    assert ray_cluster.gangs() == {GangName(job_id, 1)}, "its group is there yet"
    successor = new_dispatcher()
    drive(successor, lambda: queue.get(job_id).state is State.QUEUED)
    job = queue.get(job_id)
    assert (job.reason, job.message, job.failures) == (Reason.WORKER_DIED, "1 of its 1 workers are gone", 0)
    assert_a_job_as_large_as_the_cluster_runs(successor, queue, spec)


def test_groups_of_no_attempt_are_removed_and_those_of_others_are_not(
    new_dispatcher: Callable[[], Dispatcher], ray_cluster: RayCluster, head: Part
) -> None:
    subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_NAMESPACE, head.address],
        env=child_environment(**head.environment),
        check=True,
    )
    others = placement_group([{"CPU": 0.1}], name="theirs", lifetime="detached")
    placement_group([{"CPU": 1}], name="forgotten-1/1", lifetime="detached")
    assert ray_cluster.gangs() == {GangName("forgotten-1", 1)}
    drive(new_dispatcher(), lambda: not ray_cluster.gangs())
    left = {name: group for group in placement_group_table().values() if (name := group["name"]).startswith("theirs")}
    assert {group["state"] for group in left.values()} == {"CREATED"}
    assert set(left) == {"theirs", "theirs-1/1"}
    remove_placement_group(others)
    end_in_another_namespace = IN_ANOTHER_NAMESPACE.replace(
        'placement_group([{"CPU": 0.1}], name="theirs-1/1", lifetime="detached")',
        'ray.util.remove_placement_group(ray.util.get_placement_group("theirs-1/1"))',
    )
    subprocess.run(
        [sys.executable, "-c", end_in_another_namespace, head.address],
        env=child_environment(**head.environment),
        check=True,
    )


@pytest.fixture
def dispatcher_process(
    ray_settings: Settings, head: Part, tmp_path: Path, ray_cluster: RayCluster
) -> Iterator[Callable[[], tuple[subprocess.Popen[bytes], Path]]]:
    """Starts dispatchers in processes of their own; returns each with its log."""
    del ray_cluster  # ends after them
    with ExitStack() as stack:
        environment = child_environment(
            **head.environment
            | {
                "GANSERVICE_STATE_DIR": str(tmp_path),
                "GANSERVICE_BROKER_URL": ray_settings.require_broker(),
                "GANSERVICE_RAY_ADDRESS": head.address,
            }
        )

        def start() -> tuple[subprocess.Popen[bytes], Path]:
            log = tmp_path / f"dispatcher-{len(list(tmp_path.iterdir()))}.log"
            with log.open("wb") as file:
                process = subprocess.Popen(bound(DISPATCHER), env=environment, stdout=file, stderr=file)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process, log

        yield start


def test_a_dispatcher_that_is_paused_succeeded_and_thawed_harms_nothing(
    dispatcher_process: Callable[[], tuple[subprocess.Popen[bytes], Path]],
    ray_cluster: RayCluster,
    queue: JobQueue,
    spec: TrainSpec,
) -> None:
    first, first_log = dispatcher_process()
    job_id = submit(queue, spec)
    wait_until(lambda: has_begun(queue, job_id))
    second, second_log = dispatcher_process()
    os.kill(first.pid, signal.SIGSTOP)
    wait_until(lambda: f"adopted gang {job_id}/1" in second_log.read_text())
    os.kill(first.pid, signal.SIGCONT)
    wait_until(lambda: "another dispatcher leads" in first_log.read_text())
    other = submit(queue, spec)
    wait_until(lambda: has_begun(queue, other))
    assert ray_cluster.gangs() == {GangName(job_id, 1), GangName(other, 1)}
    # Sent away politely, one leaves the gangs to the other, which has them give their jobs back when it goes.
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=120) == 0
    wait_until(lambda: f"adopted gang {other}/1" in first_log.read_text())
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=120) == 0
    assert [(job.state, job.reason, job.failures) for job in map(queue.get, (job_id, other))] == [
        (State.QUEUED, Reason.YIELDED, 0)
    ] * 2
    assert ray_cluster.gangs() == set()


def test_a_dispatcher_of_another_ray_is_told_both_versions(head: Part) -> None:
    here, python = ray.__version__, sys.version.split()[0]
    command = (sys.executable, "-c", OF_ANOTHER_RAY, head.address)
    environment = child_environment(**head.environment)
    refused = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    expected = f"runs Ray {here} on Python {python}, and this is Ray 2.59.0 on Python {python}; "
    assert re.match(rf"the cluster at {head.address} {re.escape(expected)}", refused)
    assert "RAY_AUTH_TOKEN" not in refused
