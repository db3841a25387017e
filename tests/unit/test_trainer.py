import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganservice.errors import Diverged
from ganservice.quantities import OF_MACHINE
from ganservice.recipe import Adam, Recipe
from ganservice.recipe.networks.stylegan2 import Stylegan2Generator
from tests.trainings import (
    BATCH,
    CHANGES,
    IMAGES,
    KINDS,
    LABELS,
    LABELS_OF_IMAGES,
    MLP,
    NO_NORM,
    REPORT,
    TOTAL,
    different,
    recipe,
    run,
)
from tests.waits import Waits
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.data.examples import Examples
from workers.gan.networks.batch_norm import renew_statistics
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.path_length import PathLength
from workers.gan.pauses import Paused
from workers.gan.randomness import Draws, fixed_latents
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "w_mean")


def make(asked: Recipe | None = None, images: Tensor = IMAGES) -> Trainer:
    return Trainer(asked or recipe(), Examples(images, LABELS_OF_IMAGES[: len(images)]), seed=3, device=CPU)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("at", [16, 32])
def test_a_resumed_training_is_bit_for_bit_one_that_was_never_interrupted(changes: dict[str, Any], at: int) -> None:
    asked = recipe(**changes)
    uninterrupted, first, resumed = make(asked), make(asked), make(asked)
    reports = run(uninterrupted)
    before = run(first, at)
    state, history = decode_checkpoint(encode_checkpoint(snapshot(first.state_dict()), before))
    resumed.load_state_dict(state)
    after = run(resumed)
    assert different(resumed.state_dict(), uninterrupted.state_dict()) == []
    assert [row.model_dump(exclude=OF_MACHINE) for row in [*history, *after]] == [
        row.model_dump(exclude=OF_MACHINE) for row in reports
    ]


def test_training_is_decided_by_its_seed() -> None:
    one, again, other = make(), make(), Trainer(recipe(), Examples(IMAGES), seed=4, device=CPU)
    for trainer in (one, again, other):
        run(trainer, 16)
    assert different(one.state_dict(), again.state_dict()) == []
    assert len(different(one.state_dict(), other.state_dict())) > 10


def test_training_does_not_depend_on_the_random_state_of_the_process() -> None:
    one, other = make(recipe(**MLP, **LABELS)), make(recipe(**MLP, **LABELS))
    run(one, 16)
    torch.manual_seed(999)
    run(other, 16)
    assert different(one.state_dict(), other.state_dict()) == []


def test_a_snapshot_is_left_alone_by_later_steps() -> None:
    trainer = make()
    run(trainer, 16)
    taken = snapshot(trainer.state_dict())
    copied = copy.deepcopy(taken)
    run(trainer, 32)
    assert different(taken, copied) == []
    assert len(different(taken, trainer.state_dict())) > 10


@pytest.mark.parametrize("changes", [CHANGES["fp32"], CHANGES["mlp"]], ids=["dcgan", "mlp"])
def test_drawing_samples_never_changes_the_training(changes: dict[str, Any]) -> None:
    watched, alone = make(recipe(**changes)), make(recipe(**changes))
    for _ in watched.train(TOTAL, REPORT):
        watched.sample(torch.randn(4, 5))
        watched.glimpse(torch.randn(4, 5))
    run(alone)
    assert different(watched.state_dict(), alone.state_dict()) == []


def test_the_sampling_copy_is_in_evaluation_mode_and_g_and_d_stay_in_training_mode() -> None:
    """G stayed in evaluation mode after the first grid of text 000: its BatchNorm froze."""
    trainer = make()
    for _ in trainer.train(TOTAL, REPORT):
        trainer.sample(torch.randn(4, 5))
        assert all(
            module.training for network in (trainer.generator, trainer.discriminator) for module in network.modules()
        )
        assert not any(module.training for module in trainer.sampling_generator.modules())
    assert not any(parameter.requires_grad for parameter in trainer.sampling_generator.parameters())
    assert all(parameter.requires_grad for parameter in trainer.discriminator.parameters())


def test_a_sample_is_of_its_own_latents_only() -> None:
    trainer = make()
    run(trainer)
    latents = fixed_latents(3, 6, 5)
    images = trainer.sample(latents)
    assert images.shape == (6, 1, 28, 28)
    assert images.abs().max() <= 1
    torch.testing.assert_close(trainer.sample(latents[2:3]), images[2:3])


