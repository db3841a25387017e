"""What the health watch makes of a training's reports."""

from collections.abc import Iterable
from typing import Any, Literal

import pytest
import torch

from ganservice.evaluation import Evaluation, Protocol
from ganservice.health import Remedy, examine, remedy, worst
from ganservice.job import Health, Progress
from ganservice.recipe import NonSaturating, Recipe, WassersteinGp
from ganservice.spec import HealthWatch
from workers.gan.data.examples import Examples
from workers.gan.data.rows import Rows
from workers.gan.diversity import Diversity
from workers.gan.trainer import Trainer

TOTAL = 100_000
# Of a loss without probabilities.
UNSAID: dict[str, Any] = {"d_real": None, "d_fake": None}


def reports(count: int, first: int = 1_000, **changes: Any) -> list[Progress]:
    usual: dict[str, Any] = {
        "loss_g": 0.7, "loss_d": 1.4, "score_real": 0.2, "score_fake": -0.2, "d_real": 0.55, "d_fake": 0.45,
        "grad_norm_g": 1.0, "grad_norm_d": 1.0, "images_per_s": 100.0, "step_s": 0.08, "diversity": 0.8,
    }  # fmt: skip
    return [Progress(images=first + 1_000 * place, step=place + 1, **usual | changes) for place in range(count)]


def kinds(history: list[Progress], **asked: Any) -> list[str]:
    return [finding.kind for finding in examine(history, HealthWatch(**asked), TOTAL)]


def test_a_healthy_training_raises_no_alarm() -> None:
    assert kinds(reports(100)) == []
    # Nor does one whose loss gives no probabilities and whose pictures nobody compares.
    assert kinds(reports(100, d_real=None, d_fake=None, diversity=None)) == []


@pytest.mark.parametrize(
    ("changes", "kind", "health"),
    [
        ({"d_real": 0.99, "d_fake": 0.03}, "d_has_won", Health.SUSPECT),
        ({"d_real": 0.01, "d_fake": 0.98}, "g_has_won", Health.SUSPECT),
        (UNSAID | {"d_accuracy_real": 0.9995, "d_accuracy_generated": 1.0}, "d_has_won", Health.SUSPECT),
        (UNSAID | {"d_accuracy_real": 0.0, "d_accuracy_generated": 0.0005}, "g_has_won", Health.SUSPECT),
        ({"grad_norm_g": 1e-9}, "gradients_vanish", Health.SUSPECT),
        ({"diversity": 0.1}, "collapse", Health.COLLAPSED),
        ({"grad_norm_g": 1.4e16}, "gradients_explode", Health.DIVERGED),
        ({"grad_norm_d": 1e7}, "gradients_explode", Health.DIVERGED),
    ],
)
def test_a_fault_counts_once_it_lasts(changes: dict[str, Any], kind: str, health: Health) -> None:
    well = reports(20)
    assert kinds(well + reports(4, 21_000, **changes)) == []
    [finding] = examine(well + reports(5, 21_000, **changes), HealthWatch(), TOTAL)
    assert (finding.kind, finding.health, finding.since_images) == (kind, health, 21_000)
    # One good report in between, and it begins anew.
    assert kinds(well + reports(4, 21_000, **changes) + reports(1, 25_000) + reports(4, 26_000, **changes)) == []
    assert kinds(well + reports(2, 21_000, **changes), span_reports=2) == [kind]


def test_the_run_that_nobody_was_told_about() -> None:
    """Run 3 of text 004: D(G(z)) at 0.03 and a D loss of 0.094, for most of 200 epochs."""
    assert kinds(reports(5) + reports(5, 6_000, d_real=0.97, d_fake=0.03, loss_d=0.094, loss_g=4.39)) == ["d_has_won"]


def test_d_cannot_be_surer_than_its_labels_say() -> None:
    """A DCGAN whose D learned ten times too fast: one-sided smoothing holds D(x) at 0.9."""
    history = reports(5, d_real=0.867, d_fake=0.034)
    assert examine(history, HealthWatch(), TOTAL) == []
    [finding] = examine(history, HealthWatch(), TOTAL, NonSaturating(real_label=0.9))
    assert (finding.kind, "D(x) over 0.855" in finding.message) == ("d_has_won", True)
    flipped = NonSaturating(real_label=(0.0, 0.2), fake_label=1.0)
    history = reports(5, d_real=0.12, d_fake=0.98)
    assert [finding.kind for finding in examine(history, HealthWatch(), TOTAL, flipped)] == ["d_has_won"]


def test_a_d_that_is_right_about_most_has_not_won() -> None:
    # A DCGAN with BatchNorm in D, and one by hinge loss, both of them healthy.
    for real, generated in ((0.964, 0.991), (0.97, 0.932), (0.998, 1.0)):
        assert kinds(reports(5, **UNSAID, d_accuracy_real=real, d_accuracy_generated=generated)) == []
    # Where D's probabilities say otherwise they count.
    assert kinds(reports(5, d_accuracy_real=1.0, d_accuracy_generated=1.0)) == []
    # A report of an older version tells none.
    assert kinds(reports(5, **UNSAID)) == []


