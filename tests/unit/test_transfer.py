"""What one network takes of another's weights, and what is said of the rest."""

from typing import Any

import pytest
import torch
from torch import Size, nn

from ganservice.errors import DataInvalid
from ganservice.recipe import ROLES, Network, Recipe
from ganservice.recipe.networks import KINDS as NETWORK_KINDS
from ganservice.recipe.networks import OWN, Role
from ganservice.spec_file import parse_spec
from workers.gan.checkpoint import encode_checkpoint
from workers.gan.data.examples import Examples
from workers.gan.networks import build_discriminator, build_generator
from workers.gan.sizes import foretell_transfer
from workers.gan.trainer import Trainer
from workers.gan.transfer import MOST_LINES, compare, fitting

Keys = dict[str, Any]

R3GAN: Keys = {
    "data": {"dataset": "digits", "image_size": 32, "channels": 1},
    "generator": {"kind": "r3gan", "width": 16, "max_width": 16, "blocks": 1},
    "discriminator": {"kind": "r3gan", "width": 16, "max_width": 16, "blocks": 1},
    "loss": {"kind": "relativistic"},
    "latent_size": 5,
}


def state(**changes: Any) -> dict[str, Any]:
    recipe = Recipe.model_validate(R3GAN | changes)
    return {"g": build_generator(recipe).state_dict(), "d": build_discriminator(recipe).state_dict()}


def networks(**changes: Any) -> tuple[nn.Module, nn.Module]:
    recipe = Recipe.model_validate(R3GAN | changes)
    return build_generator(recipe), build_discriminator(recipe)


def test_the_same_networks_fit_wholly() -> None:
    transfer = compare(*networks(), state())
    assert transfer.shares == (1.0, 1.0)
    assert [line.partition(":")[0] for line in transfer.lines] == ["generator", "discriminator"]
    assert all(line.endswith("100.0% of its numbers") for line in transfer.lines)


def test_larger_pictures_take_all_but_the_new_levels() -> None:
    larger = R3GAN["data"] | {"image_size": 64}
    transfer = compare(*networks(data=larger), state())
    assert all(0.6 < share < 1 for share in transfer.shares)
    assert "generator.body.8.narrow.weight: [16, 32, 1, 1] here, none there; begins anew" in transfer.lines


def test_classes_that_are_new_begin_at_random() -> None:
    labels = {"kind": "built_in", "classes": 3}
    transfer = compare(*networks(conditioning=labels), state(conditioning=labels | {"classes": 4}))
    assert [line for line in transfer.lines if "anew" in line] == [
        "generator.labels.weight: [3, 5] here, [4, 5] there; begins anew",
        "discriminator.labels.weight: [3, 16] here, [4, 16] there; begins anew",
    ]


@pytest.mark.parametrize("of", ["dcgan", "r3gan"])
def test_a_label_plane_may_come_and_go(of: str) -> None:
    """With and without it all names differed, and nothing was taken."""
    dcgan = {
        "data": {"dataset": "digits", "image_size": 28, "channels": 1},
        "generator": {"kind": "dcgan", "widths": [8, 4, 4]},
        "discriminator": {"kind": "dcgan", "widths": [4, 4, 8]},
    }
    keys = dcgan if of == "dcgan" else {}
    plane = keys | {"conditioning": {"kind": "label_plane", "classes": 3}}
    for here, there in ((keys, plane), (plane, keys)):
        transfer = compare(*networks(**here), state(**there))
        assert all(transfer.shares)
        assert any(line.endswith("; begins anew") for line in transfer.lines)
    whole = state(**plane)
    taken = fitting(state(**keys)["d"], whole["d"])
    assert all(torch.equal(tensor, whole["d"][f"body.{name}"]) for name, tensor in taken.items())


def test_lines_are_bounded() -> None:
    many = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(MOST_LINES + 7)))
    few = {"0.weight": torch.zeros(2, 2)}
    lines = compare(many, many, {"g": few, "d": few}).lines
    assert len(lines) == 2 * (MOST_LINES + 2)
    assert "generator: 6 more begin anew" in lines


def test_what_is_no_tensor_fits_nothing() -> None:
    assert fitting({"a": torch.zeros(2)}, {"a": "x"}) == {}
    assert fitting({"a": torch.zeros(2)}, {"a": [0.0, 0.0]}) == {}
    with pytest.raises(DataInvalid, match="nothing of the job gone on from fits"):
        compare(*networks(), {"g": {}, "d": {}})


def test_what_is_foretold_of_a_checkpoint_is_what_a_trainer_takes() -> None:
    images = torch.zeros(16, 1, 32, 32, dtype=torch.uint8)
    trained = Trainer(Recipe.model_validate(R3GAN | {"batch_size": 8}), Examples(images), 0, torch.device("cpu"))
    list(trained.train(8, 8))
    checkpoint = encode_checkpoint(trained.state_dict(), [])
    wider = R3GAN | {"latent_size": 7, "batch_size": 8}
    spec = parse_spec({"name": "wider", "images": 64, "recipe": wider}, "spec")
    taker = Trainer(spec.recipe, Examples(images), 0, torch.device("cpu"))
    assert foretell_transfer(spec, checkpoint) == taker.take_fitting_weights(trained.state_dict()).lines


