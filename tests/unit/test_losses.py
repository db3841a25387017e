import math

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from ganservice import recipe
from workers.gan.losses import Loss, NonSaturating, build_loss
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

REAL, FAKE = [-2.0, 0.0, 3.0], [1.0, -1.0, 0.5]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def bce(logits: list[float], targets: list[float]) -> float:
    """Binary cross-entropy as textbooks write it."""
    pairs = [(sigmoid(logit), target) for logit, target in zip(logits, targets, strict=True)]
    return -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in pairs) / len(pairs)


def draws() -> Draws:
    fresh = Draws(5, torch.device("cpu"), WorkerGroup())
    fresh.begin_step(0)
    return fresh


@pytest.mark.parametrize(("real_label", "fake_label"), [(1.0, 0.0), (0.9, 0.0), (0.7, 0.2)])
def test_d_minimises_the_cross_entropy_to_its_labels(real_label: float, fake_label: float) -> None:
    loss = NonSaturating(recipe.NonSaturating(real_label=real_label, fake_label=fake_label), draws())
    found = loss.discriminator(torch.tensor(REAL), torch.tensor(FAKE)).item()
    assert found == pytest.approx(bce(REAL, 3 * [real_label]) + bce(FAKE, 3 * [fake_label]), rel=1e-6)


def test_labels_of_a_range_are_drawn_for_each_image() -> None:
    loss = NonSaturating(recipe.NonSaturating(real_label=(0.7, 1.2), fake_label=(0.0, 0.3)), draws())
    found = loss.discriminator(torch.tensor(REAL), torch.tensor(FAKE)).item()
    same = draws()
    real = [0.7 + 0.5 * number for number in same.uniform((3,)).tolist()]
    fake = [0.3 * number for number in same.uniform((3,)).tolist()]
    assert len({*real, *fake}) == 6
    assert found == pytest.approx(bce(REAL, real) + bce(FAKE, fake), rel=1e-6)


def test_labels_of_a_range_stay_within_it() -> None:
    loss = NonSaturating(recipe.NonSaturating(real_label=(0.7, 1.2), fake_label=(0.2, 0.4)), draws())
    real, fake = (torch.zeros(10_000, requires_grad=True) for _ in range(2))
    loss.discriminator(real, fake).backward()
    # Of the mean BCE at logit 0 the gradient is (1/2 - label) / count.
    for logits, low, high in ((real, 0.7, 1.2), (fake, 0.2, 0.4)):
        assert logits.grad is not None
        labels = 0.5 - 10_000 * logits.grad
        assert low - 1e-3 < labels.min().item() < low + 0.01
        assert high - 0.01 < labels.max().item() < high + 1e-3


def test_g_minimises_minus_log_d() -> None:
    loss = NonSaturating(recipe.NonSaturating(real_label=0.9), draws())
    expected = -sum(math.log(sigmoid(logit)) for logit in FAKE) / 3
    assert loss.generator(torch.tensor(FAKE), None).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("logit", [-50.0, -1.0, 0.0, 1.0])