def test_by_a_distance_d_may_tell_everything_apart() -> None:
    history = reports(5, **UNSAID, d_accuracy_real=1.0, d_accuracy_generated=1.0)
    assert examine(history, HealthWatch(), TOTAL, WassersteinGp(kind="wgan_gp")) == []


@pytest.mark.parametrize("kind", ["lsgan", "hinge", "relativistic"])
def test_a_d_that_learns_and_a_g_that_does_not_are_found_out_whatever_the_loss(kind: str) -> None:
    network: dict[str, Any] = {"kind": "mlp", "widths": (32,)}
    asked = Recipe.model_validate(
        {
            "data": {"dataset": "digits", "image_size": 8, "channels": 1}, "batch_size": 8, "latent_size": 4,
            "generator": network, "discriminator": network | {"dropout": 0.0}, "loss": {"kind": kind},
            "optimiser_d": {"lr": 0.01}, "optimiser_g": {"lr": 1e-7}, "precision": "fp32",
        }
    )  # fmt: skip
    draws = torch.Generator().manual_seed(0)  # some pictures are too hard for lsgan
    pictures = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8, generator=draws)
    trainer = Trainer(asked, Examples(pictures), seed=0, device=torch.device("cpu"))
    found = examine(list(trainer.train(1_600, 160)), HealthWatch(), TOTAL, asked.loss)
    assert [finding.kind for finding in found] == ["d_has_won"]


def test_samples_may_be_alike_until_they_first_part() -> None:
    alike = reports(20, diversity=0.1)
    assert kinds(alike) == []
    assert kinds(alike + reports(6, 21_000, diversity=0.1)) == ["collapse"]
    assert kinds(reports(3, diversity=0.1) + reports(2, 4_000) + reports(5, 6_000, diversity=0.1)) == ["collapse"]


def evaluations(distances: Iterable[float]) -> list[Evaluation]:
    protocol = Protocol(
        data_digest="d", only=None, split="train", real=10, network="classifier", network_digest="n", resize="none",
        samples=100, seed=0, truncation=None, neighbours=5, block=10,
    )  # fmt: skip
    return [
        Evaluation(
            job_id="tiny-1", images=1_000 * place, checkpoint="c", protocol=protocol, errors={}, seconds=1.0,
            at=float(place), by="e", measures={"classifier_frechet_distance": distance},
        )
        for place, distance in enumerate(distances, start=1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("distances", "found"), [([9.0, 5.0, 8.0], []), ([9.0, 5.0, 10.5], ["quality"]), ([9.0], []), ([], [])]
)
def test_quality_may_not_fall_far_below_the_best(distances: list[float], found: list[str]) -> None:
    findings = examine(reports(5), HealthWatch(), TOTAL, evaluations=evaluations(distances))
    assert [finding.kind for finding in findings] == found


def test_a_judge_that_only_advises_raises_no_alarm() -> None:
    advice = [each.model_copy(update={"advisory": True}) for each in evaluations([5.0, 9.0, 90.0])]
    assert examine(reports(5), HealthWatch(), TOTAL, evaluations=advice) == []
    assert examine(reports(5), HealthWatch(), TOTAL, evaluations=[*advice, *evaluations([9.0, 5.0, 5.5])]) == []


@pytest.mark.parametrize(
    ("action", "rollbacks", "expected"),
    [
        ("warn", 0, Remedy.NONE),
        ("stop", 0, Remedy.STOP),
        ("rollback", 0, Remedy.ROLL_BACK),
        ("rollback", 1, Remedy.ROLL_BACK),
        ("rollback", 2, Remedy.STOP),
    ],
)
def test_a_spec_decides_what_is_done_about_findings(
    action: Literal["warn", "stop", "rollback"], rollbacks: int, expected: Remedy
) -> None:
    watch = HealthWatch(action=action, max_rollbacks=2)
    findings = examine(reports(5, diversity=0.1, grad_norm_g=0.0), watch, 1)
    assert remedy(findings, watch, rollbacks) is expected
    assert remedy([], watch, rollbacks) is Remedy.NONE


def test_the_worst_finding_is_the_health_of_a_training() -> None:
    findings = examine(reports(5, diversity=0.1, grad_norm_g=0.0), HealthWatch(), 1)
    assert {finding.health for finding in findings} == {Health.SUSPECT, Health.COLLAPSED}
    assert worst(findings) is worst(findings[::-1]) is Health.COLLAPSED
    assert worst([]) is Health.OK


# Diversity


@pytest.mark.parametrize("channels", [1, 3])
def test_diversity_is_1_for_real_pictures_and_0_for_one_again_and_again(channels: int) -> None:
    pictures = torch.randint(0, 256, (1_000, channels, 16, 16), dtype=torch.uint8)
    diversity = Diversity(Rows.of(pictures))
    others = pictures[:64].float() / 127.5 - 1
    assert diversity.of(others) == pytest.approx(1, abs=0.1)
    assert diversity.of(others[:1].repeat(64, 1, 1, 1)) == pytest.approx(0, abs=0.02)
    assert diversity.of(others[:8].repeat(8, 1, 1, 1)) == pytest.approx(0, abs=0.02)
    assert 0.02 < diversity.of(0.1 * others) < 0.3
    assert diversity.of(others) == Diversity(Rows.of(pictures)).of(others)
