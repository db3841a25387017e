"""One cause, one page: a real Prometheus, a real Alertmanager and somebody who is told."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from ganservice.exporter import JobCollector
from ganservice.job import Activity, Pulse
from ganservice.leadership import Cluster, Leadership
from ganservice.metrics_server import serve
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker, running
from tests.integration.jobs import CLUSTER, lease, submit
from tests.integration.monitoring import (
    Pager,
    alertmanager,
    ask,
    firing,
    free_port,
    pager,
    prometheus,
    states,
    tell,
)
from tests.unit.rules import ALERTS, OF_JOBS

Eventually = Callable[..., Any]
JOBS = 3
ENDS = {"JobGivenUp", "JobEndedWithReservation", "EvaluationFailed"}


def alert(name: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "service": "ganservice", "severity": ALERTS[name]["labels"]["severity"], **labels}


@dataclass
class Watch:
    """An Alertmanager, and who is told by it."""

    port: int
    pager: Pager

    def settle(self, eventually: Eventually) -> None:
        """Wait until everything that Alertmanager knows has been told, if it is told at all."""
        # None waits for longer. Of two that wait equally long either may be told first on a busy machine: another wait
        # begins once the first is over.
        for last in ("the last but one", "the last"):
            tell(self.port, alert("JobGivenUp", job_id=last))
            eventually(partial(self._has_told_of, last))

    def _has_told_of(self, job_id: str) -> bool:
        return any(each["labels"].get("job_id") == job_id for page in self.pager.pages for each in page)

    def told(self) -> list[list[str]]:
        """The names of the alerts of each page, without that last one."""
        return [names for names in self.pager.told() if names != ["JobGivenUp"]]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with pager() as receiver, alertmanager(tmp_path, receiver) as port:
        yield Watch(port, receiver)


@pytest.mark.parametrize(
    ("cause", "beside"),
    [
        ("ExporterDown", ENDS | {"ExporterAbsent"}),
        ("BrokerDown", ENDS | {"ExporterDown", "ExporterAbsent", "StoreDown", "StoreErrors", "DiskFilling"}),
    ],
)
def test_what_cannot_be_known_is_silent(cause: str, beside: set[str], watch: Watch, eventually: Eventually) -> None:
    others = set(ALERTS) - {cause, *beside}
    expected = {cause: {"active"}} | {name: {"suppressed"} for name in others}
    tell(watch.port, alert(cause), *(alert(name, job_id="j") for name in others))
    eventually(lambda: states(watch.port) == expected)  # what inhibits is learned a moment after it is told
    tell(watch.port, *(alert(name, job_id="j") for name in ENDS))
    assert all(states(watch.port)[name] == {"active"} for name in ENDS)


@pytest.mark.parametrize(
    ("cause", "consequences"),
    [
        ("StoreDown", {"StoreErrors", "RetriesBurning", "CheckpointOld", "NoProgress"}),
        ("NoLeader", {"LeaseNotReaped", "HeartbeatLate", "QueueNotDraining", "NodesLost"}),
        ("NodesLost", {"HeartbeatLate", "RetriesBurning", "JobRetriesBurning", "CannotBePlaced"}),
    ],
)
def test_a_cause_is_one_page(cause: str, consequences: set[str], watch: Watch, eventually: Eventually) -> None:
    tell(watch.port, alert(cause), *(alert(name, job_id=job_id) for name in consequences for job_id in "abc"))
    watch.settle(eventually)
    assert watch.told() == [[cause]]


def test_all_that_is_wrong_with_a_job_is_one_page(watch: Watch, eventually: Eventually) -> None:
    tell(watch.port, *(alert(name, job_id=job_id) for name in ("HeartbeatLate", "TrainingDiverged") for job_id in "ab"))
    tell(watch.port, alert("GpuIdle", job_id="a"), alert("SuspectHealth", job_id="b"))
    watch.settle(eventually)
    assert watch.told() == 2 * [["HeartbeatLate", "TrainingDiverged"]]


@pytest.mark.parametrize("end", sorted(ENDS))
def test_an_end_is_one_page_with_what_made_it_and_without_what_it_made(
    end: str, watch: Watch, eventually: Eventually
) -> None:
    causes = {"TrainingDiverged", "TrainingCollapsed"}
    consequences = set(OF_JOBS) - ENDS - causes - {"CannotBePlaced"}
    tell(watch.port, *(alert(name, job_id="a") for name in {end} | causes | consequences))
    watch.settle(eventually)
    assert watch.told() == [sorted({end, *causes})]


# The whole way


@contextmanager
def beating(work: Callable[[], object]) -> Iterator[None]:
    """Something done again and again inside the block."""
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(0.2):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that may be killed."""
    with running("valkey", tmp_path) as broker:
        yield broker