def test_the_loss_of_g_does_not_saturate(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    NonSaturating(recipe.NonSaturating(), draws()).generator(logits, None).backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(sigmoid(logit) - 1, abs=1e-6)
    assert logits.grad.item() < -0.2


def test_d_raises_real_logits_and_lowers_fake_ones() -> None:
    real, fake = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    NonSaturating(recipe.NonSaturating(real_label=0.9), draws()).discriminator(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_extreme_logits_in_bf16_give_finite_fp32_losses(logit: float) -> None:
    logits = torch.tensor([logit], dtype=torch.bfloat16)
    loss = NonSaturating(recipe.NonSaturating(), draws())
    for found in (loss.discriminator(logits, logits), loss.generator(logits, None)):
        assert found.dtype == torch.float32
        assert found.isfinite()


# The others, held against their formulas.


def build(kind: str, **settings: object) -> Loss:
    asked = TypeAdapter(recipe.Loss).validate_python({"kind": kind, **settings})
    return build_loss(asked, draws())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


FORMULAS = {
    "minimax": (
        bce(REAL, 3 * [1.0]) + bce(FAKE, 3 * [0.0]),
        mean([math.log(1 - sigmoid(fake)) for fake in FAKE]),
    ),
    "lsgan": (
        (mean([(real - 1) ** 2 for real in REAL]) + mean([fake**2 for fake in FAKE])) / 2,
        mean([(fake - 1) ** 2 for fake in FAKE]) / 2,
    ),
    "hinge": (
        mean([max(0, 1 - real) for real in REAL]) + mean([max(0, 1 + fake) for fake in FAKE]),
        -mean(FAKE),
    ),
    "wgan_gp": (mean(FAKE) - mean(REAL), -mean(FAKE)),
    "relativistic": (
        mean([math.log(1 + math.exp(fake - real)) for real, fake in zip(REAL, FAKE, strict=True)]),
        mean([math.log(1 + math.exp(real - fake)) for real, fake in zip(REAL, FAKE, strict=True)]),
    ),
}


def test_the_points_of_a_gradient_penalty_lie_between_whole_packs() -> None:
    """Gulrajani et al. 2017, algorithm 1: one number for each input of D."""
    seen: list[Tensor] = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.flatten(1).sum(dim=1).view(-1, 3).sum(dim=1)

    real, fake = torch.ones(12, 1, 2, 2), torch.zeros(12, 1, 2, 2)
    build_loss(recipe.WassersteinGp(kind="wgan_gp"), draws(), pack=3).penalty(critic, real, fake, 0)
    packs = seen[0].view(4, -1)
    assert (packs == packs[:, :1]).all()
    assert len(packs.unique()) == 4


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_loss_is_its_formula(kind: str) -> None:
    loss, (of_d, of_g) = build(kind), FORMULAS[kind]
    real, fake = torch.tensor(REAL), torch.tensor(FAKE)
    assert loss.discriminator(real, fake).item() == pytest.approx(of_d, rel=1e-6)
    assert loss.generator(fake, real if loss.compares else None).item() == pytest.approx(of_g, rel=1e-6)
    assert loss.gives_probabilities == (kind == "minimax")


def test_the_saturating_loss_has_no_gradient_where_d_is_sure() -> None:
    gradients = {}
    for kind in ("minimax", "non_saturating"):
        logits = torch.tensor([-20.0], requires_grad=True)
        build(kind).generator(logits, None).backward()
        assert logits.grad is not None
        gradients[kind] = logits.grad.abs().item()
    assert gradients["minimax"] < 1e-8
    assert gradients["non_saturating"] > 0.99


def slope(images: Tensor) -> Tensor:
    """A critic whose gradient is (3, 4) everywhere, of norm 5."""
    return images @ torch.tensor([3.0, 4.0])


def test_the_gradient_penalties_are_their_formulas() -> None:
    real, fake = torch.randn(6, 2), torch.randn(6, 2)
    between = build("wgan_gp", penalty=10.0).penalty(slope, real, fake, 0)
    assert between is not None
    assert between.item() == pytest.approx(10 * (5 - 1) ** 2, rel=1e-4)
    zero_centred = build("relativistic", r1=0.5, r2=2.0).penalty(slope, real, fake, 0)
    assert zero_centred is not None
    assert zero_centred.item() == pytest.approx(0.5 / 2 * 25 + 2.0 / 2 * 25, rel=1e-5)


def test_a_penalty_at_pictures_in_bf16_has_a_gradient_in_fp32() -> None:
    images = torch.randn(6, 2).bfloat16()
    penalty = build("relativistic", r1=2.0, r2=0.0).penalty(
        lambda points: points @ torch.tensor([0.1, 0.3]), images, images, 0
    )
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.1**2 + 0.3**2, rel=1e-6)


def test_the_usual_loss_has_r1_where_it_is_asked_for() -> None:
    images = torch.randn(6, 2)
    assert build("non_saturating").penalty(slope, images, images, 0) is None
    penalty = build("non_saturating", r1=0.5).penalty(slope, images, images, 0)
    assert penalty is not None
    assert penalty.item() == pytest.approx(0.5 / 2 * 25, rel=1e-5)


def test_a_penalty_follows_its_ramp() -> None:
    ramp = {"start": 4.0, "end": 0.0, "until_images": 100, "shape": "linear"}
    loss, images = build("relativistic", r1=ramp, r2=0.0), torch.randn(6, 2)
    found = [loss.penalty(slope, images, images, seen) for seen in (0, 50, 100)]
    assert [term and term.item() for term in found] == [pytest.approx(50), pytest.approx(25), None]


# What D is right about, of three real and three generated images


@pytest.mark.parametrize(
    ("kind", "settings", "real", "generated"),
    [
        ("non_saturating", {}, 0.5, 1 / 3),  # undecided is half right
        ("minimax", {}, 0.5, 1 / 3),
        ("non_saturating", {"real_label": 0.6}, 2 / 3, 1 / 3),  # undecided at 0.3, a logit of -0.85
        ("non_saturating", {"real_label": 0.0, "fake_label": 1.0}, 0.5, 2 / 3),
        ("lsgan", {}, 1 / 3, 0.5),
        ("hinge", {}, 0.5, 1 / 3),
        ("wgan_gp", {}, 2 / 3, 2 / 3),  # of pairs
        ("relativistic", {}, 2 / 3, 2 / 3),
    ],
)
def test_d_is_right_about_what_it_puts_on_its_side_of_the_undecided(
    kind: str, settings: dict[str, float], real: float, generated: float
) -> None:
    found = build(kind, **settings).accuracies(torch.tensor(REAL), torch.tensor(FAKE))
    assert [share.item() for share in found] == pytest.approx([real, generated])


@pytest.mark.parametrize("label", [1.5, (1.4, 1.5)])
def test_labels_beyond_every_probability_leave_the_shares_finite(label: object) -> None:
    loss = build("non_saturating", real_label=label, fake_label=1.2)
    assert all(0 <= share <= 1 for share in loss.accuracies(torch.tensor(REAL), torch.tensor(FAKE)))


def test_a_flat_critic_has_a_finite_penalty_and_gradient() -> None:
    weight = torch.zeros(2, requires_grad=True)
    penalty = build("wgan_gp").penalty(lambda images: images @ weight, torch.randn(4, 2), torch.randn(4, 2), 0)
    assert penalty is not None
    penalty.backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_a_penalty_at_each_image_is_refused_for_a_d_that_mixes_them() -> None:
    asked = {
        "data": {"dataset": "digits", "image_size": 28, "channels": 1},
        "generator": {"kind": "dcgan", "widths": (6, 4, 4)},
        "discriminator": {"kind": "dcgan", "widths": (4, 4, 6), "batch_norm": True},
    }
    for kind in ("wgan_gp", "relativistic"):
        with pytest.raises(ValueError, match="mixes images"):
            recipe.Recipe.model_validate(asked | {"loss": {"kind": kind}})
