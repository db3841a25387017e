"""Networks that look at a few images at a time learn what they would from all of them together."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganservice.errors import NetworkInvalid, SpecInvalid
from ganservice.job import Progress
from ganservice.quantities import OF_MACHINE
from ganservice.recipe import Recipe
from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec
from workers.gan.data.examples import Examples
from workers.gan.micro_batches import MicroBatches
from workers.gan.networks import build_networks
from workers.gan.networks.examination import examine_networks
from workers.gan.randomness import Draws
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (44, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(len(IMAGES)) % 3
DATA: dict[str, Any] = {"dataset": "digits", "image_size": 28, "channels": 1}
MLP = {"kind": "mlp", "widths": (16,)}
DCGAN_D = {"kind": "dcgan", "widths": (4, 4, 6)}
STYLE = {"kind": "stylegan2", "width": 8, "max_width": 16}
TRAININGS: dict[str, dict[str, Any]] = {
    "labels": {"loss": {"real_label": (0.7, 1.2), "fake_label": (0.0, 0.3)}, "data": DATA | {"flip": True}},
    "spectral_norm": {"discriminator": DCGAN_D | {"spectral_norm": True}, "loss": {"kind": "hinge"}, "d_steps": 2},
    "wgan_gp": {"discriminator": DCGAN_D, "loss": {"kind": "wgan_gp"}, "augment": ("colour", "translation", "cutout")},
    "relativistic": {
        "discriminator": DCGAN_D, "loss": {"kind": "relativistic"}, "pack": 2,
        "conditioning": {"kind": "label_plane", "classes": 3}, "freeze_d": 1,
        "augment": {"changes": ("rotation", "stretch", "contrast"), "probability": 0.5},
    },
    "lazy": {
        "generator": STYLE | {"path_length": 0.0, "w_size": 8, "mapping_layers": 2},
        "discriminator": STYLE | {"group": 1},
        "loss": {"kind": "non_saturating", "r1": 1.0, "penalty_every_steps": 2},
        "augment": {"changes": ("flip", "scale"), "probability": {"kind": "adaptive", "speed_images": 50}},
    },
    "groups and path lengths": {
        "generator": STYLE | {"path_length_every_steps": 2, "w_size": 8, "mapping_layers": 2},
        "discriminator": STYLE | {"group": 2},
        "loss": {"kind": "non_saturating", "r1": 1.0, "penalty_every_steps": 2},
        "conditioning": {"classes": 3},
    },
}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    plain = {"data": DATA, "generator": MLP, "discriminator": MLP, "latent_size": 5, "batch_size": 8}
    return Recipe.model_validate(plain | {"precision": "fp32"} | changes)


def make(asked: Recipe, size: int | None) -> Trainer:
    return Trainer(asked, Examples(IMAGES, LABELS), 3, CPU, micro_batch_size=size)


def train(asked: Recipe, size: int | None) -> tuple[dict[str, Tensor], list[Progress]]:
    """A few steps in float64, so that what differs by more than rounding shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            trainer = make(asked, size)
            reports = list(trainer.train(32, 16))
        finally:
            torch.set_default_dtype(torch.float32)
    state = trainer.state_dict()
    return {f"{part}.{name}": value for part in ("g", "d", "ema") for name, value in state[part].items()}, reports