# What each kind is tried with, and of each key another value: by it the weights are others, unless it is free.
KINDS: dict[str, tuple[Keys, Keys]] = {
    "dcgan generator": ({"widths": [8, 6, 4]}, {"widths": [8, 6, 2], "slope": 0.1, "overlap": True}),
    "dcgan discriminator": (
        {"widths": [4, 6, 8], "batch_norm": True},
        {"widths": [4, 6, 2], "batch_norm": False, "spectral_norm": True, "bias": True},
    ),
    "avgpool generator": (
        {"widths": [8], "dense": [4], "seed_channels": 2},
        {"widths": [6], "dense": [6], "seed_channels": 4},
    ),
    "avgpool discriminator": ({"widths": [8], "dense": [4]}, {"widths": [6], "dense": [6]}),
    "dense_dcgan generator": ({"widths": [8, 6, 4]}, {"widths": [8, 6, 2]}),
    "dense_dcgan discriminator": ({"widths": [8, 6]}, {"widths": [8, 4], "dropout": 0.1}),
    "mlp generator": ({"widths": [8]}, {"widths": [6]}),
    "mlp discriminator": ({"widths": [8]}, {"widths": [6], "dropout": 0.1}),
    "resnet generator": (
        {"width": 4, "max_width": 8},
        {"width": 2, "max_width": 4, "attention": 14, "spectral_norm": True},
    ),
    "resnet discriminator": (
        {"width": 4, "max_width": 8},
        {"width": 2, "max_width": 4, "attention": 14, "spectral_norm": False},
    ),
    "r3gan generator": (
        {"width": 16, "max_width": 16},
        {"width": 8, "max_width": 32, "blocks": 1, "expansion": 1, "group_width": 8},
    ),
    "r3gan discriminator": (
        {"width": 16, "max_width": 16},
        {"width": 8, "max_width": 32, "blocks": 1, "expansion": 1, "group_width": 8},
    ),
    "stylegan2 generator": (
        {"width": 4, "max_width": 8, "w_size": 6, "mapping_layers": 2},
        {
            "width": 2,
            "max_width": 4,
            "w_size": 8,
            "mapping_layers": 3,
            "mapping_lr_share": 0.1,
            "noise": False,
            "mixing": 0.0,
            "path_length": 0.0,
            "path_length_every_steps": 8,
        },
    ),
    "stylegan2 discriminator": ({"width": 4, "max_width": 8, "group": 4}, {"width": 2, "max_width": 4, "group": 2}),
    "edsr generator": ({"width": 4, "blocks": 1}, {"width": 2, "blocks": 2}),
    "affine generator": ({}, {}),
}


def weights(role: Role, keys: Keys) -> tuple[Network, dict[str, Size]]:
    data: Keys = {"dataset": "digits", "image_size": 28, "channels": 1}
    if keys["kind"] == "affine":
        data = {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.1}
    task = {"super_resolution": {"factor": 2}, "latent_size": 0} if keys["kind"] == "edsr" else {}
    others = {each: {"kind": "mlp"} for each in ROLES}
    recipe = Recipe.model_validate({"data": data, "latent_size": 5} | task | others | {role: keys})
    with torch.device("meta"):
        built = {"generator": build_generator, "discriminator": build_discriminator}[role](recipe)
    return recipe.network(role), {name: tensor.shape for name, tensor in built.state_dict().items()}


@pytest.mark.parametrize("of", KINDS)
def test_the_keys_that_leave_weights_as_they_are_are_those_by_which_no_name_or_shape_changes(of: str) -> None:
    kind, role = of.split()
    keys, others = {"kind": kind} | KINDS[of][0], KINDS[of][1]
    before, shapes = weights(role, keys)  # type: ignore[arg-type] # one of both
    initial = {"initial_weights": "he"} if "initial_weights" in type(before).model_fields else {}
    assert {"kind", *others, *initial} == type(before).model_fields.keys()
    for key, value in (others | initial).items():
        after, other = weights(role, keys | {key: value})  # type: ignore[arg-type] # one of both
        assert after.keeps_weights(key, before) == (other == shapes and key not in after.scale_keys), key


def test_every_kind_of_network_here_is_among_them() -> None:
    ours = {name: kind for name, kind in NETWORK_KINDS.items() if name != OWN and kind.builder.startswith("workers.")}
    assert {f"{name} {role}" for name, kind in ours.items() for role in ROLES if getattr(kind, role)} == set(KINDS)


def test_a_group_of_one_has_other_layers() -> None:
    keys = {"kind": "stylegan2", "width": 4, "max_width": 8}
    alone, shapes = weights("discriminator", keys | {"group": 1})
    before, others = weights("discriminator", keys | {"group": 2})
    assert shapes != others
    assert not alone.keeps_weights("group", before)
