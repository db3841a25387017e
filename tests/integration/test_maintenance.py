"""A queue that is paused, nodes that are cordoned and drained: what operators wish, and what comes of it."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from pydantic import SecretStr

from ganservice.cli import ganctl
from ganservice.errors import BrokerOutage, RequestError
from ganservice.job import Capacity, Directive, Reason, State
from ganservice.leadership import Leadership, Node
from ganservice.maintenance import Cordon, Maintenance
from ganservice.probes import BrokerProbe
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Resources, TrainSpec
from tests.integration.broker import Broker
from tests.integration.cluster import InMemoryCluster
from tests.integration.jobs import CLUSTER, FAILURE, lease, skip_delay, submit
from tests.integration.scraping import families
from workers.dispatch import dispatcher
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Phase
from workers.dispatch.room import Machine

FOUR = Capacity(cpus=4, gpus=0)
ME = "alice"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    nowhere = {"store_url": "http://127.0.0.1:1/gan", "store_access_key": "k", "store_secret_key": SecretStr("s")}
    return settings.model_copy(update={"user": ME, **nowhere})


@pytest.fixture
def maintenance(settings: Settings) -> Iterator[Maintenance]:
    with closing(Maintenance(settings)) as client:
        yield client


@pytest.fixture
def give(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Gives a command of ganctl; what went wrong is raised."""
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.require_broker())
    monkeypatch.setenv("GANSERVICE_USER", ME)
    monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:1/gan")
    monkeypatch.setenv("GANSERVICE_STORE_ACCESS_KEY", "k")
    monkeypatch.setenv("GANSERVICE_STORE_SECRET_KEY", "s")

    def ganctl_does(*arguments: str) -> Result:
        return CliRunner().invoke(ganctl, arguments, catch_exceptions=False)

    return ganctl_does


# A paused queue.


def test_a_paused_queue_gives_out_nothing_until_it_is_resumed(
    queue: JobQueue, maintenance: Maintenance, spec: TrainSpec
) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    held = lease(queue)
    maintenance.pause("the store moves")
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.heartbeat(held) is Directive.CONTINUE, "what runs goes on"
    job = queue.get(second)
    assert job.waits_for == "the queue to be resumed (paused by alice: the store moves)"
    assert [each.waits_for for each in queue.list_jobs()] == [None, job.waits_for]
    assert maintenance.resume()
    assert not maintenance.resume()
    assert queue.get(second).waits_for is None
    assert lease(queue).job_id == second
    assert first == held.job_id


def test_who_runs_his_job_himself_needs_no_cluster_and_is_not_held_up(
    queue: JobQueue, maintenance: Maintenance, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    maintenance.pause()
    assert queue.take(job_id).job_id == job_id


def test_a_pause_outlives_a_restart_of_the_broker(
    queue: JobQueue, maintenance: Maintenance, admin: redis.Redis, spec: TrainSpec
) -> None:
    submit(queue, spec)
    maintenance.pause("first")
    maintenance.pause("second")
    admin.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]
    pause = queue.paused()
    assert pause
    assert (pause.by, pause.reason) == (ME, "second")
    assert pause.at == pytest.approx(queue.now_s(), abs=60)
    assert queue.lease(CLUSTER, CLUSTER) is None


