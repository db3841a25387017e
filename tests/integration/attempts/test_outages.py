"""What attempts live through: a store that is killed, full, failing or closed to them, and a broker that is full."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import torch

from ganservice.errors import BrokerOutage
from ganservice.job import Activity, Job, Reason, State
from ganservice.queue import JobQueue
from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess, at_images, serve
from tests.integration.broker import Broker
from tests.integration.gate import Gate, gate_before
from tests.integration.store import Store
from tests.specs import SHORT, write_judged_spec, write_spec
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.run import run_attempt
from workers.gan.worker_group import WorkerGroup

pytestmark = pytest.mark.usefixtures("quick_bundles")
TIMEOUT_S = 120
SpecFile = Callable[..., str]
# What the gate answers with, or that the store is killed; and what an attempt says that it waits for.
TROUBLES = {507: "full", 500: "failing", 403: "refused", None: "unreachable"}
RECIPE = {
    "data": {"dataset": "shapes", "image_size": 16, "channels": 1},
    "generator": {"kind": "mlp", "widths": [64]},
    "discriminator": {"kind": "mlp", "widths": [64]},
    "batch_size": 32,
    "precision": "fp32",
}


class Outage:
    """An outage of one kind, that begins and ends when it is told to."""

    def __init__(self, store: Store, gate: Gate, status: int | None) -> None:
        self._store, self._gate, self._status = store, gate, status

    def begin(self) -> None:
        if self._status:
            self._gate.shut(self._status)
        else:
            self._store.kill()

    def end(self) -> None:
        self._gate.open()
        if not self._status:
            self._store.start()


@pytest.fixture(scope="module")
def gate(store: Store) -> Iterator[Gate]:
    with gate_before(store.settings) as gate:
        yield gate


@pytest.fixture(scope="module")
def service(valkey: Broker, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service whose store is behind the gate."""
    with serve(valkey, gate.settings, tmp_path_factory.mktemp("state")) as service:
        yield service