@pytest.fixture
def impatient(own_broker: Broker, store_settings: Settings, tmp_path: Path) -> Settings:
    """Settings of that broker, by which leases are short; of no stack, whose disk would be told of."""
    return store_settings.model_copy(
        update={
            "broker_url": own_broker.as_user("gan", store_settings).broker_url,
            "lease_s": 3.0,
            "heartbeat_s": 1.0,
            "exporter_port": free_port(),
            "exporter_password": None,
            "state_dir": tmp_path / "none",
        }
    )


@pytest.fixture
def leader(impatient: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A dispatcher that leads until it is called, and is soon missed then."""
    monkeypatch.setattr("ganservice.leadership.LEADERSHIP_S", 2.0)
    with ExitStack() as leading:
        leadership = leading.enter_context(Leadership(impatient))
        leading.enter_context(beating(lambda: leadership.lead(Cluster(nodes=1, total=CLUSTER, free=CLUSTER))))
        yield leading.close


@pytest.fixture
def workers(impatient: Settings, spec: TrainSpec) -> Iterator[Callable[[], None]]:
    """Jobs that beat until it is called."""
    with ExitStack() as working:
        queue = working.enter_context(closing(JobQueue(impatient)))
        for _ in range(JOBS):
            submit(queue, spec)
        held = [lease(queue) for _ in range(JOBS)]
        pulse = Pulse(activity=Activity.TRAINING, images=64, images_per_s=1.0)
        working.enter_context(beating(lambda: [queue.heartbeat(each, pulse=pulse) for each in held]))
        yield working.close


@pytest.fixture
def watched(impatient: Settings, watch: Watch, tmp_path: Path) -> Iterator[int]:
    """The port of a Prometheus that watches the service."""
    server = serve(JobCollector(impatient).text, impatient)
    try:
        with prometheus(tmp_path, impatient.exporter_port, watch.port) as port:
            yield port
    finally:
        server.shutdown()
        server.server_close()


def answers(port: int, expression: str) -> bool:
    return bool(ask(port, f"/api/v1/query?query={quote(expression)}")["data"]["result"])


def test_a_broker_that_is_killed_is_one_page(
    watched: int,
    watch: Watch,
    leader: Callable[[], None],
    workers: Callable[[], None],
    own_broker: Broker,
    eventually: Eventually,
) -> None:
    eventually(lambda: answers(watched, "ganservice_leader_up == 1") and answers(watched, "ganservice_store_up == 1"))
    with closing(redis.Redis.from_url(own_broker.admin_url)) as admin:
        pid = admin.info("server")["process_id"]
    leader()
    workers()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: "BrokerDown" in firing(watched))
    watch.settle(eventually)
    assert watch.told() == [["BrokerDown"]]
    [told] = [each for page in watch.pager.pages for each in page if each["labels"]["alertname"] == "BrokerDown"]
    assert {"summary", "description", "runbook_url", "dashboard"} == set(told["annotations"])


def test_a_leader_and_workers_that_go_are_one_page(
    watched: int, watch: Watch, leader: Callable[[], None], workers: Callable[[], None], eventually: Eventually
) -> None:
    eventually(lambda: answers(watched, "ganservice_leader_up == 1") and answers(watched, "ganservice_store_up == 1"))
    leader()
    eventually(lambda: "NoLeader" in states(watch.port))
    workers()
    eventually(lambda: "HeartbeatLate" in states(watch.port))
    watch.settle(eventually)
    assert firing(watched) >= {"NoLeader", "HeartbeatLate"}
    assert watch.told() == [["NoLeader"]]
