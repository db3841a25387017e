"""Which layers of a discriminator there are, from the picture on, and which of them learn."""

from typing import Any

import pytest
from torch import nn

from ganservice.errors import NetworkInvalid
from ganservice.recipe import Recipe
from workers.gan.networks import build_discriminator
from workers.gan.networks.layers import freeze, layers, without_gradients

DCGAN = {"kind": "dcgan", "widths": (4, 4, 6)}
BUILT_IN = {"conditioning": {"kind": "built_in", "classes": 3}}


def discriminator(network: dict[str, Any], **changes: Any) -> nn.Module:
    if "conditioning" in changes and network["kind"] in ("resnet", "r3gan", "stylegan2"):
        changes["generator"] = {"kind": network["kind"], "width": 8}
    keys = {"data": {"dataset": "digits", "image_size": 32, "channels": 3}, "generator": {"kind": "mlp"}}
    return build_discriminator(Recipe.model_validate(keys | {"discriminator": network} | changes))


@pytest.mark.parametrize(
    ("network", "changes", "firsts"),
    [
        (DCGAN, {}, ["0.", "2.", "4.", "6."]),
        (DCGAN | {"batch_norm": True}, {}, ["0.", "2. 3.", "5. 6.", "8."]),
        (DCGAN | {"spectral_norm": True}, {}, ["0.", "2.", "4.", "6."]),
        (DCGAN, {"pack": 2, "conditioning": {"kind": "label_plane", "classes": 3}},
         ["body.body.0.", "body.body.2.", "body.body.4.", "body.body.6."]),
        ({"kind": "dense_dcgan", "widths": (4, 6)}, {}, ["0.", "3.", "7."]),
        ({"kind": "avgpool"}, {}, ["0. 1.", "4. 5.", "8. 9.", "12. 13.", "17.", "19.", "21.", "23."]),
        ({"kind": "mlp", "widths": (8, 8)}, {}, ["1.", "4.", "7."]),
        ({"kind": "resnet", "width": 8, "attention": 16}, BUILT_IN,
         ["blocks.0.", "blocks.1.", "blocks.2.", "blocks.3.", "blocks.4.", "logit."]),
        ({"kind": "r3gan", "width": 16, "max_width": 32}, BUILT_IN,
         ["from_picture.", *(f"body.{place}." for place in (0, 1, 3, 4, 5, 7, 8, 10, 11)), "basis.", "weigh."]),
        ({"kind": "stylegan2", "width": 8, "max_width": 16}, BUILT_IN,
         ["from_picture.", "blocks.0.", "blocks.1.", "blocks.2.", "mix.", "dense.", "out."]),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else "",
)  # fmt: skip
def test_layers_are_counted_from_the_picture_on(
    network: dict[str, Any], changes: dict[str, Any], firsts: list[str]
) -> None:
    built = discriminator(network, **changes)
    names = {id(weight): name for name, weight in built.named_parameters()}
    found = [[names[id(weight)] for weight in layer] for layer in layers(built)]
    assert len(found) == len(firsts)
    for layer, modules in zip(found, firsts, strict=True):
        assert all(name.startswith(tuple(modules.split())) for name in layer)
        assert all(any(name.startswith(module) for name in layer) for module in modules.split())


def test_only_the_first_layers_are_frozen() -> None:
    built = discriminator(DCGAN | {"batch_norm": True})
    freeze(built, 2)
    assert [name for name, weight in built.named_parameters() if not weight.requires_grad] == [
        "0.weight", "2.weight", "3.weight", "3.bias",
    ]  # fmt: skip
    with without_gradients(built):
        assert not any(weight.requires_grad for weight in built.parameters())
    assert sum(not weight.requires_grad for weight in built.parameters()) == 4
    freeze(discriminator(DCGAN), 0)


@pytest.mark.parametrize("count", [4, 1_000])
def test_a_d_of_which_nothing_would_learn_is_refused(count: int) -> None:
    with pytest.raises(NetworkInvalid, match=f"^recipe.freeze_d: found {count}, but D has 4 layers.*at most 3$"):
        freeze(discriminator(DCGAN), count)


def test_of_what_holds_no_layers_none_is_frozen() -> None:
    with pytest.raises(NetworkInvalid, match="choose at most 0"):
        freeze(nn.Identity(), 1)
