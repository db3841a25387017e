"""What earlier releases have left behind (see `tests/recorded`): this one lists it, goes on with it, fetches it."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
import torch

from ganservice.job import State
from tests.integration.attempts.in_process import InProcess, serve
from tests.integration.broker import Broker
from tests.integration.cluster import InMemoryCluster
from tests.integration.scraping import families
from tests.integration.store import Store
from workers.attempt.run import run_attempt
from workers.dispatch import dispatcher
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Phase
from workers.gan.worker_group import WorkerGroup

pytestmark = pytest.mark.usefixtures("quick_bundles")
RECORDED = Path(__file__).parents[2] / "recorded"
RELEASES = sorted(path.parent.name for path in RECORDED.glob("*/redis.json"))


@pytest.fixture(params=RELEASES)
def service(
    request: pytest.FixtureRequest, valkey: Broker, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """A service whose broker and store another release has filled."""
    folder = RECORDED / request.param
    with serve(valkey, store.settings, tmp_path_factory.mktemp("state")) as service:
        objects = service.store.objects
        for path in sorted((folder / "objects").rglob("*")):
            if path.is_file():
                objects.put(str(path.relative_to(folder / "objects")), path.read_bytes())
        with closing(redis.Redis.from_url(valkey.admin_url)) as admin:
            fill(admin, folder / "redis.json")
        list(service.queue().index())  # as the first dispatcher of this release does
        yield service
        for entry in objects.list_objects("jobs/"):
            objects.delete(entry.key)


def fill(admin: redis.Redis, recording: Path) -> None:
    """Put back every key of a recording."""
    for key, entry in json.loads(recording.read_text()).items():
        value = entry["value"]
        match entry["type"]:
            case "hash":
                admin.hset(key, mapping=value)
            case "string":
                admin.set(key, value)
            case "zset":
                admin.zadd(key, dict(value))
            case "stream":
                for entry_id, fields in value:
                    admin.xadd(key, fields, id=entry_id)


def of(service: InProcess, state: State) -> str:
    [job] = service.queue().list_jobs([state])
    return job.id


def test_a_job_that_waits_between_attempts_goes_on_to_the_same_end(service: InProcess) -> None:
    job_id = of(service, State.QUEUED)
    stored = service.job(job_id).checkpoint
    assert stored
    job = service.finish(job_id)
    assert (job.state, job.attempt, job.failures) == (State.SUCCEEDED, 2, 0)
    assert job.resumed_images == stored.images
    assert job.progress
    assert job.training
    assert job.progress.images == job.training.images
    # Its spec stays as it was when it was first written.
    kept = service.store.objects.get(f"jobs/{job_id}/spec.yaml")
    assert kept == (next(RECORDED.glob(f"*/objects/jobs/{job_id}/spec.yaml"))).read_bytes()


def test_what_it_has_finished_is_shown_fetched_and_gone_on_from(service: InProcess, tmp_path: Path) -> None:
    job_id = of(service, State.SUCCEEDED)
    assert {job_id, of(service, State.QUEUED)} <= set(service.ok("list").split())
    assert "artifacts" in service.ok("show", job_id, "--artifacts")
    assert "checkpoint" in service.ok("events", job_id)
    assert "attempt 1 starts at 0 images" in service.ok("logs", job_id)
    service.ok("fetch", job_id, "--into", str(tmp_path / "generator"))
    service.ok("sample", str(tmp_path / "generator"), "-n", "4", "--into", str(tmp_path / "samples.png"))
    service.ok("report", job_id, "--into", str(tmp_path / "report.html"))
    spec = tmp_path / "longer.yaml"
    spec.write_bytes(service.store.objects.get(f"jobs/{job_id}/spec.yaml"))
    longer = service.ok("submit", str(spec), "--from", f"{job_id}@final", "--set", "images=7680")
    job = service.finish(longer)
    assert (job.state, job.resumed_images) == (State.SUCCEEDED, 5_120)


def test_the_order_in_which_the_handbook_upgrades(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/operating.md has it under "Upgrading": pause, dispatchers, nodes, exporter, resume."""
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatcher, "LEASE_SHARE", 1e9)
    job_id, cluster = of(service, State.QUEUED), InMemoryCluster(cpus=4)
    service.ok("pause", "--reason", "upgrade")
    leader = Dispatcher(service.settings, cluster)
    leader.tick()
    assert cluster.started == []
    assert "the queue to be resumed (paused by " in service.ok("show", job_id)
    service.ok("resume")
    leader.tick()
    gang = cluster.gang(job_id)
    gang.phase = Phase.RUNNING
    run_attempt(service.settings, gang.lease, WorkerGroup(), torch.device("cpu"), lambda: None)
    leader.tick()
    assert (service.job(job_id).state, service.job(job_id).attempt, cluster.alive()) == (State.SUCCEEDED, 2, [])
    jobs = families(service.settings)["ganservice_jobs"]
    counts = {sample.labels["state"]: sample.value for sample in jobs.samples}
    assert counts == dict.fromkeys(State, 0) | {State.SUCCEEDED: 2}
