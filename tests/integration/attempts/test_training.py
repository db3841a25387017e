"""An attempt of a training: where it starts, how it leaves when it is told to, and what each end of it leads to."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from ganservice.artifacts import ArtifactStore
from ganservice.errors import Diverged, LeaseLost
from ganservice.job import Activity, Job, Outcome, Progress, Reason, State
from ganservice.objects import ObjectStore
from ganservice.quantities import OF_MACHINE
from ganservice.retry import HOPELESS, INFRASTRUCTURE
from ganservice.spec import evaluation_name
from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess, at_images, dead_once_published
from tests.integration.store import damage, flipped, raw_client, truncated
from tests.specs import SHORT, write_spec
from tests.tape import TapeRecorder, TapeRecording
from workers.attempt import checkpoints, leader
from workers.attempt import run as attempt
from workers.attempt.run import REASONS
from workers.gan import pauses, trainer
from workers.gan.checkpoint import snapshot
from workers.gan.engine import EngineChoice
from workers.gan.export import generator_safetensors
from workers.gan.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick_bundles")
SpecFile = Callable[..., str]
DEATH = torch.distributed.DistNetworkError("a peer is gone")
JUDGED = SHORT | {"evaluate": {"every_images": 1_280, "judging": {"network": "pixels", "measures": ["frechet"]}}}
ERRORS = {Reason.ERROR: ZeroDivisionError("on purpose"), Reason.WORKER_DIED: DEATH} | {
    reason: kind("on purpose") for kind, reason in REASONS if reason is not Reason.WORKER_DIED
}


def starts(service: InProcess, job_id: str) -> list[int]:
    return [event.detail["images"] for event in service.events(job_id, "started")]


def cancel_at(images: int, service: InProcess, job_id: str) -> Job:
    """Run an attempt that is cancelled after so many images."""

    def cancel() -> None:
        service.ok("cancel", job_id)
        service.await_beats(job_id)

    with at_images(images, cancel):
        return service.attempt(job_id)


@pytest.fixture(scope="module")
def undisturbed(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that the short spec comes to when nothing disturbs it."""
    return service.weights(service.train(write_spec(tmp_path_factory.mktemp("specs"), "short", **SHORT)))


@pytest.fixture
def dead(service: InProcess, spec_file: SpecFile) -> str:
    """A job whose first attempt died, at 1,920 images, with checkpoints at 640 and perhaps 1,280."""
    job_id = service.ok("submit", spec_file("short", **SHORT))
    job = service.die_at(1_920, job_id, DEATH)
    assert (job.state, job.reason) == (State.QUEUED, Reason.WORKER_DIED)
    return job_id


# What it reports of D.


@pytest.mark.parametrize(
    ("dataset", "only", "is_told"),
    [("fashion-mnist", None, True), ("fashion-mnist", ["Bag"], True), ("shapes", None, False)],
)
def test_reports_tell_how_well_d_knows_its_pictures_where_others_are_held_out(
    service: InProcess,
    spec_file: SpecFile,
    import_shapes: Callable[[str], str],
    dataset: str,
    only: list[str] | None,
    is_told: bool,
) -> None:
    asked = {"dataset": import_shapes("shapes") if dataset == "shapes" else dataset, "only": only}
    changes: dict[str, object] = {f"recipe.data.{key}": value for key, value in asked.items() if value}
    if dataset == "shapes":
        changes["recipe.data.image_size"] = 16
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    rows = service.store.metrics(service.train(spec_file(images=640, report_every_images=320), *options)).splitlines()
    assert [json.loads(row)["d_held_out_gap"] is not None for row in rows] == [is_told] * 2
    assert all(0 <= json.loads(row)["d_accuracy_real"] <= 1 for row in rows)


# Where it starts.


def test_the_next_attempt_goes_on_from_the_newest_checkpoint_bit_for_bit(
    service: InProcess, dead: str, undisturbed: bytes
) -> None:
    newest = max(service.store.checkpoints(dead))
    assert service.finish(dead).state is State.SUCCEEDED
    assert starts(service, dead) == [0, newest]
    assert service.weights(dead) == undisturbed


@pytest.mark.parametrize("how", [flipped, truncated])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes, how: Callable[[bytes], bytes]
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    cancel_at(1_920, service, job_id)
    newest, second, *_ = service.store.checkpoint_keys(job_id)
    damage(service.settings, newest, how)
    service.ok("retry", job_id)
    assert service.finish(job_id).state is State.SUCCEEDED
    assert starts(service, job_id) == [0, 1_280]
    [event] = service.events(job_id, "checkpoint_damaged")
    assert event.detail["key"] == newest
    assert service.events(job_id, "started")[1].detail["checkpoint"] == second
    assert service.weights(job_id) == undisturbed


