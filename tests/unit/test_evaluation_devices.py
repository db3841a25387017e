"""Evaluations on a GPU, as far as a machine without one can tell: no tensor is where another is not.

torch's fake tensors have a device, a shape and no numbers; where two of different devices meet they raise.
"""

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ganservice.judging import Judging
from ganservice.recipe import Recipe
from workers.gan.data.rows import Rows
from workers.gan.evaluation.classifier import build_classifier, device_of, train_classifier
from workers.gan.evaluation.features import FeatureNetwork, efficientnet_lite0
from workers.gan.evaluation.generated import SampledPictures
from workers.gan.evaluation.inception import Inception
from workers.gan.networks import build_generator
from workers.gan.precision import whole_fp32

# The one device that a torch without any pretends to have.
GPU = torch.device("lazy")
RECIPE = {
    "data": {"dataset": "digits", "image_size": 28, "channels": 3},
    "latent_size": 5,
    "generator": {"kind": "mlp", "widths": [16]},
    "discriminator": {"kind": "mlp"},
    "conditioning": {"classes": 8},
}
PICTURES = (250, 3, 28, 28)


def on_gpu(network: nn.Module, machine: FakeTensorMode) -> nn.Module:
    """Move a network to the GPU of a fake machine."""
    for module in network.modules():
        for name, weights in module._parameters.items():  # noqa: SLF001 # fake weights cannot be moved by `to`
            if weights is not None:
                fake = machine.from_tensor(weights).detach().to(GPU)
                module._parameters[name] = nn.Parameter(fake, weights.requires_grad)  # noqa: SLF001
        for name, values in module._buffers.items():  # noqa: SLF001
            if values is not None:
                module._buffers[name] = machine.from_tensor(values).to(GPU)  # noqa: SLF001
    return network


@pytest.mark.parametrize(
    ("build", "features"),
    [
        (lambda: build_classifier(3, 28, 8), 128),
        (lambda: build_classifier(3, 28, 8, stacked=True), 384),
        (lambda: efficientnet_lite0().network, 1_280),
        (Inception, 2_048),
    ],
    ids=["classifier", "stacks", "efficientnet", "inception"],
)
def test_pictures_go_to_the_network_and_features_come_back(build: Callable[[], nn.Module], features: int) -> None:
    network = build().eval()
    with FakeTensorMode() as machine, torch.no_grad():
        seen = FeatureNetwork("any", "digest", "none", on_gpu(network, machine), device=GPU)
        found = list(seen.see([torch.zeros(PICTURES, dtype=torch.uint8)]))
        assert [tuple(part.shape) for part, _ in found] == [(100, features), (100, features), (50, features)]
        assert {values.device.type for part in found for values in part} == {"cpu"}


def test_a_generator_draws_on_its_device() -> None:
    recipe = Recipe.model_validate(RECIPE)
    generator, judging = build_generator(recipe).eval(), Judging(samples=200)
    drawn = SampledPictures(generator, recipe, judging, torch.ones(8), GPU)
    assert drawn.labels is not None
    with FakeTensorMode() as machine:
        on_gpu(generator, machine)
        drawn.latents, drawn.labels = machine.from_tensor(drawn.latents), machine.from_tensor(drawn.labels)
        pictures = drawn[torch.arange(3)]
        assert (pictures.device.type, pictures.dtype, tuple(pictures.shape)) == (GPU.type, torch.uint8, (3, 3, 28, 28))


class OnTheCpu(Rows):
    """Rows that come as tensors of a machine that only pretends to have them."""

    def take(self, indices: Tensor, *, pinned: bool = False) -> Tensor:
        assert not pinned
        return torch.zeros(len(indices), *self.form, dtype=self.dtype)


def test_a_classifier_learns_on_its_device_what_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # What knows its devices by name.
    monkeypatch.setattr("workers.gan.evaluation.classifier.autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("torch.optim.AdamW", lambda weights, *_, **__: torch.optim.SGD(weights))
    network = build_classifier(3, 28, 8)
    pictures = OnTheCpu((np.zeros(PICTURES, np.uint8),))
    with FakeTensorMode() as machine:
        train_classifier(on_gpu(network, machine), pictures, torch.zeros(250, dtype=torch.int64), steps=2)
        assert device_of(network).type == GPU.type


def test_what_is_measured_has_all_digits_of_fp32_and_what_follows_is_as_before() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    try:
        with whole_fp32():
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", before[1])
    finally:
        torch.set_float32_matmul_precision(before[0])