@pytest.fixture(scope="module")
def undisturbed(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The weights that the spec comes to when nothing disturbs it."""
    import_shapes("shapes")
    folder = tmp_path_factory.mktemp("specs")
    return service.weights(service.train(write_spec(folder, "short", **SHORT, recipe=RECIPE)))


@pytest.fixture
def job_id(service: InProcess, spec_file: SpecFile, undisturbed: bytes) -> str:
    assert undisturbed
    return service.ok("submit", spec_file("short", **SHORT, recipe=RECIPE))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.patience.pauses", lambda: itertools.repeat(0.05))


def waits(service: InProcess, job_id: str, status: int | None) -> Job:
    """The job, once it waits for a store in this trouble."""

    def look() -> Job | None:
        job = service.job(job_id)
        assert not job.state.is_final, job.message
        return job if job.waits_for == f"the store ({TROUBLES[status]})" else None

    job: Job = wait_until(look)
    return job


def waits_no_more(service: InProcess, job_id: str) -> Job:
    job: Job = wait_until(lambda: (job := service.job(job_id)).state.is_final and job)
    return job


@contextmanager
def at_the_manifest(act: Callable[[], Any]) -> Iterator[None]:
    """Have `act` called when of a generator only its manifest is missing."""
    hold = Heartbeat.hold

    def held(self: Heartbeat) -> None:
        hold(self)
        act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heartbeat, "hold", held)
        yield


MOMENTS: dict[str, Callable[[Callable[[], None]], Any]] = {
    "before it starts": lambda begin: begin(),
    "while it trains": lambda begin: at_images(1_280, begin),
    "when it publishes": at_the_manifest,
}


@pytest.mark.parametrize(
    ("moment", "status"),
    [*(("before it starts", status) for status in TROUBLES), *itertools.product(list(MOMENTS)[1:], (507, None))],
    ids=lambda value: value if isinstance(value, str) else TROUBLES[value],
)
def test_no_outage_of_the_store_costs_an_attempt(
    service: InProcess, job_id: str, store: Store, gate: Gate, undisturbed: bytes, status: int | None, moment: str
) -> None:
    outage = Outage(store, gate, status)
    with ExitStack() as around:
        if (during := MOMENTS[moment](outage.begin)) is not None:
            around.enter_context(during)
        around.enter_context(service.training(job_id))
        try:
            waits(service, job_id, status)
        finally:
            outage.end()
        job = waits_no_more(service, job_id)
    assert (job.state, job.attempt, job.failures) == (State.SUCCEEDED, 1, 0)
    [event] = service.events(job_id, "store_unreachable")
    assert event.detail["kind"] == TROUBLES[status]
    assert service.weights(job_id) == undisturbed
    assert list(service.store.checkpoints(job_id)) == list(range(640, 3_841, 640))


def test_no_call_of_an_attempt_lacks_patience(service: InProcess, job_id: str, gate: Gate, undisturbed: bytes) -> None:
    gate.refuse_each_once()
    try:
        first = service.die_at(1_920, job_id, torch.distributed.DistNetworkError("a peer is gone"))
        second = service.attempt(job_id)
    finally:
        gate.open()
    assert first.reason is Reason.WORKER_DIED
    assert (second.state, second.attempt) == (State.SUCCEEDED, 2), second.message
    assert service.weights(job_id) == undisturbed


def test_training_goes_on_while_its_checkpoints_wait(service: InProcess, job_id: str, gate: Gate) -> None:
    with at_images(1_280, lambda: gate.shut(507)), service.training(job_id):
        try:
            waits(service, job_id, 507)
            wait_until(lambda: service.job(job_id).images >= 1_920)
            assert "waits for the store (full)" in service.ok("list")
            assert "the store (full)" in service.ok("show", job_id)
        finally:
            gate.open()
        assert waits_no_more(service, job_id).attempt == 1


@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.YIELDED])
def test_a_directive_is_heeded_while_the_store_is_away(
    service: InProcess, job_id: str, gate: Gate, undisturbed: bytes, reason: Reason
) -> None:
    def shut() -> None:
        wait_until(lambda: service.job(job_id).checkpoint)
        gate.shut(500)

    def direct() -> None:
        waits(service, job_id, 500)
        shown = service.ganctl("show", job_id, "--artifacts")
        assert (shown.returncode, "its artifacts are not shown" in shown.stderr) == (0, True)
        assert "waits for" in shown.stdout
        if reason is Reason.CANCELLED:
            service.ok("cancel", job_id)
        else:
            service.queue().ask_to_yield(service.leases[job_id])

    try:
        with at_images(1_280, shut), at_images(1_920, direct):
            job = service.attempt(job_id)
    finally:
        gate.open()
    assert (job.reason, job.failures) == (reason, 0)
    assert job.checkpoint
    assert (
        f"while it waited for the store (failing); its last stored checkpoint is at {job.checkpoint.images:,} images"
        in (job.message or "")
    )
    if job.state.is_final:
        service.ok("retry", job_id)
    service.finish(job_id)
    assert service.weights(job_id) == undisturbed


def test_an_outage_that_outlasts_the_patience_gives_the_job_back(service: InProcess, job_id: str, gate: Gate) -> None:
    hasty = service.settings.model_copy(update={"outage_patience_s": 0.0})
    gate.shut(507)
    try:
        run_attempt(hasty, service.take(job_id), WorkerGroup(), torch.device("cpu"), lambda: None)
    finally:
        gate.open()
    job = service.job(job_id)
    assert (job.state, job.reason) == (State.QUEUED, Reason.STORE)
    assert "has no room left" in (job.message or "")


def test_an_evaluation_lives_through_an_outage(service: InProcess, job_id: str, gate: Gate) -> None:
    service.finish(job_id)
    evaluation = service.ok("evaluate", job_id, "-n", "160", "--measures", "frechet")
    gate.shut(500)
    with service.training(evaluation):
        try:
            waits(service, evaluation, 500)
        finally:
            gate.open()
        # From here on it has all that it reads; that it would end well is tested elsewhere.
        wait_until(lambda: service.job(evaluation).preparation is Activity.TRAINING_CLASSIFIER)
    job = service.job(evaluation)
    assert (job.state, job.attempt) == (State.CANCELLED, 1)


def test_a_full_broker_costs_no_attempt(
    service: InProcess,
    import_shapes: Callable[[str], str],
    valkey: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id, submit, refused = (
        service.ok("submit", write_judged_spec(tmp_path, "judged", import_shapes("judged"))),
        JobQueue.submit,
        threading.Event(),
    )

    def watched(self: JobQueue, *arguments: Any, **named: Any) -> tuple[str, bool]:
        try:
            return submit(self, *arguments, **named)
        except BrokerOutage:
            refused.set()
            raise

    monkeypatch.setattr(JobQueue, "submit", watched)
    with (
        closing(redis.Redis.from_url(valkey.admin_url)) as admin,
        at_images(1_920, lambda: admin.config_set("maxmemory", 1)),
        service.training(job_id),
    ):
        try:
            # The evaluation of the checkpoint at 1,920 images; beats are refused as well.
            assert refused.wait(TIMEOUT_S)
        finally:
            admin.config_set("maxmemory", 0)
        job = waits_no_more(service, job_id)
    assert (job.state, job.attempt, job.images_trained) == (State.SUCCEEDED, 1, 3_840)
    assert len(service.events(job_id, "evaluation_submitted")) == 2
