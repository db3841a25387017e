"""Trainings that go wrong on purpose: the watch finds each, and does what its spec says."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from ganservice.evaluation import Evaluation, Protocol
from ganservice.job import Capacity, Health, Lease, Outcome, Reason, State
from ganservice.spec import EvaluateSpec, Subject
from tests.acceptance.conftest import Stack

SpecFile = Callable[..., str]
# D learns a hundred times faster than it should and G hardly at all, so that D wins within a few hundred images.
LOST = ("--set", "recipe.optimiser_d.lr=0.01", "--set", "recipe.optimiser_g.lr=1e-7")


@pytest.fixture
def lost(stack: Stack, spec_file: SpecFile) -> Callable[..., str]:
    """Submits a training that D wins, waits for its end, and returns its id."""

    def submit(action: str, *more: str) -> str:
        path = spec_file(
            f"lost-{action}", images=12_800, report_every_images=640,
            checkpoints={"every_images": 640, "keep_last": 20},
            health={"action": action, "span_reports": 3, "max_rollbacks": 2},
        )  # fmt: skip
        job_id = stack.ok("submit", path, *LOST, *more)
        stack.ganctl("wait", job_id)
        return job_id

    return submit


def test_a_warning_is_told_everywhere_and_the_training_goes_on(stack: Stack, lost: Callable[..., str]) -> None:
    job_id = lost("warn")
    job = stack.job(job_id)
    assert (job.state, job.health, job.images) == (State.SUCCEEDED, Health.SUSPECT, 12_800)
    event = stack.events(job_id, "health")[0]
    assert (event.detail["state"], event.detail["findings"][0]["kind"]) == ("suspect", "d_has_won")
    assert "suspect" in stack.ok("list")
    assert "suspect" in stack.ok("show", job_id)


def test_a_training_is_stopped_with_its_work_kept(stack: Stack, lost: Callable[..., str]) -> None:
    job_id = lost("stop")
    job = stack.job(job_id)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.UNHEALTHY, 1)
    assert "D tells real from generated" in (job.message or "")
    assert job.images < 12_800
    assert job.checkpoint
    assert job.checkpoint.images == job.images


def test_a_training_is_sent_back_slower_and_not_for_ever(stack: Stack, lost: Callable[..., str]) -> None:
    job_id = lost("rollback")
    job = stack.job(job_id)
    assert (job.state, job.reason, job.attempt, job.failures) == (State.FAILED, Reason.UNHEALTHY, 3, 1)
    assert "after 2 rollbacks" in (job.message or "")
    first, second = job.rollbacks
    assert first.images < first.from_images
    started = [event.detail["images"] for event in stack.events(job_id, "started")]
    assert started == [0, first.images, second.images]
    assert "learning rates times 0.5" in stack.ok("show", job_id)


def test_a_loss_that_is_not_finite_sends_a_training_back(stack: Stack, lost: Callable[..., str]) -> None:
    job_id = lost("rollback", "--set", "recipe.optimiser_d.lr=1e30", "--set", "health.max_rollbacks=1")
    job = stack.job(job_id)
    assert (job.state, job.health, job.attempt) == (State.FAILED, Health.DIVERGED, 2)
    assert "not finite" in job.rollbacks[0].why


def test_pictures_that_get_worse_send_a_training_back_to_better_ones(
    stack: Stack, spec_file: SpecFile, eventually: Callable[..., Any]
) -> None:
    """This test judges them: no machine here has the 64 CPUs that the evaluations ask for."""
    path = spec_file(
        "worse", images=10**9, report_every_images=3_200, samples={"every_images": 10**9},
        checkpoints={"every_images": 16_000, "keep_last": 1},
        evaluate={"every_images": 16_000, "resources": {"cpus_per_worker": 64}},
        # On a machine that is slow to judge it trains for long: nothing but its quality may send it back.
        health={
            "action": "rollback", "certainty": 0.9999, "min_gradient_norm": 0, "min_diversity": 0,
            "max_quality_ratio": 1.5,
        },
    )  # fmt: skip
    queue, room = stack.queue(), Capacity(cpus=64, gpus=0)
    job_id = stack.ok("submit", path)

    def starts() -> list[int]:
        return [event.detail["images"] for event in stack.events(job_id, "started")]

    def taken() -> Lease:
        return cast(Lease, eventually(lambda: queue.lease(room, room)))

    def judge(held: Lease, distance: float) -> None:
        queue.finish(held, Outcome(reason=Reason.SUCCEEDED, evaluation=judged(held, distance)))

    eventually(lambda: starts() == [0])
    good, bad, late = taken(), taken(), taken()
    judge(good, 10)
    judge(bad, 30)
    eventually(lambda: starts() == [0, 16_000])
    [rollback] = stack.job(job_id).rollbacks
    assert "quality 30 at 32000 images is worse than 1.5 times the best, 10 at 16000 images" in rollback.why
    # What is found of the branch that was left counts no more; the checkpoint that takes its place is judged anew.
    while subject(late).attempt == 1:
        judge(late, 1)
        late = taken()
    assert (subject(late).images, subject(late).attempt) == (32_000, 2)
    judge(late, 9)
    assert {found.images: found.quality for found in queue.evaluations(job_id)} == {16_000: 10, 32_000: 9}


def subject(held: Lease) -> Subject:
    assert isinstance(held.spec, EvaluateSpec)
    return held.spec.subject


def judged(held: Lease, distance: float) -> Evaluation:
    """What an evaluation would have found."""
    return Evaluation(
        **subject(held).model_dump(),
        protocol=Protocol(
            data_digest="d", only=None, split="train", real=1, network="classifier", network_digest="n", resize="none",
            samples=1, seed=0, truncation=None, neighbours=5, block=1,
        ),
        measures={"classifier_frechet_distance": distance}, errors={}, seconds=1.0, at=time.time(), by=held.job_id,
    )  # fmt: skip


def test_a_generator_that_collapses_is_found_soon_after_its_grace(stack: Stack) -> None:
    """D hardly learns on the grid of 25 Gaussians, and all of G runs to where D is most taken in."""
    rates = ("--set", "recipe.optimiser_g.lr=1e-2", "--set", "recipe.optimiser_d.lr=1e-5")
    length = ("--set", "images=320000", "--set", "report_every_images=12800", "--set", "checkpoints.every_images=12800")
    action = ("--set", "health.action=rollback", "--set", "health.max_rollbacks=1")
    job_id = stack.ok("submit", "configs/grid2d.yaml", *rates, *length, *action, "--set", "resources.cpus_per_worker=1")
    stack.ganctl("wait", job_id)
    job = stack.job(job_id)
    assert (job.state, job.reason, job.health, job.attempt) == (State.FAILED, Reason.UNHEALTHY, Health.COLLAPSED, 2)
    [event, *_] = stack.events(job_id, "health")
    # A fifth of the training is its grace; then it takes five reports.
    assert event.detail["images"] <= 64_000 + 6 * 12_800
    assert event.detail["findings"][0]["kind"] == "collapse"
    assert job.rollbacks[0].from_images == event.detail["images"]


def test_a_report_is_written_and_stored(stack: Stack, lost: Callable[..., str], tmp_path: Path) -> None:
    job_id = lost("stop")
    assert stack.ok("report", job_id, "--into", "page.html", cwd=tmp_path) == "page.html"
    page = (tmp_path / "page.html").read_text()
    assert "health: suspect" in page
    assert "D tells real from generated" in page
    artifacts: list[Any] = json.loads(stack.ok("show", job_id, "-o", "json"))["artifacts"]
    assert [key for key in artifacts if "/reports/" in key]