def test_where_no_checkpoint_can_be_read_it_begins_anew(service: InProcess, dead: str, undisturbed: bytes) -> None:
    keys = service.store.checkpoint_keys(dead)
    for key in keys:
        damage(service.settings, key)
    assert service.finish(dead).state is State.SUCCEEDED
    assert starts(service, dead) == [0, 0]
    assert [event.detail["key"] for event in service.events(dead, "checkpoint_damaged")] == keys
    assert service.weights(dead) == undisturbed


def test_a_checkpoint_that_the_store_loses_pushes_none_out(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec_file("short", **SHORT | {"checkpoints": {"every_images": 640, "keep_last": 1}})
    put = ObjectStore.put

    def lose(self: ObjectStore, key: str, data: bytes) -> str:
        lost = key.endswith("/0001/checkpoints/000000001280.pt")
        return put(self, key, truncated(data) if lost else data)

    monkeypatch.setattr(ObjectStore, "put", lose)
    job_id = service.ok("submit", path)
    job = service.attempt(job_id)
    assert (job.state, job.reason) == (State.QUEUED, Reason.STORE)
    assert "the store has lost what it took" in (job.message or "")
    assert service.finish(job_id).state is State.SUCCEEDED
    assert starts(service, job_id) == [0, 640]
    assert service.weights(job_id) == undisturbed


def test_what_follows_damaged_checkpoints_is_kept_for_the_next_attempt(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes
) -> None:
    path = spec_file("short", **SHORT | {"checkpoints": {"every_images": 640, "keep_last": 2}})
    job_id = service.ok("submit", path)
    cancel_at(2_560, service, job_id)
    for key in service.store.checkpoint_keys(job_id):
        damage(service.settings, key)
    service.ok("retry", job_id)
    service.die_at(1_280, job_id, DEATH)
    told = service.job(job_id).checkpoint
    assert told
    assert service.store.objects.get(told.key)
    assert service.finish(job_id).state is State.SUCCEEDED
    assert starts(service, job_id) == [0, 0, told.images]
    assert service.weights(job_id) == undisturbed


def test_the_checkpoint_of_a_later_version_ends_it_and_stays(service: InProcess, dead: str) -> None:
    later = io.BytesIO()
    torch.save({"format": 99}, later)
    key = service.store.put_checkpoint(service.leases[dead], 2_000, later.getvalue()).key
    job = service.attempt(dead)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.DATA, 2)
    assert "has format 99, this version of ganservice reads up to format 1" in (job.message or "")
    assert service.events(dead, "checkpoint_damaged") == []
    assert service.store.checkpoint_keys(dead)[0] == key
    assert starts(service, dead) == [0]


def test_a_damaged_checkpoint_of_another_job_is_no_start(service: InProcess, dead: str, spec_file: SpecFile) -> None:
    job_id = service.ok("submit", spec_file("next", **SHORT), "--from", dead)
    training = service.job(job_id).training
    assert training
    assert training.start
    damage(service.settings, training.start.checkpoint)
    job = service.attempt(job_id)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.DATA, 1)
    assert "sha256" in (job.message or "")


# What it tells.


def test_each_report_tells_how_long_training_stood_still_to_save(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(state: Any) -> Any:
        time.sleep(0.05)
        return snapshot(state)

    monkeypatch.setattr(checkpoints, "snapshot", slow)
    path = spec_file("short", **SHORT | {"checkpoints": {"every_images": 1_920}})
    rows = service.store.metrics(service.train(path)).splitlines()
    stalls = {row.images: row.stall_s for row in map(Progress.model_validate_json, rows)}
    after_a_checkpoint = stalls.pop(2_560)
    assert after_a_checkpoint
    assert after_a_checkpoint >= 0.05
    assert stalls[640] == 0
    assert all(stall is not None for stall in stalls.values())


# How it leaves.


def test_it_gives_its_job_back_after_a_checkpoint(service: InProcess, spec_file: SpecFile, undisturbed: bytes) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))

    def give_back() -> None:
        service.queue().ask_to_yield(service.leases[job_id])
        service.await_beats(job_id)

    with at_images(1_920, give_back):
        job = service.attempt(job_id)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
    assert job.checkpoint
    assert job.checkpoint.images == 1_920
    service.finish(job_id)
    assert starts(service, job_id) == [0, 1_920]
    assert service.weights(job_id) == undisturbed