@pytest.mark.parametrize(
    ("kind", "size"), [*((kind, 2) for kind in TRAININGS), ("labels", 4), ("groups and path lengths", 4)]
)
def test_pieces_reach_the_weights_of_the_whole_and_report_the_same(kind: str, size: int) -> None:
    (whole, reports), (pieces, others) = (train(recipe(**TRAININGS[kind]), each) for each in (None, size))
    for name, weight in whole.items():
        torch.testing.assert_close(pieces[name], weight, rtol=0, atol=1e-9, msg=name)
    for mine, theirs in zip(reports, others, strict=True):
        told = [report.model_dump(exclude={*OF_MACHINE, "health"}, exclude_none=True) for report in (mine, theirs)]
        assert told[1] == pytest.approx(told[0], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("changes", TRAININGS.values(), ids=TRAININGS)
def test_gradients_of_pieces_are_those_of_the_whole_in_fp32(changes: dict[str, Any]) -> None:
    gradients = []
    for size in (None, 2):
        trainer = make(recipe(**changes), size)
        batch = trainer.next_batch()
        trainer.discriminator_step(*batch)
        of_d = [weight.grad for weight in trainer.discriminator.parameters() if weight.grad is not None]
        # From the same D: Adam makes of rounding in a gradient near 0 a step of its own.
        trainer.discriminator.load_state_dict(make(recipe(**changes), None).discriminator.state_dict())
        trainer.generator_step(*batch)
        of_g = [weight.grad for weight in trainer.generator.parameters() if weight.grad is not None]
        gradients.append([torch.cat([gradient.flatten() for gradient in each]) for each in (of_d, of_g)])
    for whole, pieces in zip(*gradients, strict=True):
        # Sums in another order: of path lengths, twice derived, an EPYC found some 3e-6.
        assert (pieces - whole).norm() <= 1e-5 * whole.norm()


def test_as_many_as_a_worker_has_are_one_piece_bit_for_bit() -> None:
    trainers = [make(recipe(**TRAININGS["spectral_norm"]), size) for size in (8, None)]
    for trainer in trainers:
        list(trainer.train(32, 16))
    one, whole = (trainer.state_dict()["d"] for trainer in trainers)
    assert all(torch.equal(one[name], whole[name]) for name in whole)


class Widest(nn.Module):
    """Keeps the number of the most images that passed it together."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.most = 0
        network.register_forward_pre_hook(self._look)

    def _look(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.most = max(self.most, len(inputs[0]))


@pytest.mark.parametrize("kind", ["relativistic", "lazy", "groups and path lengths"])
def test_no_more_images_pass_a_network_together(kind: str) -> None:
    trainer = make(recipe(**TRAININGS[kind]), 2)
    widest = [Widest(network) for network in (trainer.generator, trainer.discriminator)]
    list(trainer.train(32, 16))
    assert [each.most for each in widest] == [2, 2]


@pytest.mark.parametrize("world_size", [1, 2])
def test_pieces_draw_what_the_whole_draws(world_size: int) -> None:
    for rank in range(world_size):
        draws, ahead = (Draws(7, CPU, WorkerGroup(rank, world_size)) for _ in range(2))
        draws.begin_step(0)
        ahead.begin_step(0)
        whole = [draws.normal(12 * world_size, 3), draws.uniform((12, 2)), draws.noise((6, 1))]
        after = draws.uniform((12,))
        parts = [
            [ahead.normal(12 * world_size, 3), ahead.uniform((4, 2)), ahead.noise((2, 1))] for _ in ahead.pieces(3)
        ]
        for one, many in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(torch.cat(list(many)), one)
        assert torch.equal(ahead.uniform((12,)), after)


def test_who_stops_at_a_piece_draws_for_the_whole_again() -> None:
    draws = Draws(7, CPU, WorkerGroup())
    for _ in MicroBatches(2, draws, ()).split(torch.zeros(8, 1), ()):
        assert draws.normal(8, 1).shape == (2, 1)
        break
    assert draws.normal(8, 1).shape == (8, 1)


# What may ask for them


def spec(size: int, workers: int = 1, **changes: Any) -> TrainSpec:
    asked = recipe(**changes).model_dump(mode="json")
    resources = {"workers": workers, "micro_batch_size": size}
    return parse_spec({"name": "tiny", "images": 64, "recipe": asked, "resources": resources}, "spec")


@pytest.mark.parametrize(
    ("size", "changes", "told"),
    [
        (3, {}, "micro_batch_size: found 3, into which the 8 images of a worker do not split evenly; choose 2"),
        (16, {}, "micro_batch_size: found 16, into which the 8 images of a worker do not split evenly; choose 8"),
        (1, {"pack": 2}, "do not split evenly in packs of 2; choose 2"),
        (
            2,
            {"generator": {"kind": "dcgan", "widths": (6, 4, 4)}},
            "but a generator of kind dcgan with these keys looks",
        ),
        (
            2,
            {"discriminator": DCGAN_D | {"batch_norm": True}},
            "but a discriminator of kind dcgan with these keys looks",
        ),
        (2, {"discriminator": STYLE}, "do not split evenly in multiples of 4; choose 4"),
        (3, {"discriminator": STYLE | {"group": 3}}, "do not split evenly in multiples of 3; choose 8"),
        (1, {"generator": STYLE}, "do not split evenly in multiples of 2; choose 2"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(size: int, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        spec(size, **changes)
    [line] = str(refused.value).splitlines()
    assert "resources.micro_batch_size: found " in line
    assert told in line


def test_a_worker_splits_its_own_part() -> None:
    assert spec(2, workers=2, batch_size=8).resources.micro_batch_size == 2
    with pytest.raises(SpecInvalid, match="into which the 4 images of a worker do not split evenly; choose 4"):
        spec(8, workers=2)


def mixing(network: nn.Module) -> nn.Module:
    network.register_forward_hook(lambda _, inputs, output: output + inputs[0].mean())
    return network


@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_of_networks_of_others_it_is_found_out(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: Any) -> tuple[nn.Module, nn.Module]:
        networks = dict(zip(("generator", "discriminator"), build_networks(*arguments), strict=True))
        mixing(networks[role])
        return networks["generator"], networks["discriminator"]

    monkeypatch.setattr("workers.gan.networks.examination.is_ours", lambda _: False)
    examine_networks(recipe(), 0, CPU, micro_batch_size=2)
    monkeypatch.setattr("workers.gan.networks.examination.build_networks", build)
    examine_networks(recipe(), 0, CPU)
    with pytest.raises(NetworkInvalid, match=f"^{role}: mixes the pictures of a batch.*resources.micro_batch_size"):
        examine_networks(recipe(), 0, CPU, micro_batch_size=2)