@pytest.mark.parametrize("damage", [{"at": "never"}, {"at": "9" * 400}, {"odd": ""}])
def test_a_damaged_pause_is_a_pause(
    damage: dict[Any, Any], queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    admin.hset("{gan}:pause", mapping=damage)
    assert queue.lease(CLUSTER, CLUSTER) is None
    assert queue.get(job_id).waits_for == "the queue to be resumed (paused by somebody)"


def test_everybody_is_told_that_the_queue_is_paused(
    give: Callable[..., Result], settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    def is_paused() -> float:
        return families(settings)["ganservice_queue_paused"].samples[0].value

    job_id = submit(queue, spec)
    assert "paused" not in give("list").stderr
    assert is_paused() == 0
    assert give("pause", "--reason", "new disks").exit_code == 0
    assert re.search(r"the queue is paused by alice: new disks; since \d+s", give("list").stderr)
    assert "waits for the queue to be resumed (paused by alice: new disks)" in give("list").stdout
    assert "the queue to be resumed (paused by alice: new disks)" in give("show", job_id).stdout
    with BrokerProbe(settings) as probe:
        assert "the queue is paused by alice: new disks: `ganctl resume` ends that" in probe.warnings()
    assert is_paused() == 1
    assert "gives out jobs again" in give("resume").stderr
    assert "was not paused" in give("resume").stderr


@pytest.mark.parametrize("user", ["gan-dispatcher", "gan-worker", "gan-exporter", "gan-reader"])
def test_only_operators_have_wishes(user: str, broker: Broker, settings: Settings, queue: JobQueue) -> None:
    with Maintenance(broker.as_user(user, settings)) as maintenance:
        acts: list[Callable[[], Any]] = [
            maintenance.pause, maintenance.resume,
            lambda: maintenance.cordon("node-0"), lambda: maintenance.uncordon("node-0"),
        ]  # fmt: skip
        for act in acts:
            with pytest.raises(BrokerOutage, match="right"):
                act()
        assert maintenance.cordons() == {}
    assert queue.paused() is None


# Nodes that take nothing new.


@pytest.fixture
def cluster() -> InMemoryCluster:
    """Two nodes of four CPUs."""
    both = InMemoryCluster(cpus=4)
    both.others = [Machine("node-1", "two", "10.0.0.2", FOUR, FOUR)]
    return both


@pytest.fixture
def lead(settings: Settings, cluster: InMemoryCluster, monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatcher, "LEASE_SHARE", 1e9)
    monkeypatch.setattr("ganservice.leadership.LEADERSHIP_S", 600.0)  # it leads for as long as a test takes
    leader = Dispatcher(settings, cluster)
    leader.tick()
    return leader


def nodes(settings: Settings) -> dict[str, Node]:
    with Leadership(settings) as leadership:
        return {node.id: node for node in leadership.nodes()}


def test_a_cordoned_node_is_avoided_and_counts_for_nothing(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, maintenance: Maintenance, spec: TrainSpec
) -> None:
    maintenance.cordon("node-1")
    large, small = submit(queue, spec, resources=Resources(cpus_per_worker=5)), submit(queue, spec)
    lead.tick()
    assert [(gang.name.job_id, gang.avoided) for gang in cluster.started] == [(small, frozenset({"node-1"}))]
    assert queue.get(large).waiting_for == "5 CPUs; the cluster has 4 CPUs"
    assert maintenance.uncordon("node-1")
    lead.tick()
    assert cluster.gang(large).avoided == set()
    assert not maintenance.uncordon("node-1")


def test_a_gang_that_waits_for_room_is_asked_for_anew_when_a_node_is_cordoned(
    lead: Dispatcher,
    cluster: InMemoryCluster,
    queue: JobQueue,
    maintenance: Maintenance,
    admin: redis.Redis,
    spec: TrainSpec,
) -> None:
    job_id = submit(queue, spec)
    lead.tick()
    first = cluster.gang(job_id)
    maintenance.cordon("node-1")
    lead.tick()
    job = queue.get(job_id)
    assert (first.is_ended, job.failures, job.message) == (
        True, 0, "it is placed anew, off a node that is cordoned"
    )  # fmt: skip
    skip_delay(admin, job_id)
    lead.tick()
    assert cluster.gang(job_id).avoided == {"node-1"}
    assert cluster.gang(job_id) is not first
    lead.tick()
    assert not cluster.gang(job_id).is_ended


@pytest.mark.parametrize(
    ("phase", "drain", "directive"),
    [
        (Phase.MEETING, False, Directive.CONTINUE),
        (Phase.RUNNING, False, Directive.CONTINUE),
        (Phase.MEETING, True, None),
        (Phase.RUNNING, True, Directive.YIELD),
    ],
)
def test_a_drained_node_is_left_and_a_cordoned_one_is_not(
    phase: Phase, drain: bool, directive: Directive | None, lead: Dispatcher, request: pytest.FixtureRequest
) -> None:
    """`directive` is what the attempt on it hears; None of one that has not begun, whose job goes back at once."""
    cluster, queue, spec, settings = map(request.getfixturevalue, ("cluster", "queue", "spec", "settings"))
    here, elsewhere = (submit(queue, spec, resources=Resources(workers=2)) for _ in range(2))
    lead.tick()
    cluster.gang(here).placed_on = ("node-0", "node-1")
    cluster.gang(here).phase = cluster.gang(elsewhere).phase = phase
    request.getfixturevalue("maintenance").cordon("node-1", drain=drain)
    lead.tick()
    if directive:
        assert queue.heartbeat(cluster.gang(here).lease) is directive
    else:
        job = queue.get(here)
        assert (job.state, job.failures, job.message) == (State.QUEUED, 0, "its node is drained by alice")
        assert cluster.gang(here).is_ended
    assert queue.heartbeat(cluster.gang(elsewhere).lease) is Directive.CONTINUE
    lead.tick()
    assert {node.id: node.drains for node in nodes(settings).values()} == {"node-0": False, "node-1": drain}


def test_the_jobs_on_each_node_are_told(
    lead: Dispatcher, cluster: InMemoryCluster, queue: JobQueue, settings: Settings, spec: TrainSpec
) -> None:
    first, second = submit(queue, spec, resources=Resources(workers=2)), submit(queue, spec)
    lead.tick()
    cluster.gang(first).placed_on = ("node-0", "node-1")
    assert nodes(settings)["node-0"].jobs == (), "they are not placed yet"
    for job_id in (first, second):
        cluster.gang(job_id).phase = Phase.RUNNING
    lead.tick()
    assert {node.address: node.jobs for node in nodes(settings).values()} == {
        "10.0.0.1": tuple(sorted([first, second])),
        "10.0.0.2": (first,),
    }


def test_a_node_counts_as_drained_only_once_all_gangs_have_been_told(
    settings: Settings,
    lead: Dispatcher,
    cluster: InMemoryCluster,
    queue: JobQueue,
    maintenance: Maintenance,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = submit(queue, spec)
    lead.tick()
    maintenance.cordon("node-0", drain=True)
    monkeypatch.setattr("ganservice.leadership.LEADERSHIP_S", 0.0)
    monkeypatch.setattr("workers.dispatch.watch.ADOPT_S", -1.0)  # nothing is adopted in time
    successor = Dispatcher(settings, cluster)
    successor.tick()
    successor.tick()
    assert cluster.adopted == []
    assert not nodes(settings)["node-0"].drains
    monkeypatch.setattr("workers.dispatch.watch.ADOPT_S", 60.0)
    successor.tick()
    successor.tick()
    assert cluster.started[0].is_ended, "it might have been placed there"
    assert nodes(settings)["node-0"].drains
    assert queue.get(job_id).failures == 0


# What operators see and type.


def test_an_operator_drains_a_node_and_gives_it_back(
    give: Callable[..., Result],
    lead: Dispatcher,
    cluster: InMemoryCluster,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
) -> None:
    job_id = submit(queue, spec)
    lead.tick()
    cluster.gang(job_id).placed_on = ("node-1",)
    cluster.gang(job_id).phase = Phase.RUNNING
    lead.tick()
    assert state(give, "node-1") == "ready"
    give("cordon", "two")
    assert state(give, "node-1") == "cordoned"
    give("drain", "10.0.0.2", "--reason", "new fans")
    assert state(give, "node-1") == "draining"
    lead.tick()
    lead.tick()
    assert state(give, "node-1") == "draining", "the job is there yet"
    done = give("drain", "node-1", "--wait", "--timeout", "0")
    assert done.exit_code == 101
    assert f"node-1 is not drained after 0 s: {job_id} is there yet" in done.stderr
    gang = cluster.gang(job_id)
    assert queue.heartbeat(gang.lease) is Directive.YIELD
    queue.finish(gang.lease, FAILURE.model_copy(update={"reason": Reason.YIELDED}))
    gang.phase = Phase.ENDED
    skip_delay(admin, job_id)
    lead.tick()
    assert cluster.gang(job_id).avoided == {"node-1"}, "it goes on elsewhere"
    lead.tick()
    assert "node-1 is drained" in give("drain", "node-1", "--wait").stderr
    assert re.search(r"by alice \d+s ago", give("nodes").stdout)
    give("cordon", "node-1")
    assert state(give, "node-1") == "drained", "a cordon takes no drain back"
    give("uncordon", "node-1")
    assert state(give, "node-1") == "ready"
    job = queue.get(job_id)
    assert (job.state, job.attempt, job.failures) == (State.RUNNING, 2, 0)


def state(give: Callable[..., Result], node_id: str) -> str:
    [row] = [row for row in map(str.split, give("nodes").stdout.splitlines()) if row[0] == node_id]
    return row[3]


@pytest.mark.usefixtures("lead")
def test_a_node_that_is_gone_is_shown_and_forgotten_when_asked(
    give: Callable[..., Result], maintenance: Maintenance, admin: redis.Redis
) -> None:
    maintenance.cordon("f00d" * 14)
    admin.hset("{gan}:cordons", "node-0", "damaged")
    assert maintenance.cordons()["node-0"] == Cordon(by="somebody")
    assert [row.split()[:2] for row in give("nodes").stdout.splitlines()[3:]] == [["f00df00df00d", "gone"]]
    assert "is gone and forgotten" in give("uncordon", "f00d").stderr
    assert list(maintenance.cordons()) == ["node-0"]
    maintenance.cordon("node-0")
    assert maintenance.cordons()["node-0"].by == ME


@pytest.mark.usefixtures("lead")
@pytest.mark.parametrize(
    ("command", "reference", "complaint"),
    [
        ("cordon", "node", "node may be any of several nodes: node-0, node-1; give one of these ids"),
        ("drain", "node-9", "no node has the id, host or address node-9; see `ganctl nodes`"),
        ("uncordon", "node-0", "no node that is cordoned has the id, host or address node-0; see `ganctl nodes`"),
    ],
)
def test_a_node_that_cannot_be_meant_is_one_line(
    command: str, reference: str, complaint: str, give: Callable[..., Result]
) -> None:
    with pytest.raises(RequestError) as told:
        give(command, reference)
    assert str(told.value) == complaint