def test_one_that_only_beats_is_given_back_and_blamed_for_nothing(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes
) -> None:
    impatient = InProcess(service.settings.model_copy(update={"stall_limit_s": 1.0}))
    job_id = service.ok("submit", spec_file("frozen", **SHORT))
    lost = threading.Event()

    def freeze() -> None:
        wait_until(lambda: service.job(job_id).checkpoint)
        lost.wait()

    with at_images(2_560, freeze), pytest.raises(LeaseLost):
        impatient.attempt(job_id, on_lost=lost.set)
    job = service.job(job_id)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.STALLED, 0)
    assert job.message == "came no further for 1 s, while it was training"
    assert service.finish(job_id).state is State.SUCCEEDED
    assert service.weights(job_id) == undisturbed


@pytest.mark.parametrize("report_every", [640, 3_840], ids=["with a report", "without one"])
def test_a_process_that_is_told_to_leave_gives_its_job_back_after_a_checkpoint(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch, report_every: int
) -> None:
    monkeypatch.setattr(pauses, "LOOK_S", 0.0)
    asked = SHORT | {"report_every_images": report_every}
    expected, job_id = service.train(spec_file("short", **asked)), service.ok("submit", spec_file("short", **asked))
    leaving, step = threading.Event(), Trainer.step

    def step_and_tell(self: Trainer) -> None:
        step(self)
        if self.images_seen == 1_600:
            leaving.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", step_and_tell)
        job = service.attempt(job_id, leaving=leaving)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
    assert job.checkpoint
    assert job.checkpoint.images == 1_600
    service.finish(job_id)
    assert starts(service, job_id) == [0, 1_600]
    assert service.weights(job_id) == service.weights(expected)
    theirs, mine = (
        [Progress.model_validate_json(row).model_dump(exclude=OF_MACHINE) for row in rows.splitlines()]
        for rows in map(service.store.metrics, (expected, job_id))
    )
    assert mine == theirs


