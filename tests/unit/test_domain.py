"""What a report tells of pictures alone, and of points in the plane alone."""

import io

import pytest
import torch
from PIL import Image
from torch import Tensor

from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec
from workers.gan.data.examples import Examples, draw_mixture
from workers.gan.domain import build_domain
from workers.gan.trainer import Trainer

CPU = torch.device("cpu")
MLP = {"generator": {"kind": "mlp", "widths": [16]}, "discriminator": {"kind": "mlp", "widths": [16]}, "batch_size": 8}


def spec_of(data: dict[str, object], **more: object) -> TrainSpec:
    return parse_spec({"name": "tiny", "images": 64, "recipe": {**MLP, "data": data, **more}}, source="test_domain.py")


@pytest.mark.parametrize("conditioning", [None, {"classes": 3}])
def test_pictures_are_counted_in_epochs_compared_and_shown_side_by_side(conditioning: dict[str, int] | None) -> None:
    spec = spec_of({"dataset": "digits", "image_size": 8, "channels": 1}, conditioning=conditioning)
    images = torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8)
    examples = Examples(images, torch.arange(100) % 3, ("a", "b", "c"))
    trainer = Trainer(spec.recipe, examples, spec.seed, CPU)
    domain = build_domain(spec, examples)
    for progress in trainer.train(24, 8):
        report = domain.measure(trainer)
        assert set(report) == {"epochs", "diversity"}
        assert report["epochs"] == progress.images / 100
        assert report["diversity"] > 0
        assert report == domain.measure(trainer)
    rows = 3 if conditioning else spec.samples.rows
    width, height = Image.open(io.BytesIO(domain.grid(trainer))).size
    assert (width // 10, height // 10) == (spec.samples.columns, rows)


def test_a_grid_has_a_row_for_each_class_that_is_learned_and_samples_are_compared_in_the_shares_of_the_data() -> None:
    spec = spec_of({"dataset": "digits", "image_size": 8, "channels": 1}, conditioning={"classes": 5})
    labels = torch.tensor([1] * 90 + [3] * 10)
    examples = Examples(torch.randint(0, 256, (100, 1, 8, 8), dtype=torch.uint8), labels, tuple("abcde"))
    trainer = Trainer(spec.recipe, examples, spec.seed, CPU)
    domain = build_domain(spec, examples)
    asked: list[Tensor] = []
    trainer.sampling_generator.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[1]))
    domain.measure(trainer)
    width, height = Image.open(io.BytesIO(domain.grid(trainer))).size
    assert (width // 10, height // 10) == (spec.samples.columns, 2)
    compared, shown = (torch.bincount(labels, minlength=5).tolist() for labels in asked)
    assert compared == [0, 58, 0, 6, 0]
    assert shown == [0, spec.samples.columns, 0, spec.samples.columns, 0]


def test_points_are_counted_by_modes_and_shown_in_the_plane() -> None:
    data = {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.05, "points": 400}
    spec = spec_of(data, latent_size=2)
    mixture = spec.recipe.data
    examples = draw_mixture(mixture, spec.seed)  # type: ignore[arg-type] # the data is a mixture
    trainer = Trainer(spec.recipe, examples, spec.seed, CPU)
    domain = build_domain(spec, examples)
    report = domain.measure(trainer)
    assert set(report) == {"modes", "good_share", "diversity"}
    assert report["diversity"] == report["modes"] / 8
    assert Image.open(io.BytesIO(domain.grid(trainer))).format == "PNG"
