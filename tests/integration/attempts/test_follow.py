"""`ganctl follow`: a training, from its first report to its evaluation, in TensorBoard's own files."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ganservice import Client
from ganservice.artifacts import ArtifactStore
from ganservice.cli import INTERRUPTED
from ganservice.errors import Outage, StoreOutage
from ganservice.job import Job
from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess, at_images
from tests.integration.trackers import tensorboard_shows
from tests.specs import SHORT
from workers.trackers import Tracker, open_tracker

pytestmark = pytest.mark.usefixtures("quick_bundles")
SpecFile = Callable[..., str]


def test_a_training_is_followed_to_its_end(service: InProcess, spec_file: SpecFile, tmp_path: Path) -> None:
    job_id = service.ok("submit", spec_file(**SHORT))
    is_followed = threading.Event()
    runs = tmp_path / "runs"

    def hold() -> None:
        assert is_followed.wait(60)

    with at_images(1_280, hold), service.training(job_id):
        follower = threading.Thread(target=_let_go_once_shown, args=(runs / job_id, is_followed))
        follower.start()
        done = service.ganctl("follow", job_id, "--to", f"tensorboard:{runs}")
        follower.join()
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{job_id} is followed\n{job_id} has succeeded, and all of it is sent\n"

    shown = tensorboard_shows(runs, job_id)
    with Client() as client:
        rows = client.metrics(job_id)
    expected = {row["images"]: [pytest.approx(row["loss_g"])] for row in rows}
    assert {images: values for (name, images), values in shown.items() if name == "loss/generator"} == expected
    assert [images for name, images in sorted(shown) if name == "samples"] == [1_280, 2_560, 3_840]

    # Whoever asks once more sends nothing.
    service.ok("follow", job_id, "--to", f"tensorboard:{runs}")
    assert tensorboard_shows(runs, job_id) == shown


def _let_go_once_shown(folder: Path, is_followed: threading.Event) -> None:
    """Let the training go on once its follower has made a folder: it is there from the beginning on."""
    wait_until(folder.exists)
    is_followed.set()


def test_what_cannot_be_followed_is_told_in_one_line(service: InProcess, spec_file: SpecFile, tmp_path: Path) -> None:
    job_id = service.ok("submit", spec_file(images=640))
    to = ("--to", f"tensorboard:{tmp_path}")
    service.refused(2, "expected tensorboard:FOLDER, mlflow:URI or wandb:PROJECT", "follow", job_id, "--to", "nowhere")
    service.refused(2, "expected one or more jobs, or else --all", "follow", *to)
    service.refused(2, "expected one or more jobs, or else --all", "follow", job_id, "--all", *to)
    service.refused(102, "no job has the id or name nobody", "follow", "nobody", *to)
    service.refused(2, "/dev/null/x", "follow", job_id, "--to", "tensorboard:/dev/null/x")
    service.ok("cancel", job_id)


def test_all_are_followed_and_those_that_come_until_ctrl_c(
    service: InProcess, spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [service.ok("submit", spec_file(images=640)) for _ in range(2)]

    def sleep(_: float) -> None:
        if len(jobs) == 3:
            raise KeyboardInterrupt
        jobs.append(service.queue().submit(service.job(jobs[0]).spec)[0])

    # Only the command's own pauses: a tracker sleeps too.
    monkeypatch.setattr("workers.commands.follow.time", SimpleNamespace(sleep=sleep))
    done = service.ganctl("follow", "--all", "--to", f"tensorboard:{tmp_path}")
    assert done.returncode == INTERRUPTED
    assert done.stderr.split("\n")[:3] == [f"{job_id} is followed" for job_id in jobs]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(jobs)
    for job_id in jobs:
        service.ok("cancel", job_id)


def test_a_tracker_that_is_away_when_a_training_comes_gets_it_later(
    service: InProcess, spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, outages = service.ok("submit", spec_file(images=640)), iter([Outage("MLflow is away")] * 2)

    def open_late(target: str, job: Job) -> Tracker:
        for outage in outages:
            raise outage
        return open_tracker(target, job)

    def sleep(_: float) -> None:
        if any(path.is_dir() for path in tmp_path.iterdir()):
            raise KeyboardInterrupt

    monkeypatch.setattr("workers.commands.follow.open_tracker", open_late)
    monkeypatch.setattr("workers.commands.follow.time", SimpleNamespace(sleep=sleep))
    done = service.ganctl("follow", "--all", "--to", f"tensorboard:{tmp_path}")
    assert done.returncode == INTERRUPTED
    assert done.stderr.split("\n")[:2] == ["MLflow is away; trying again", f"{job_id} is followed"]
    service.ok("cancel", job_id)


def test_a_pattern_means_all_trainings_that_match_it(
    service: InProcess, spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.commands.follow.LOOK_S", 0.01)
    jobs = [service.ok("submit", spec_file(name, images=640)) for name in ("exp-a", "exp-b", "other")]
    for job_id in jobs:
        service.ok("cancel", job_id)
    service.ok("follow", "exp-*", "--to", f"tensorboard:{tmp_path / 'runs'}")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(jobs[:2])


def test_an_outage_is_told_once_and_ends_nothing(
    service: InProcess, spec_file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.train(spec_file(images=640))
    metrics, asked = ArtifactStore.metrics, list[str]()

    def away(store: ArtifactStore, asked_for: str) -> bytes:
        asked.append(asked_for)
        if len(asked) <= 2:
            raise StoreOutage("the store is away")
        return metrics(store, asked_for)

    monkeypatch.setattr(ArtifactStore, "metrics", away)
    monkeypatch.setattr("workers.commands.follow.LOOK_S", 0.01)
    done = service.ganctl("follow", job_id, "--to", f"tensorboard:{tmp_path}")
    assert done.returncode == 0
    assert done.stderr.splitlines()[1:] == [
        "the store is away; trying again", f"{job_id} has succeeded, and all of it is sent",
    ]  # fmt: skip
    assert asked == [job_id] * 3