@pytest.mark.parametrize("half_life", [BATCH, 40, 10_000])
def test_weights_of_the_sampling_copy_lose_half_their_age_per_half_life(half_life: int) -> None:
    trainer = make(recipe(ema={"half_life_images": half_life}))
    expected = snapshot(dict(trainer.generator.named_parameters()))
    for _ in trainer.train(32, BATCH):
        for name, weight in trainer.generator.named_parameters():
            kept = 0.5 ** (BATCH / half_life)
            expected[name] = kept * expected[name] + (1 - kept) * weight.detach()
    for name, weight in trainer.sampling_generator.named_parameters():
        torch.testing.assert_close(weight, expected[name])


def test_the_sampling_copy_normalises_by_what_its_own_weights_make() -> None:
    """It normalised by the statistics of the G that trains, whose activations are others: its pictures were worse."""
    trainer = make(recipe(ema={"half_life_images": 10_000}, optimiser_g={"lr": 0.05}))
    run(trainer)
    found = trainer.sampling_generator
    assert isinstance(found, nn.Sequential)
    values = torch.randn(4_000, 5)
    with torch.no_grad():
        for layer in found:
            if isinstance(layer, nn.BatchNorm2d):
                mean, variance = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3))
                assert layer.running_mean is not None
                assert ((layer.running_mean - mean).abs() < 0.2 * variance.sqrt()).all()
                torch.testing.assert_close(layer.running_var, variance, rtol=0.2, atol=0)
            values = layer(values)


def test_statistics_are_taken_in_the_shares_that_classes_have_in_the_training_set() -> None:
    asked = recipe(conditioning={"classes": 3}, **NO_NORM)
    labels = torch.tensor([2] * 33 + [0] * 11)
    trainer, seen = Trainer(asked, Examples(IMAGES, labels), seed=3, device=CPU), list[Tensor]()
    embedding = next(module for module in trainer.sampling_generator.modules() if isinstance(module, nn.Embedding))
    embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run(trainer, 8, 8)
    trainer.sample(torch.randn(1, 5), torch.tensor([1]))
    shares = torch.cat(seen[:-1]).bincount(minlength=3) / 1_000
    assert shares.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.01)


