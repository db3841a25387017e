"""verify-resume: trainings of every kind that are killed and resumed end with the same bits, and one that does not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ganservice.continuation import resolved
from ganservice.errors import GanServiceError
from ganservice.job import State
from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec
from tests.integration.attempts import child_hooks
from tests.integration.attempts.in_process import InProcess
from workers.commands import twins
from workers.commands.difference import Difference, Remains
from workers.commands.twins import Verdict, moments, verify

OWN_NETWORKS = Path(__file__).parents[2] / "own_networks"
CONFIGS = Path(__file__).parents[3] / "configs"
REPORT = 160
LENGTH: dict[str, Any] = {
    "name": "twin",
    "images": 2_400,
    "report_every_images": REPORT,
    "checkpoints": {"every_images": 480, "keep_last": 2},
    "samples": {"every_images": 2_400, "rows": 2, "columns": 4},
}
MLP = {"generator": {"kind": "mlp", "widths": [16]}, "discriminator": {"kind": "mlp", "widths": [16]}}
RING = {"data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.05, "points": 2_000}, "latent_size": 2}
SHAPES = {"data": {"dataset": "twins", "image_size": 16, "channels": 1}, "latent_size": 4}
ADAPTIVE = {"kind": "adaptive", "target": 0.0, "speed_images": 4_000}
DCGAN_LIKE = {
    "augment": {"changes": ["colour", "translation", "cutout", "flip", "rotation"], "probability": ADAPTIVE},
    "conditioning": {"classes": 2},
}
EDSR = {"kind": "edsr", "width": 4, "blocks": 1}
STYLES = {
    "generator": {"kind": "stylegan2", "width": 4, "w_size": 8},
    "discriminator": {"kind": "stylegan2", "width": 4},
    "conditioning": {"classes": 2},
    "loss": {"kind": "non_saturating", "r1": 0.1, "penalty_every_steps": 16},
}
OWN = {
    "code": str(OWN_NETWORKS / "my_networks"),
    "generator": {"kind": "own", "function": "generator", "options": {"width": 4}},
    "discriminator": {"kind": "own", "function": "discriminator", "options": {"width": 4}},
    "conditioning": {"classes": 2},
}
PAIR = {"resources": {"workers": 2}}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mixture in fp32": (RING | MLP | {"precision": "fp32"}, {}),
    "pictures in bf16": (SHAPES | MLP | DCGAN_LIKE | {"precision": "bf16"}, {}),
    "penalty with draws": (RING | MLP | {"loss": {"kind": "wgan_gp"}, "d_steps": 2}, {}),
    "penalty by step, two workers": (
        RING | MLP | {"loss": {"kind": "relativistic", "penalty_every_steps": 3}, "precision": "fp32"}, PAIR,
    ),
    "pictures in bf16, two workers": (SHAPES | MLP | {"precision": "bf16"}, PAIR),
    "super-resolution, two workers": (
        SHAPES | MLP | {"latent_size": 0, "super_resolution": {"factor": 2}, "generator": EDSR, "precision": "fp32"},
        PAIR,
    ),
    "styles": (SHAPES | STYLES | {"precision": "fp32"}, {}),
    "a user's own, two workers": (SHAPES | OWN | {"precision": "fp32"}, PAIR),
}  # fmt: skip


def asked(recipe: dict[str, Any], **changes: Any) -> TrainSpec:
    spec = LENGTH | {"recipe": recipe | {"batch_size": 16}} | changes
    return parse_spec(spec, source="a test")


@pytest.fixture(scope="module", autouse=True)
def _shapes(import_shapes: Callable[[str], str]) -> None:
    import_shapes("twins")


def interrupted(service: InProcess, spec: TrainSpec, prepare: Callable[[], None], count: int = 2) -> Verdict:
    bound = resolved(spec, service.queue(), service.store)
    settings = service.settings.model_copy(update={"own_code": True})
    return verify(settings, bound, moments(spec, count, seed=0), prepare=prepare)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_killed_ends_with_the_same_bits(service: InProcess, kind: str) -> None:
    recipe, changes = KINDS[kind]
    # What is interrupted before its first checkpoint, and more than once, is the same for all kinds.
    count = 2 if kind == "mixture in fp32" else 1
    verdict = interrupted(service, asked(recipe, **changes), child_hooks.publish_quickly, count)
    assert str(verdict).startswith(f"identical: {verdict.remains.tensors} tensors, 15 rows, interrupted ")
    assert verdict.holds
    job = service.job(verdict.interrupted)
    assert job.attempt == 1 + len(verdict.at_images) > 1
    assert job.state is State.SUCCEEDED
    assert [event.detail["reason"] for event in service.events(job.id, "requeued")] == ["worker_died"] * (
        job.attempt - 1
    )


def test_a_training_on_shards_that_is_killed_ends_with_the_same_bits(
    service: InProcess, import_shapes: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.manifest.SHARD_BYTES", 30 * 16 * 16)
    data = {"dataset": import_shapes("cut"), "image_size": 16, "channels": 1}
    assert len(service.store.find_data_set("cut").images_files("train")) > 5
    spec = asked(SHAPES | MLP | {"data": data, "precision": "fp32"}, **PAIR)
    assert interrupted(service, spec, child_hooks.publish_quickly, count=1).holds


def test_a_training_by_what_no_checkpoint_holds_is_caught_where_it_first_differs(service: InProcess) -> None:
    verdict = interrupted(service, asked(RING | MLP), child_hooks.forget)
    starts = [event.detail["images"] for event in service.events(verdict.interrupted, "started")]
    first_resumed = next(images for images in starts if images)
    assert not verdict.holds
    assert verdict.difference
    assert verdict.difference.images == first_resumed + REPORT
    assert verdict.difference.path == "trainer.generator.0.weight"
    assert 0 < verdict.difference.largest < float("inf")
    assert f"DIFFERENT: first in {verdict.difference.path}; in the report at " in str(verdict)


def test_a_training_that_never_went_on_from_a_checkpoint_proves_nothing(service: InProcess) -> None:
    spec = asked(RING | MLP, checkpoints={"every_images": 50_000})
    with pytest.raises(GanServiceError, match="never went on from a checkpoint, so nothing is proved"):
        interrupted(service, spec, child_hooks.publish_quickly)


# The command


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "verify", partial(verify, prepare=child_hooks.publish_quickly))


@pytest.mark.usefixtures("_quick")
def test_the_spec_of_a_job_is_verified(service: InProcess, spec_file: Callable[..., str]) -> None:
    changes = {key: value for key, value in LENGTH.items() if key != "name"}
    job_id = service.ok("submit", spec_file("asked", recipe=RING | MLP | {"batch_size": 16}, **changes))
    service.ok("cancel", job_id)
    done = service.ganctl("verify-resume", job_id, "--interruptions", "1", "--seed", "5", **service.addresses())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("identical: 40 tensors, 15 rows, interrupted 1 time at ")
    undisturbed, interrupted = (
        service.queue().resolve("asked-undisturbed"),
        service.queue().resolve("asked-interrupted"),
    )
    assert f"undisturbed: {undisturbed}" in done.stderr
    assert f"interrupted: {interrupted}" in done.stderr
    assert "--seed 5" in done.stderr


def test_what_differs_is_named_and_exits_with_1(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Difference("trainer.ema.layers.0.weight", 320, ("loss_g",), 0.25)
    verdict = Verdict("a", "b", (160,), (80,), Remains({}, []), other)
    monkeypatch.setattr(twins, "verify", lambda *_: verdict)
    done = service.ganctl("verify-resume", str(CONFIGS / "ring2d.yaml"), **service.addresses())
    assert done.returncode == 1
    assert done.stdout.startswith(
        "DIFFERENT: first in trainer.ema.layers.0.weight; in the report at 320 images: loss_g; the largest difference "
        "is 0.25; "
    )


def test_what_cannot_be_verified_is_refused(service: InProcess, spec_file: Callable[..., str]) -> None:
    service.refused(102, "no job has the id or name nobody", "verify-resume", "nobody", **service.addresses())
    gpus = ("--set", "resources.gpus_per_worker=64")
    service.refused(2, "64 GPUs are wanted", "verify-resume", spec_file(), *gpus, **service.addresses())
    service.refused(2, "nobody is no file", "verify-resume", "nobody", "--set", "seed=1", **service.addresses())


@pytest.mark.usefixtures("_quick")
def test_one_that_fails_is_told_with_its_reason(service: InProcess, spec_file: Callable[..., str]) -> None:
    diverging = ("--set", "recipe.optimiser_d.lr=1e30")
    service.refused(
        1, "is failed: diverged: not finite", "verify-resume", spec_file(), *diverging, **service.addresses()
    )