def test_a_cancelled_job_stops_after_a_checkpoint_and_goes_on_from_it(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    job = cancel_at(1_920, service, job_id)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert job.checkpoint
    assert job.checkpoint.images == 1_920
    assert service.ganctl("wait", job_id).returncode == 103
    service.ok("retry", job_id)
    assert service.ganctl("wait", job_id, "--timeout", "0").returncode == 101
    service.finish(job_id)
    assert starts(service, job_id) == [0, 1_920]
    assert service.weights(job_id) == undisturbed
    assert service.ganctl("wait", job_id).returncode == 0


@pytest.mark.parametrize("moment", ["at its last step", "as it publishes"])
def test_who_loses_its_lease_publishes_nothing(
    service: InProcess, spec_file: SpecFile, eventually: Callable[..., Any], moment: str
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    losses: list[str] = []

    def lose() -> None:
        service.ok("cancel", job_id, "--now")
        eventually(lambda: losses)

    then = as_it_publishes(lose) if moment == "as it publishes" else at_images(3_840, lose)
    with then, pytest.raises(LeaseLost, match="lost its lease"):
        service.attempt(job_id, on_lost=lambda: losses.append(job_id))
    assert losses == [job_id]
    assert service.job(job_id).state is State.CANCELLED
    # A generator can be fetched when its manifest is there.
    assert manifests(service, job_id) == []


def test_one_that_is_cancelled_while_it_brings_what_it_begins_with_leaves_at_once(
    service: InProcess, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It brought all of it, took a step and stored a checkpoint, however long that took."""
    newest, get = max(service.store.checkpoints(dead)), ArtifactStore.get_checkpoint

    def get_slowly(store: ArtifactStore, *which: Any) -> bytes:
        service.ok("cancel", dead)
        service.await_beats(dead)
        return get(store, *which)

    monkeypatch.setattr(ArtifactStore, "get_checkpoint", get_slowly)
    job = service.attempt(dead)
    assert (job.state, job.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert (job.message or "").endswith("; stopped before it began: its data were on their way")
    assert starts(service, dead) == [0]
    assert max(service.store.checkpoints(dead)) == newest


def test_so_does_one_whose_data_arrive(
    service: InProcess,
    spec_file: SpecFile,
    import_shapes: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    data = {"dataset": import_shapes("arriving"), "image_size": 16, "channels": 1}
    job_id = service.ok("submit", spec_file("short", **SHORT), "--set", f"recipe.data={json.dumps(data)}")
    download = ObjectStore.download

    def download_slowly(store: ObjectStore, *about: Any) -> None:
        service.queue().ask_to_yield(service.leases[job_id])
        service.await_beats(job_id)
        download(store, *about)

    monkeypatch.setattr(ObjectStore, "download", download_slowly)
    cold = InProcess(service.settings.model_copy(update={"cache_dir": tmp_path}))
    cold.leases = service.leases
    job = cold.attempt(job_id)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.YIELDED, 0)
    assert starts(service, job_id) == []


def test_a_grid_that_is_due_as_it_leaves_is_drawn(service: InProcess, spec_file: SpecFile) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT | {"samples": {"every_images": 1_920}}))

    def give_back() -> None:
        service.queue().ask_to_yield(service.leases[job_id])
        service.await_beats(job_id)

    with at_images(1_920, give_back):
        assert service.attempt(job_id).reason is Reason.YIELDED
    assert service.finish(job_id).state is State.SUCCEEDED
    assert [images for images, _ in service.store.sample_grids(job_id)] == [1_920, 3_840]


# How it ends.


@pytest.mark.parametrize("reason", ERRORS)
def test_an_error_ends_it_for_its_reason(service: InProcess, spec_file: SpecFile, reason: Reason) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    job = service.die_at(1_280, job_id, ERRORS[reason])
    assert job.reason is reason
    assert job.state is (State.FAILED if reason in HOPELESS else State.QUEUED)
    assert (job.failures, job.troubles) == ((0, 1) if reason in INFRASTRUCTURE else (1, 0))
    assert str(ERRORS[reason]) in (job.message or "")
    lines = [line.text for line in service.queue().logs(job_id)]
    assert any(f"attempt 1 ended: {job.message}" in line for line in lines)
    assert any("Traceback" in line for line in lines) == (reason is Reason.ERROR)


def test_the_memory_of_a_gpu_is_free_before_the_end_is_told(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By when the next job begins there; a card that is full would have that fail."""
    job_id = service.ok("submit", spec_file("short", **SHORT))
    states: list[State] = []
    monkeypatch.setattr(attempt, "_outcome", lambda *_: Outcome(reason=Reason.ERROR, message="on purpose"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: states.append(service.job(job_id).state))
    service.attempt(job_id, device=torch.device("cuda"))
    assert states == [State.RUNNING]


def test_what_is_kept_of_an_error_is_plain_text_without_secrets(service: InProcess, spec_file: SpecFile) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    job = service.die_at(1_280, job_id, ZeroDivisionError("\x1b[2J of\nhttp://me:hunter2@host/?token=hunter2"))
    assert job.message == r"ZeroDivisionError: \x1b[2J of http://***@host/?token=***"
    lines = [line.text for line in service.queue().logs(job_id)]
    assert "error: ZeroDivisionError: \\x1b[2J of" in lines  # the last words of the traceback, a line each
    assert not [line for line in lines if "\x1b" in line or "hunter2" in line]


def test_a_diverging_job_fails_at_once_and_says_why(service: InProcess, spec_file: SpecFile) -> None:
    job_id = service.train(spec_file("diverging", **SHORT), "--set", "recipe.optimiser_d.lr=1e30")
    waited = service.ganctl("wait", job_id)
    assert waited.returncode == 100
    assert "diverged: not finite" in waited.stderr
    assert service.job(job_id).attempt == 1
    service.refused(1, "", "fetch", job_id)


def test_the_reports_of_a_diverging_job_are_kept_to_its_end(service: InProcess, spec_file: SpecFile) -> None:
    checkpoints = {"every_images": 1_280, "keep_last": 20}
    job_id = service.ok("submit", spec_file("to-the-end", **SHORT | {"checkpoints": checkpoints}))
    job = service.die_at(2_560, job_id, Diverged("not finite"))
    assert (job.state, job.reason) == (State.FAILED, Reason.DIVERGED)
    assert job.checkpoint
    assert job.checkpoint.images == 1_280
    reports = [json.loads(line)["images"] for line in service.store.metrics(job_id).splitlines()]
    assert reports == [640, 1_280, 1_920]


def test_a_data_set_that_is_gone_or_damaged_is_no_reason_to_try_again(
    service: InProcess, import_shapes: Callable[[str], str], spec_file: SpecFile
) -> None:
    data = {"dataset": import_shapes("gone"), "image_size": 16, "channels": 1}
    recipe = {"data": data, "generator": {"kind": "mlp"}, "discriminator": {"kind": "mlp"}, "batch_size": 32}
    damaged, gone = (service.ok("submit", spec_file(name, recipe=recipe)) for name in ("damaged", "gone"))
    [arrays] = [entry.key for entry in service.store.objects.list_objects("data/gone/") if "train-images" in entry.key]

    def failed(job_id: str, says: str) -> Job:
        job = service.attempt(job_id)
        assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.DATA, 1)
        assert says in (job.message or "")
        return job

    damage(service.settings, arrays)
    failed(damaged, "sha256")
    for entry in service.store.objects.list_objects("data/gone/"):
        service.store.objects.delete(entry.key)
    failed(gone, "the store holds no data set gone")


# What attempts of one job leave to each other.


def manifests(service: InProcess, job_id: str) -> list[str]:
    return [key for key in service.store.keys(job_id) if key.endswith("manifest.json")]


def test_what_was_published_before_its_attempt_died_is_the_outcome_of_the_next(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))
    with dead_once_published(DEATH):
        assert service.attempt(job_id).reason is Reason.WORKER_DIED
    [manifest] = manifests(service, job_id)
    job = service.attempt(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert job.generator == manifest.removesuffix("manifest.json")
    assert manifests(service, job_id) == [manifest]
    assert starts(service, job_id) == [0], "the second attempt trains nothing"
    [event] = service.events(job_id, "already_published")
    assert (event.attempt, event.detail["generator"]) == (2, job.generator)
    assert job.images_trained == 3_840
    assert service.weights(job_id) == undisturbed


@contextmanager
def as_it_publishes(act: Callable[[], object]) -> Iterator[None]:
    """Have `act` called in the training thread when none of the last files is made yet."""

    def make_late(generator: torch.nn.Module) -> bytes:
        act()
        return generator_safetensors(generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.attempt.publication.generator_safetensors", make_late)
        yield


def says_that_it_publishes(service: InProcess, job_id: str) -> bool:
    pulse = service.job(job_id).pulse
    return pulse is not None and pulse.activity is Activity.PUBLISHING


def test_who_dies_as_it_publishes_leaves_nothing_but_that_to_the_next(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))

    def die() -> None:
        wait_until(lambda: says_that_it_publishes(service, job_id))  # by which its room is the next job's
        raise DEATH

    with as_it_publishes(die):
        job = service.attempt(job_id)
    assert (job.state, job.reason, job.failures) == (State.QUEUED, Reason.WORKER_DIED, 0)
    assert manifests(service, job_id) == []
    job = service.attempt(job_id)
    assert (job.state, job.attempt, job.images_trained) == (State.SUCCEEDED, 2, 3_840)
    assert starts(service, job_id) == [0, 3_840]
    assert service.weights(job_id) == undisturbed


def judged_at(service: InProcess, job_id: str) -> set[tuple[int, str]]:
    """After how many images a training has asked for an evaluation, and for which job."""
    return {(each.detail["images"], each.detail["job"]) for each in service.events(job_id, "evaluation_submitted")}


def test_who_dies_as_it_publishes_has_its_end_judged_once(service: InProcess, spec_file: SpecFile) -> None:
    """The next attempt asked for the same otherwise, was refused, and failed for good."""
    job_id = service.ok("submit", spec_file("judged", **JUDGED))

    def die() -> None:
        raise DEATH

    with as_it_publishes(die):
        assert service.attempt(job_id).reason is Reason.WORKER_DIED
    before = judged_at(service, job_id)
    assert {images for images, _ in before} == {1_280, 2_560, 3_840}
    assert service.attempt(job_id).state is State.SUCCEEDED
    assert judged_at(service, job_id) == before


def test_what_an_attempt_could_not_have_judged_any_more_the_next_one_has(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.ok("submit", spec_file("judged", **JUDGED))
    name, deaths = evaluation_name, iter([DEATH])

    def die_first(training: str) -> str:
        for death in deaths:
            raise death
        return name(training)

    monkeypatch.setattr(checkpoints, "evaluation_name", die_first)
    assert service.attempt(job_id).reason is Reason.WORKER_DIED
    assert judged_at(service, job_id) == set()
    assert service.attempt(job_id).state is State.SUCCEEDED
    assert starts(service, job_id) == [0, 1_280]
    assert {images for images, _ in judged_at(service, job_id)} == {1_280, 2_560, 3_840}


@pytest.mark.parametrize("by", ["cancel", "yield"])
def test_who_is_told_to_leave_as_it_publishes_comes_to_its_end(
    service: InProcess, spec_file: SpecFile, undisturbed: bytes, by: str
) -> None:
    job_id = service.ok("submit", spec_file("short", **SHORT))

    def direct() -> None:
        if by == "cancel":
            service.ok("cancel", job_id)
        else:
            service.queue().ask_to_yield(service.leases[job_id])
        service.await_beats(job_id)

    with as_it_publishes(direct):
        assert service.attempt(job_id).state is State.SUCCEEDED
    assert service.weights(job_id) == undisturbed


def test_a_spec_written_by_another_version_stays_and_costs_no_attempt(service: InProcess, dead: str) -> None:
    key = f"jobs/{dead}/spec.yaml"
    older = service.store.objects.get(key) + b"# as another version writes it\n"
    service.store.objects.delete(key)
    service.store.objects.put(key, older)
    job = service.attempt(dead)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert service.store.objects.get(key) == older


def test_an_attempt_whose_number_another_holder_has_leaves_it_to_the_next(
    service: InProcess, dead: str, spec_file: SpecFile, undisturbed: bytes
) -> None:
    """As after a second that Redis lost: it gives out the same number again."""
    job_id = service.ok("submit", spec_file("short", **SHORT))
    other = service.store.checkpoint_keys(dead)[-1]

    def write_the_other() -> None:
        service.store.objects.put(other.replace(dead, job_id), service.store.objects.get(other))

    with at_images(640, write_the_other):
        job = service.attempt(job_id)
    assert (job.state, job.reason) == (State.QUEUED, Reason.STORE)
    assert "another holder of attempt 1 wrote other bytes than this one: " in (job.message or "")
    job = service.finish(job_id)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)
    assert service.weights(job_id) == undisturbed


def test_uploads_that_dead_attempts_left_unfinished_are_aborted(service: InProcess, dead: str) -> None:
    client, bucket = raw_client(service.settings), service.settings.require_store().rpartition("/")[2]
    key = f"jobs/{dead}/attempts/0001/checkpoints/000000001920.pt"
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=key, PartNumber=1, UploadId=upload, Body=b"half of it")

    def uploads() -> list[Any]:
        answer = client.list_multipart_uploads(Bucket=bucket, Prefix=f"jobs/{dead}/")
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    assert uploads() == [key]
    assert service.attempt(dead).state is State.SUCCEEDED
    assert uploads() == []


def test_reports_are_stored_between_checkpoints_too(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "METRICS_EVERY_S", 0.0)
    rare = {"every_images": 100_000}
    job_id = service.ok("submit", spec_file("rare", **SHORT | {"checkpoints": rare}))
    seen = list[list[int]]()

    def look() -> None:
        rows = wait_until(lambda: service.store.metrics(job_id).splitlines())
        seen.append([Progress.model_validate_json(row).images for row in rows])

    with at_images(2_560, look):
        assert service.attempt(job_id).state is State.SUCCEEDED
    [images] = seen
    assert images == [640, 1_280, 1_920][: len(images)]
    # Each takes the place of the one before it.
    assert [key for key in service.store.keys(job_id) if "/metrics/" in key] == [
        f"jobs/{job_id}/attempts/0001/metrics/000000003840.jsonl"
    ]


# How the device is given its steps.


def test_a_training_says_why_its_steps_are_not_recorded_where_that_was_ordered(
    service: InProcess, spec_file: SpecFile
) -> None:
    ordered = service.train(spec_file("graphs", **SHORT), "--set", "recipe.engine=graph")
    left_open = service.train(spec_file("open", **SHORT))
    said = [event.detail["why"] for event in service.events(ordered, "steps_not_recorded")]
    assert said == ["only a GPU records graphs"]
    assert service.events(left_open, "steps_not_recorded") == []
    assert "eager: only a GPU records graphs" in service.ok("show", ordered)


def test_a_training_whose_steps_cannot_be_recorded_says_so_once_and_ends_well(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRecorder(TapeRecorder):
        def record(self, _: Callable[[], list[torch.Tensor]]) -> TapeRecording:
            raise RuntimeError("operation not permitted")

    choice = EngineChoice("graph", "as the test has it")
    monkeypatch.setattr(trainer, "find_engine", lambda *_: (choice, NoRecorder()))
    job_id = service.train(spec_file("trouble", **SHORT))
    said = [event.detail["why"] for event in service.events(job_id, "steps_not_recorded")]
    assert said == ["a step cannot be recorded: operation not permitted"]
    assert service.job(job_id).state is State.SUCCEEDED
