"""The follower: what jobs report, in the very files and databases of trackers, read back by their own readers."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image
from tensorboard.summary.writer import event_file_writer

from ganservice.artifacts import ArtifactStore
from ganservice.errors import Outage, RequestError
from ganservice.job import Activity, Health, Outcome, Pulse, Reason, Rollback, State
from ganservice.queue import JobQueue
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, evaluation, lease, report, submit, submit_evaluation
from tests.integration.trackers import Shown, mlflow_shows, tensorboard_shows, wandb_shows
from workers.trackers import Tracker, open_tracker
from workers.trackers.follower import Follower, measures_of, numbers_of
from workers.trackers.tensorboard import open_run

GRID = "samples"
LOSS = "loss/generator"


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def long_spec(spec: TrainSpec) -> TrainSpec:
    """A training with a report at each 16 images."""
    return spec.model_copy(update={"images": 160, "report_every_images": 16})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of MLflow, which takes seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@dataclass
class Place:
    """Where a tracker keeps what it shows, and its reader."""

    target: str
    shown: Callable[[str], Shown]


@pytest.fixture(params=["tensorboard", "mlflow", "wandb"])
def place(request: pytest.FixtureRequest, tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    match request.param:
        case "tensorboard":
            return Place(f"tensorboard:{tmp_path}/runs", lambda job_id: tensorboard_shows(tmp_path / "runs", job_id))
        case "mlflow":
            return Place(f"mlflow:{database}", lambda job_id: mlflow_shows(database, job_id))
        case _:
            return Place("wandb:gans", lambda job_id: wandb_shows(tmp_path, job_id))


class Following:
    """A job, and followers of it one after the other."""

    def __init__(self, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, place: Place) -> None:
        self.queue, self.store, self.spec, self.place = queue, store, spec, place
        self.job_id = submit(queue, spec)
        self.lease = lease(queue)
        self.tracker: Tracker | None = None
        self.begin()

    def begin(self) -> None:
        """Follow anew, as after Ctrl-C."""
        if self.tracker:
            self.tracker.close(None)
        self.tracker = open_tracker(self.place.target, self.queue.get(self.job_id))
        self.follower = Follower(self.queue, self.store, self.job_id, self.spec, self.tracker)

    def report(self, images: int, **values: Any) -> None:
        pulse = Pulse(activity=Activity.TRAINING, images=images)
        self.queue.heartbeat(self.lease, report(images).model_copy(update=values), pulse=pulse)

    def keep(self, *images: int) -> None:
        """Have the attempt store its reports."""
        lines = b"".join(report(each).model_dump_json().encode() + b"\n" for each in images)
        self.store.put_metrics(self.lease, max(images), lines)

    def grid(self, images: int, shade: int = 128) -> bytes:
        stream = io.BytesIO()
        Image.new("L", (8, 8), shade).save(stream, "PNG")
        self.store.put_sample_grid(self.lease, images, stream.getvalue())
        return stream.getvalue()

    def roll_back(self, images: int, from_images: int) -> None:
        back = Rollback(
            attempt=self.lease.attempt, images=images, checkpoint="c", from_images=from_images, lr_share=0.5, why="w"
        )
        self.queue.finish(self.lease, Outcome(reason=Reason.ROLLED_BACK, message="w", rollback=back))
        self.lease = self.queue.take(self.job_id)
        self.store.abandon(self.job_id, back.attempt, images)

    def shown(self) -> Shown:
        """What a reader finds once the job has ended."""
        assert self.tracker
        self.tracker.close(State.SUCCEEDED)
        return self.place.shown(self.job_id)


@pytest.fixture
def following(queue: JobQueue, store: ArtifactStore, long_spec: TrainSpec, place: Place) -> Following:
    return Following(queue, store, long_spec, place)


def numbers(shown: Shown, name: str = LOSS) -> dict[int, list[object]]:
    return {images: values for (each, images), values in sorted(shown.items()) if each == name}


def test_reports_health_quality_and_grids_are_shown(following: Following, queue: JobQueue, spec: TrainSpec) -> None:
    following.keep(16, 32)
    following.report(48, health=Health.COLLAPSED, loss_g=3.0)
    png = following.grid(32)
    assert not following.follower.look()
    queue.finish(following.lease, SUCCESS)
    submit_evaluation(queue, spec, following.job_id, 48)
    assert not following.follower.look(), "an evaluation is under way"
    found = evaluation(following.job_id, 48, 2.5)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    assert following.follower.look()
    assert following.follower.look()

    shown = following.shown()
    assert numbers(shown) == {16: [pytest.approx(0.7)], 32: [pytest.approx(0.7)], 48: [3.0]}
    assert numbers(shown, "health") == {16: [0.0], 32: [0.0], 48: [2.0]}
    assert numbers(shown, f"quality/{found.protocol.digest}/classifier_frechet_distance") == {48: [2.5]}
    assert {name for name, images in shown if images == 16} == set(numbers_of(report(16)))
    [(images, [picture])] = numbers(shown, GRID).items()
    assert images == 32
    assert picture == png or str(picture).endswith(".png")


def test_a_follower_goes_on_where_another_ended(following: Following) -> None:
    following.report(16)
    following.grid(16)
    following.follower.look()
    following.begin()
    following.report(32)
    following.follower.look()
    following.begin()
    following.follower.look()
    shown = following.shown()
    assert list(numbers(shown)) == [16, 32]
    assert list(numbers(shown, GRID)) == [16]
    assert {len(values) for values in shown.values()} == {1}


def test_a_report_waits_for_those_before_it(following: Following) -> None:
    following.report(16)
    following.follower.look()
    following.report(64)  # the reports in between were sent while nobody looked
    following.follower.look()
    following.keep(16, 32, 48)
    following.begin()  # which looks into the store at once
    following.follower.look()
    shown = following.shown()
    assert list(numbers(shown)) == [16, 32, 48, 64]
    assert {len(values) for values in shown.values()} == {1}


def test_a_rollback_is_seen_and_what_comes_in_its_place_is_sent(following: Following, place: Place) -> None:
    following.keep(16)
    following.report(32, loss_g=5.0)
    following.grid(32, shade=1)
    following.follower.look()
    following.roll_back(16, 32)
    following.follower.look()
    following.begin()  # who comes anew knows of it too
    following.report(32, loss_g=1.0)
    following.grid(32, shade=2)
    following.follower.look()
    following.begin()
    following.follower.look()
    shown = following.shown()
    keeps = [] if place.target.startswith("tensorboard") else [5.0]
    assert numbers(shown)[32] == [*keeps, 1.0]
    assert len(numbers(shown)[16]) == 1
    assert len(numbers(shown, GRID)[32]) == len(keeps) + 1


def test_what_was_abandoned_is_not_sent_in_the_place_of_what_comes_after(following: Following, place: Place) -> None:
    """Reports that were read before a rollback looked like those of the next attempt, once that had come so far."""
    following.keep(16, 32, 48)
    following.follower.look()
    following.roll_back(16, 48)
    following.follower.look()
    following.queue.heartbeat(following.lease, pulse=Pulse(activity=Activity.TRAINING, images=40))
    following.follower.look()
    following.report(32, loss_g=1.0)
    following.follower.look()
    keeps = [] if place.target.startswith("tensorboard") else [pytest.approx(0.7)]
    assert numbers(following.shown())[32] == [*keeps, 1.0]


def test_what_a_tracker_refuses_is_sent_by_the_next_look(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    following.report(16)
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise Outage("away")

        patch.setattr(following.tracker, "send_numbers", refuse)
        with pytest.raises(Outage):
            following.follower.look()
    following.follower.look()
    assert numbers(following.shown()) == {16: [pytest.approx(0.7)]}


@pytest.mark.parametrize("png", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\x00\x00\xff\xff" * 2])
def test_what_is_no_picture_is_left_out(following: Following, store: ArtifactStore, png: bytes) -> None:
    following.report(16)
    store.put_sample_grid(following.lease, 16, png)
    following.follower.look()
    shown = following.shown()
    assert list(numbers(shown)) == [16]
    assert not numbers(shown, GRID)


def test_a_measure_that_another_hand_has_named_is_left_out() -> None:
    found = evaluation("tiny-1", 16, 1.0)
    wild = found.model_copy(update={"measures": found.measures | {"../$(reboot)": 1.0, "lost": None}})
    assert measures_of(wild) == measures_of(found)


@pytest.mark.parametrize("place", ["tensorboard"], indirect=True)
def test_a_record_that_a_killed_follower_cut_off_is_written_anew(following: Following, tmp_path: Path) -> None:
    following.report(16)
    following.follower.look()
    following.report(32)
    following.follower.look()
    [file] = (tmp_path / "runs" / following.job_id).iterdir()
    with file.open("r+b") as cut:
        cut.truncate(file.stat().st_size - 10)
    following.begin()
    following.keep(16, 32)
    following.follower.look()
    assert {images: len(values) for images, values in numbers(following.shown()).items()} == {16: 1, 32: 1}


def test_mlflow_knows_the_spec_and_the_end(
    queue: JobQueue,
    store: ArtifactStore,
    long_spec: TrainSpec,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place(f"mlflow:{database}", lambda job_id: mlflow_shows(database, job_id))
    following = Following(queue, store, long_spec.model_copy(update={"tags": ("project", "a=b@c")}), place)
    following.report(16)
    following.follower.look()
    following.shown()
    client = MlflowClient(tracking_uri=database)
    experiment = client.get_experiment_by_name("ganservice")
    assert experiment
    [run] = client.search_runs([experiment.experiment_id], f"tags.`ganservice.job` = '{following.job_id}'")
    assert run.info.status == "FINISHED"
    assert [run.info.artifact_uri] == [
        path.parent.as_uri()
        for path in Path(database.removeprefix("sqlite:///")).parent.glob(f"**/{run.info.run_id}/artifacts/spec.yaml")
    ]
    assert list(tmp_path.iterdir()) == [], "nothing lies where the follower runs"
    assert (run.info.run_name, run.data.params["recipe.batch_size"]) == (following.job_id, "8")
    assert (run.data.tags["ganservice.tags"], run.data.tags["mlflow.user"]) == ("project,a=b@c", "ada")


@pytest.mark.parametrize("target", ["elsewhere:x", "tensorboard", "tensorboard:", "mlflow:", ""])
def test_a_target_is_a_tracker_and_a_place(target: str, queue: JobQueue, spec: TrainSpec) -> None:
    job = queue.get(submit(queue, spec))
    with pytest.raises(RequestError, match="expected tensorboard:FOLDER, mlflow:URI or wandb:PROJECT"):
        open_tracker(target, job)


@pytest.mark.parametrize("place", ["file:mlr", "mlr", "./mlr", "file:///tmp/mlr"])
def test_a_folder_of_mlflow_leads_to_a_database(place: str, queue: JobQueue, spec: TrainSpec) -> None:
    job = queue.get(submit(queue, spec))
    with pytest.raises(RequestError) as caught:
        open_tracker(f"mlflow:{place}", job)
    assert str(caught.value).startswith(f"--to mlflow:{place}: MLflow keeps runs in no folder any more; expected a ")
    assert str(caught.value).endswith("mlflow:sqlite:///m.db")


def test_an_mlflow_that_is_none_is_one_line(queue: JobQueue, spec: TrainSpec) -> None:
    job = queue.get(submit(queue, spec))
    with pytest.raises(Outage, match=r"^MLflow at nowhere://x: .*"):
        open_tracker("mlflow:nowhere://x", job)


def test_an_event_file_is_read_after_those_before_it(
    tmp_path: Path, queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard goes by names, and of two files of one second by a number, as text."""
    monkeypatch.setattr(event_file_writer, "_global_uid", SimpleNamespace(get=iter([9, 10]).__next__))
    job_id, _ = queue.submit(spec)
    names: list[str] = []
    for _ in range(2):
        open_run(str(tmp_path), queue.get(job_id)).close(None)
        [name] = {path.name for path in (tmp_path / job_id).iterdir()} - set(names)
        names.append(name)
    assert sorted(names) == names
