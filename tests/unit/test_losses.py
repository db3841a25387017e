import math

import pytest
import torch

from ganservice import recipe
from workers.gan.losses import NonSaturating
from workers.gan.randomness import Draws
from workers.gan.replicas import Replicas

REAL, FAKE = [-2.0, 0.0, 3.0], [1.0, -1.0, 0.5]


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def bce(logits: list[float], targets: list[float]) -> float:
    """Binary cross-entropy as textbooks write it."""
    pairs = [(sigmoid(logit), target) for logit, target in zip(logits, targets, strict=True)]
    return -sum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in pairs) / len(pairs)


def draws() -> Draws:
    fresh = Draws(5, torch.device("cpu"), Replicas())
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
    assert loss.generator(torch.tensor(FAKE)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("logit", [-50.0, -1.0, 0.0, 1.0])
def test_the_loss_of_g_does_not_saturate(logit: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    NonSaturating(recipe.NonSaturating(), draws()).generator(logits).backward()
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
    for found in (loss.discriminator(logits, logits), loss.generator(logits)):
        assert found.dtype == torch.float32
        assert found.isfinite()
