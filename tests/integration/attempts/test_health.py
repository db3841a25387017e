"""Trainings that go wrong on purpose: the watch finds each, and does what its spec says."""

import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ganservice.evaluation import Evaluation, Protocol
from ganservice.health import Finding
from ganservice.job import Health, Lease, Outcome, Progress, Reason, State
from ganservice.spec import EvaluateSpec
from tests.integration.attempts.in_process import InProcess, at_images
from tests.specs import write_spec
from workers.attempt import leader

pytestmark = pytest.mark.usefixtures("quick_bundles")
SpecFile = Callable[..., str]
# D learns a hundred times faster than it should and G hardly at all, so that D wins within a few hundred images.
LOST = ("--set", "recipe.optimiser_d.lr=0.01", "--set", "recipe.optimiser_g.lr=1e-7")


@pytest.fixture(scope="module")
def lost(service: InProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Runs a training that D wins, to its end, and returns its id."""

    @cache
    def train(action: str) -> str:
        path = write_spec(
            tmp_path_factory.mktemp("specs"), f"lost-{action}", images=12_800, report_every_images=640,
            checkpoints={"every_images": 640, "keep_last": 20},
            health={"action": action, "span_reports": 3, "max_rollbacks": 2},
        )  # fmt: skip
        return service.train(path, *LOST)

    return train


def test_a_warning_is_told_everywhere_and_the_training_goes_on(service: InProcess, lost: Callable[[str], str]) -> None:
    job_id = lost("warn")
    job = service.job(job_id)
    assert (job.state, job.health, job.images) == (State.SUCCEEDED, Health.SUSPECT, 12_800)
    event = service.events(job_id, "health")[0]
    assert (event.detail["state"], event.detail["findings"][0]["kind"]) == ("suspect", "d_has_won")
    assert "suspect" in service.ok("list")
    assert "suspect" in service.ok("show", job_id)


def test_a_generator_carries_the_reservation_about_its_training(
    service: InProcess, lost: Callable[[str], str], tmp_path: Path
) -> None:
    service.ok("fetch", lost("warn"), "--into", "bundle", cwd=tmp_path)
    reservation = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["reservation"]
    assert reservation.startswith("suspect: one network had won")


def test_a_training_is_stopped_with_its_work_kept(service: InProcess, lost: Callable[[str], str]) -> None:
    job_id = lost("stop")
    job = service.job(job_id)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.UNHEALTHY, 1)
    assert "D tells real from generated" in (job.message or "")
    assert job.images < 12_800
    assert job.checkpoint
    assert job.checkpoint.images == job.images


def test_a_training_is_sent_back_slower_and_not_for_ever(service: InProcess, lost: Callable[[str], str]) -> None:
    job_id = lost("rollback")
    job = service.job(job_id)
    assert (job.state, job.reason, job.attempt, job.failures) == (State.FAILED, Reason.UNHEALTHY, 3, 1)
    assert "after 2 rollbacks" in (job.message or "")
    first, second = job.rollbacks
    assert first.images < first.from_images
    started = [event.detail["images"] for event in service.events(job_id, "started")]
    assert started == [0, first.images, second.images]
    assert "learning rates times 0.5" in service.ok("show", job_id)


def test_a_training_goes_back_to_before_its_trouble_however_few_checkpoints_it_keeps(
    service: InProcess, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began anew, and all that it had learned was deleted: a trouble is found some reports after it began."""

    def examine(history: Sequence[Progress], *_: object) -> list[Finding]:
        if history[-1].images < 6_400:
            return []
        return [Finding("d_has_won", Health.SUSPECT, "on purpose", history[-3].images)]

    monkeypatch.setattr(leader, "examine", examine)
    path = spec_file(
        "short", images=12_800, report_every_images=640, checkpoints={"every_images": 640, "keep_last": 1},
        health={"action": "rollback", "span_reports": 3, "max_rollbacks": 1},
    )  # fmt: skip
    [rollback] = service.job(service.train(path)).rollbacks
    assert (rollback.images, rollback.from_images) == (4_480, 6_400)


def test_pictures_that_get_worse_send_a_training_back_to_better_ones(
    service: InProcess, spec_file: SpecFile, eventually: Callable[..., Any]
) -> None:
    """This test judges them, while the training waits for it."""
    path = spec_file(
        "worse", images=10**9, report_every_images=640, samples={"every_images": 10**9},
        checkpoints={"every_images": 1_280, "keep_last": 1}, evaluate={"every_images": 1_280},
        # Nothing but its quality may send it back.
        health={
            "action": "rollback", "certainty": 0.9999, "min_gradient_norm": 0, "min_diversity": 0,
            "max_quality_ratio": 1.5,
        },
    )  # fmt: skip
    job_id = service.ok("submit", path)

    def evaluation(images: int, attempt: int = 1) -> Lease:
        """The job that is to judge a checkpoint, once there is one."""

        def submitted() -> str | None:
            events = service.events(job_id, "evaluation_submitted")
            found = [event for event in events if (event.detail["images"], event.attempt) == (images, attempt)]
            return str(found[0].detail["job"]) if found else None

        return service.queue().take(eventually(submitted))

    def judge(lease: Lease, distance: float) -> None:
        service.queue().finish(lease, Outcome(reason=Reason.SUCCEEDED, evaluation=judged(lease, distance)))

    def judge_both() -> None:
        judge(evaluation(1_280), 10)
        judge(evaluation(2_560), 30)

    with at_images(3_840, judge_both):
        job = service.attempt(job_id)
    assert (job.state, job.reason) == (State.QUEUED, Reason.ROLLED_BACK)
    [rollback] = job.rollbacks
    assert (rollback.images, rollback.lr_share) == (1_280, 0.5)
    assert "quality 30 at 2560 images is worse than 1.5 times the best, 10 at 1280 images" in rollback.why

    # What is found of the branch that was left counts no more; the checkpoint that takes its place is judged anew.
    judge(evaluation(3_840), 1)
    anew: list[Lease] = []

    def leave() -> None:
        anew.append(evaluation(2_560, attempt=2))
        service.queue().cancel(job_id)
        service.await_beats(job_id)

    with at_images(3_840, leave):
        service.attempt(job_id)
    assert [event.detail["images"] for event in service.events(job_id, "started")] == [0, 1_280]
    judge(anew[0], 9)
    assert {found.images: found.quality for found in service.queue().evaluations(job_id)} == {1_280: 10, 2_560: 9}


def judged(lease: Lease, distance: float) -> Evaluation:
    """What an evaluation would have found."""
    assert isinstance(lease.spec, EvaluateSpec)
    return Evaluation(
        **lease.spec.subject.model_dump(),
        protocol=Protocol(
            data_digest="d", only=None, split="train", real=1, network="classifier", network_digest="n", resize="none",
            samples=1, seed=0, truncation=None, neighbours=5, block=1,
        ),
        measures={"classifier_frechet_distance": distance}, errors={}, seconds=1.0, at=time.time(), by=lease.job_id,
    )  # fmt: skip


def test_a_generator_that_collapses_is_found_soon_after_its_grace(service: InProcess) -> None:
    """D hardly learns on the grid of 25 Gaussians, and all of G runs to where D is most taken in."""
    rates = ("--set", "recipe.optimiser_g.lr=1e-2", "--set", "recipe.optimiser_d.lr=1e-5")
    length = ("--set", "images=320000", "--set", "report_every_images=12800", "--set", "checkpoints.every_images=12800")
    action = ("--set", "health.action=rollback", "--set", "health.max_rollbacks=1")
    job_id = service.train("configs/grid2d.yaml", *rates, *length, *action)
    job = service.job(job_id)
    assert (job.state, job.reason, job.health, job.attempt) == (State.FAILED, Reason.UNHEALTHY, Health.COLLAPSED, 2)
    [event, *_] = service.events(job_id, "health")
    # A fifth of the training is its grace; then it takes five reports.
    assert event.detail["images"] <= 64_000 + 6 * 12_800
    assert event.detail["findings"][0]["kind"] == "collapse"
    assert job.rollbacks[0].from_images == event.detail["images"]


def test_a_report_is_written_and_stored(service: InProcess, lost: Callable[[str], str], tmp_path: Path) -> None:
    job_id = lost("stop")
    assert service.ok("report", job_id, "--into", "page.html", cwd=tmp_path) == "page.html"
    page = (tmp_path / "page.html").read_text()
    assert "health: suspect" in page
    assert "D tells real from generated" in page
    artifacts: list[Any] = json.loads(service.ok("show", job_id, "--artifacts", "-o", "json"))["artifacts"]
    assert [key for key in artifacts if "/reports/" in key]
