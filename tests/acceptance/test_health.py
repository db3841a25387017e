"""Trainings that go wrong on purpose: the watch finds each, and does what its spec says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganservice.job import Health, Reason, State
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
    stack: Stack, import_shapes: Callable[[str], str], spec_file: SpecFile
) -> None:
    """Steps so long that quality comes and goes; nothing else is looked for."""
    path = spec_file(
        "worse", images=10**9, report_every_images=3_200,
        checkpoints={"every_images": 16_000, "keep_last": 1}, samples={"every_images": 10**9},
        evaluate={"every_images": 16_000, "judging": {"samples": 200, "measures": ["frechet"]}},
        health={"action": "rollback", "certainty": 0.9999, "max_rollbacks": 1, "max_quality_ratio": 1.01},
    )  # fmt: skip
    steps = ("--set", "recipe.optimiser_g.lr=0.01", "--set", "recipe.optimiser_d.lr=0.01")
    data = ("--set", f"recipe.data.dataset={import_shapes('worse')}", "--set", "recipe.data.image_size=16")
    job_id = stack.ok("submit", path, *steps, *data)
    assert stack.ganctl("wait", job_id).returncode == 100
    job = stack.job(job_id)
    assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.UNHEALTHY, 2)
    [rollback] = job.rollbacks
    assert "is worse than 1.01 times" in rollback.why
    assert [event.detail["images"] for event in stack.events(job_id, "started")] == [0, rollback.images]
    # The first branch was judged by then, and the second one has been since: what it left behind counts no more.
    assert rollback.images > 0
    assert "is worse than 1.01 times" in (job.message or "")
    judged = [found.images for found in stack.queue().evaluations(job_id)]
    assert min(judged) <= rollback.images < max(judged)


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