@pytest.mark.parametrize("changes", [CHANGES["mlp"], KINDS["lsgan"]], ids=["mlp", "dense"])
def test_statistics_cost_nothing_where_nobody_asks_or_there_are_none(changes: dict[str, Any]) -> None:
    trainer, passes = make(recipe(**changes)), []
    trainer.sampling_generator.register_forward_hook(lambda *_: passes.append(1))
    run(trainer)
    assert passes == []
    norms = [module for module in trainer.sampling_generator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(passes) == (10 if norms else 0)
    trainer.sample(torch.randn(4, 5))
    assert len(passes) == (11 if norms else 1), "they hold until the next step"
    trainer.glimpse(torch.randn(4, 5))
    assert len(passes) == (12 if norms else 2), "at a glance those of the samples themselves will do"
    trainer.sample(torch.randn(4, 5))
    assert len(passes) == (23 if norms else 3), "which nobody else draws by"


def test_a_glimpse_is_drawn_by_the_statistics_of_its_own_samples() -> None:
    trainer, latents = make(), torch.randn(64, 5) + 5
    run(trainer)
    seen = trainer.glimpse(latents)
    network = copy.deepcopy(trainer.sampling_generator)
    renew_statistics(network, [(latents,)])
    of_own, of_thousand = network(latents), trainer.sample(latents)
    assert (seen - of_own).norm() < 0.01 * (of_thousand - of_own).norm()


class Linear(nn.Module):
    """A critic of one weight for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(28 * 28, generator=torch.Generator().manual_seed(1)) + 0.5)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().flatten(1))
        return images.flatten(1) @ self.weights


def test_penalties_are_taken_at_pictures_before_they_are_augmented() -> None:
    """At the augmented picture they held pixels that the augmentation had cut out, which D never saw."""
    loss = {"kind": "relativistic", "r1": 1e6, "r2": 0.0}
    trainer = make(recipe(loss=loss, augment=("cutout",), **NO_NORM))
    trainer.discriminator = critic = Linear()
    trainer.discriminator_step(*trainer.next_batch())
    _, _, real = critic.seen
    # R1 is r1 / 2 E |grad|^2, and the gradient at a pixel its weight, or 0 where it is cut out. No pixel is 0 itself.
    kept = (real != 0).double()
    assert 0.5 < kept.mean() < 0.95
    expected = 1e6 * kept.mean(dim=0) * critic.weights.detach()
    assert critic.weights.grad is not None
    torch.testing.assert_close(critic.weights.grad.double(), expected, rtol=1e-4, atol=10)


def test_the_gradients_of_d_are_untouched_by_the_step_of_g() -> None:
    trainer = make()
    batch = trainer.next_batch()
    trainer.discriminator_step(*batch)
    before = snapshot({name: weight.grad for name, weight in trainer.discriminator.named_parameters()})
    weights = snapshot(dict(trainer.discriminator.named_parameters()))
    trainer.generator_step(*batch)
    assert all(gradient.any() for gradient in before.values())
    assert different({name: weight.grad for name, weight in trainer.discriminator.named_parameters()}, before) == []
    assert different(dict(trainer.discriminator.named_parameters()), weights) == []


def test_the_first_layers_of_d_stay_as_they_are_where_they_are_frozen() -> None:
    trainer = make(recipe(freeze_d=2, **NO_NORM))
    before = snapshot(trainer.discriminator.state_dict())
    run(trainer)
    learned = different(trainer.discriminator.state_dict(), before)
    assert learned == [f"/{name}" for name in before if int(name.partition(".")[0]) >= 4]
    assert not any(weight.requires_grad for weight in list(trainer.discriminator.parameters())[:2])


def test_the_gradients_of_g_are_untouched_by_the_step_of_d() -> None:
    """The step of D of a founding text went through G, which nobody had detached."""
    trainer = make()
    trainer.discriminator_step(*trainer.next_batch())
    assert all(weight.grad is None for weight in trainer.generator.parameters())


@pytest.mark.parametrize("kind", ["resnet", "stylegan2"])
def test_what_g_keeps_beside_its_weights_is_that_of_its_sampling_copy(kind: str) -> None:
    """Of spectral normalisation it had the vectors of the first step, by which its weights came out too large."""
    trainer = make(recipe(**KINDS[kind]))
    run(trainer)
    theirs = dict(trainer.generator.named_buffers())
    own = {name: kept for name, kept in trainer.sampling_generator.named_buffers() if not name.endswith(STATISTICS)}
    assert own
    assert all(torch.equal(kept, theirs[name]) for name, kept in own.items())


# Nothing that a GPU would be waited for


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_no_step_waits_for_its_device(changes: dict[str, Any]) -> None:
    trainer = make(recipe(**changes))
    with Waits() as waits:
        for _ in range(4):
            trainer.step()
        assert waits.found == []
        torch.ones(1).item()
    assert waits.found == ["aten::_local_scalar_dense"], "it sees what it looks for"


# Penalties in steps of their own


def test_lazy_penalties_are_taken_in_steps_of_their_own_and_the_optimiser_is_corrected() -> None:
    loss = {"kind": "non_saturating", "r1": 4.0, "penalty_every_steps": 3}
    trainer = make(recipe(loss=loss, optimiser_d={"lr": 1e-3, "betas": (0.5, 0.9)}, **NO_NORM))
    run(trainer, 7 * BATCH, 7 * BATCH)
    state = trainer.state_dict()
    assert state["adam_d"]["state"][0]["step"] == 7 + 3, "after the first, the fourth and the seventh step"
    (of_d,), (of_g,) = (state[adam]["param_groups"] for adam in ("adam_d", "adam_g"))
    assert of_d["lr"] == pytest.approx(1e-3 * 3 / 4)
    assert of_d["betas"] == pytest.approx((0.5**0.75, 0.9**0.75))
    assert of_g["betas"] == (0.5, 0.999)


def test_a_penalty_in_a_step_of_its_own_is_as_many_times_as_strong() -> None:
    loss = {"kind": "relativistic", "r1": 1e6, "r2": 0.0, "penalty_every_steps": 4}
    trainer = make(recipe(loss=loss, **NO_NORM))
    trainer.discriminator = critic = Linear()
    trainer.discriminator_step(*trainer.next_batch())
    assert critic.weights.grad is not None
    # R1 is r1 / 2 |weights|^2 here, whose gradient is r1 * weights; that of the loss is nothing beside it.
    torch.testing.assert_close(critic.weights.grad, 4e6 * critic.weights.detach(), rtol=1e-4, atol=10)


@pytest.mark.parametrize("every_steps", [1, 4])
def test_path_lengths_are_taken_in_steps_of_their_own_and_the_optimiser_is_corrected(every_steps: int) -> None:
    """Once in every step G took two of its full rate."""
    generator = KINDS["stylegan2"]["generator"] | {"path_length_every_steps": every_steps}
    changes = KINDS["stylegan2"] | {"generator": generator, "optimiser_g": {"lr": 1e-3, "betas": (0.5, 0.9)}}
    trainer = make(recipe(**changes))
    run(trainer, 2 * BATCH, 2 * BATCH)
    state = trainer.state_dict()["adam_g"]
    place = [name for name, _ in trainer.generator.named_parameters()].index("mapping.layers.0.weight")
    assert state["state"][place]["step"] == 2 + (2 if every_steps == 1 else 1)
    share = every_steps / (every_steps + 1)
    assert state["param_groups"][0]["lr"] == pytest.approx(1e-3 * share)
    assert state["param_groups"][0]["betas"] == pytest.approx((0.5**share, 0.9**share))


def test_path_lengths_that_are_not_finite_end_the_training_before_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """They spoiled G after the last loss that was looked at, and it was published."""
    trainer = make(recipe(**KINDS["stylegan2"]))

    def not_finite(path_length: PathLength, lengths: Tensor) -> Tensor:
        del path_length
        return torch.nan * lengths.mean()

    monkeypatch.setattr(PathLength, "penalty", not_finite)
    with pytest.raises(Diverged, match="grad_norm_g = nan"):
        run(trainer, BATCH, BATCH)


class Straight(StyleGenerator):
    """One whose picture is a linear map of its styles."""

    def layer_styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is None
        return latents[:, None, :].repeat(1, 2, 1)

    def draw(self, w: Tensor) -> Tensor:
        return (w[:, 0] * torch.tensor([3.0, 4.0]) + w[:, 1] * torch.tensor([0.0, 12.0]))[:, None, None, :]


def test_path_lengths_are_those_of_steps_in_w(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Stylegan2Generator(kind="stylegan2", path_length=0.5, path_length_every_steps=4)
    draws = Draws(0, CPU, WorkerGroup())
    monkeypatch.setattr(draws, "noise", torch.ones)
    path_length = PathLength(options, draws, WorkerGroup(), CPU)
    straight = Straight.__new__(Straight)
    nn.Module.__init__(straight)
    lengths = path_length.lengths(straight, torch.randn(6, 2, requires_grad=True), ())
    path_length.follow(lengths)
    penalty = path_length.penalty(lengths)
    # y is 1 / sqrt(2) in both pixels, so that J^T y is (3, 4) and (0, 12) of it; the mean of squares over layers.
    length = (((9 + 16) / 2 + 144 / 2) / 2) ** 0.5
    mean = path_length.state_dict()["mean"].item()
    assert mean == pytest.approx(0.01 * length)
    assert penalty.item() == pytest.approx(4 * 0.5 * (length - mean) ** 2)


def test_a_training_without_path_lengths_is_gone_on_from_with_some() -> None:
    generator = KINDS["stylegan2"]["generator"]
    before, after = (
        make(recipe(**(KINDS["stylegan2"] | {"generator": generator | {"path_length": weight}})))
        for weight in (0.0, 2.0)
    )
    run(before, BATCH, BATCH)
    after.load_state_dict(before.state_dict())
    run(after, 4 * BATCH, 4 * BATCH)
    assert after.state_dict()["path_length"]["mean"] > 0


# Progress


@pytest.mark.parametrize(
    ("total", "report", "told"),
    [
        (64, 16, [16, 32, 48, 64]),
        (64, 24, [24, 48, 64]),
        (64, 20, [16, 32, 48, 64]),
        (64, 1, [8, 16, 24, 32, 40, 48, 56, 64]),
        (64, 10_000, [64]),
        (60, 24, [24, 48, 64]),
    ],
)
def test_progress_comes_every_report_in_whole_steps_and_at_the_end(total: int, report: int, told: list[int]) -> None:
    assert [progress.images for progress in run(make(recipe(**MLP)), total, report)] == told


def test_progress_tells_steps_means_and_speed() -> None:
    trainer = make()
    for progress in trainer.train(TOTAL, REPORT):
        assert progress.images == trainer.images_seen == progress.step * BATCH
        for probability in (progress.d_real, progress.d_fake):
            assert probability is not None
            assert 0 < probability < 1
        assert min(progress.loss_g, progress.loss_d, progress.grad_norm_g, progress.grad_norm_d) > 0
        assert progress.images_per_s == pytest.approx(BATCH / progress.step_s)


def test_a_report_is_the_mean_of_its_own_steps() -> None:
    """The averages of a founding text were never reset, and its last figure was that of one minibatch."""
    steps = run(make(), 48, BATCH)
    for report, own in zip(run(make(), 48, 24), (steps[:3], steps[3:]), strict=True):
        for name in ("loss_g", "loss_d", "d_real", "d_fake", "grad_norm_g", "grad_norm_d"):
            mean = sum(getattr(step, name) for step in own) / 3
            assert getattr(report, name) == pytest.approx(mean, rel=1e-5)


def test_a_finished_training_has_nothing_left_to_do() -> None:
    trainer = make()
    run(trainer)
    done = snapshot(trainer.state_dict())
    assert run(trainer) == []
    assert different(trainer.state_dict(), done) == []


def test_fewer_images_than_a_batch_are_seen_again() -> None:
    trainer = make(recipe(**MLP), IMAGES[:3])
    assert run(trainer, 16)[-1].images == 16


# What D is right about


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_tells_what_d_is_right_about(kind: str) -> None:
    for progress in run(make(recipe(**KINDS[kind]))):
        assert progress.d_accuracy_real is not None
        assert progress.d_accuracy_generated is not None


def test_a_d_that_knows_its_pictures_by_heart_has_a_gap_to_those_held_out() -> None:
    held_out = Examples(torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8))
    asked = recipe(**MLP, optimiser_d={"lr": 2e-3})
    trainer = Trainer(asked, Examples(IMAGES), seed=3, device=CPU, held_out=held_out)
    [begun], [learned] = run(trainer, 8, 8), run(trainer, 800, 800)
    assert abs(begun.d_held_out_gap or 0.0) < 0.6
    assert (learned.d_held_out_gap or 0.0) > 0.9
    assert [progress.d_held_out_gap for progress in run(make(asked))] == [None] * 4


def test_a_training_is_the_same_whether_or_not_d_is_shown_pictures_held_out() -> None:
    alone = make()
    watched = Trainer(recipe(), Examples(IMAGES, LABELS_OF_IMAGES), 3, CPU, held_out=Examples(IMAGES))
    for trainer in (watched, alone):
        run(trainer)
    assert different(watched.state_dict(), alone.state_dict()) == []


def test_a_span_that_an_older_version_began_is_reported_without_what_that_did_not_count() -> None:
    first, resumed, whole = make(), make(), make()
    with pytest.raises(Paused):
        list(first.train(320, 320, lambda: first.images_seen >= 16))
    state = snapshot(first.state_dict())
    state["span"]["sums"] = state["span"]["sums"][:, :-2]
    resumed.load_state_dict(state)
    [report], [complete] = run(resumed, 320, 320), run(whole, 320, 320)
    assert (report.d_accuracy_real, report.d_accuracy_generated) == (None, None)
    left_out = {*OF_MACHINE, "d_accuracy_real", "d_accuracy_generated"}
    assert report.model_dump(exclude=left_out) == complete.model_dump(exclude=left_out)
    assert run(resumed, 336, 16)[0].d_accuracy_real is not None


# Diverged


def test_images_that_are_not_finite_end_the_training_before_it_reports() -> None:
    images = IMAGES.float()
    images[0, 0, 0, 0] = torch.nan
    with pytest.raises(Diverged, match=r"not finite in the 6 steps before 48 images: .*loss_d = nan"):
        run(make(recipe(**MLP), images), 48, 48)


def test_no_progress_is_told_of_the_span_that_diverged() -> None:
    trainer = make()
    reports = trainer.train(TOTAL, REPORT)
    assert [next(reports).images, next(reports).images] == [16, 32]
    with torch.no_grad():
        next(trainer.discriminator.parameters()).fill_(torch.inf)
    with pytest.raises(Diverged, match=r"^not finite in the 2 steps before 48 images: .+$"):
        next(reports)
    assert next(reports, None) is None


def test_a_learning_rate_far_too_large_diverges() -> None:
    too_large = Adam().model_copy(update={"lr": 1e30})
    with pytest.raises(Diverged):
        run(make(recipe(optimiser_g=too_large, optimiser_d=too_large)))
