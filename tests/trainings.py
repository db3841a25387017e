"""Trainings of a few images, of every kind: recipes, reports and what two of them differ in."""

from typing import Any

import torch
from torch import Tensor

from ganservice.job import Progress
from ganservice.recipe import Recipe
from workers.gan.trainer import Trainer

BATCH, TOTAL, REPORT = 8, 64, 16
IMAGES = torch.randint(0, 256, (44, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS_OF_IMAGES = torch.arange(len(IMAGES)) % 3

BASE: dict[str, Any] = {
    "data": {"dataset": "digits", "image_size": 28, "channels": 1},
    "generator": {"kind": "dcgan", "widths": (6, 4, 4)},
    "discriminator": {"kind": "dcgan", "widths": (4, 4, 6), "batch_norm": True},
    "latent_size": 5,
    "batch_size": BATCH,
    "ema": {"half_life_images": 40},
    "precision": "fp32",
}
MLP = {"generator": {"kind": "mlp", "widths": (16,)}, "discriminator": {"kind": "mlp", "widths": (16, 8)}}
LABELS = {"loss": {"real_label": (0.7, 1.2), "fake_label": (0.0, 0.3)}}
NO_NORM = {"discriminator": {"kind": "dcgan", "widths": (4, 4, 6)}}
SPECTRAL = {"discriminator": {"kind": "dcgan", "widths": (4, 4, 6), "spectral_norm": True}}
DENSE = {
    "generator": {"kind": "dense_dcgan", "widths": (6, 4, 4)},
    "discriminator": {"kind": "dense_dcgan", "widths": (4, 6)},
}
AUGMENT = {"augment": ("colour", "translation", "cutout")}
RAMP = {"start": 2.0, "end": 0.5, "until_images": 40}
GEOMETRY = ("flip", "quarter_turn", "scale", "rotation", "stretch", "fractional_translation")
ADAPTIVE = {
    "augment": {
        "changes": (*GEOMETRY, "brightness", "contrast", "luma_flip"),
        "probability": {"kind": "adaptive", "target": 0.0, "speed_images": 50},
    }
}
KINDS: dict[str, dict[str, Any]] = {
    "frozen": {"loss": {"kind": "relativistic"}, "freeze_d": 2} | NO_NORM,
    "adaptive": ADAPTIVE | {"loss": {"kind": "hinge"}, "d_steps": 2} | SPECTRAL,
    "minimax": {"loss": {"kind": "minimax"}, "d_steps": 2},
    "lsgan": {"loss": {"kind": "lsgan"}} | DENSE,
    "hinge": {"loss": {"kind": "hinge"}} | SPECTRAL,
    "wgan_gp": {"loss": {"kind": "wgan_gp"}, "d_steps": 2} | NO_NORM,
    "relativistic": {"loss": {"kind": "relativistic", "penalty_every_steps": 2}, "pack": 2} | AUGMENT | NO_NORM,
    "conditional": {"conditioning": {"classes": 3}, "loss": {"kind": "relativistic"}} | NO_NORM,
    "resnet": {
        "generator": {"kind": "resnet", "width": 4, "attention": 14, "spectral_norm": True},
        "discriminator": {"kind": "resnet", "width": 4, "attention": 14},
        "conditioning": {"classes": 3},
        "loss": {"kind": "hinge"},
        "d_steps": 2,
    },
    "r3gan": {
        "generator": {"kind": "r3gan", "width": 8, "blocks": 1},
        "discriminator": {"kind": "r3gan", "width": 8, "blocks": 1},
        "conditioning": {"classes": 3},
        "loss": {"kind": "relativistic", "r1": RAMP, "r2": RAMP},
        "optimiser_d": {"betas": (0.0, {"start": 0.9, "end": 0.99, "until_images": 40})},
    },
    "stylegan2": {
        "generator": {"kind": "stylegan2", "width": 4, "w_size": 8, "path_length_every_steps": 3},
        "discriminator": {"kind": "stylegan2", "width": 4},
        "conditioning": {"classes": 3},
        "loss": {"kind": "non_saturating", "r1": 0.1, "penalty_every_steps": 3},
    },
}
FLIP = {"data": BASE["data"] | {"flip": True}, "ema": {"half_life_images": 40, "warm_up_share": 0.1}}
CHANGES: dict[str, dict[str, Any]] = {
    "fp32": {}, "bf16": {"precision": "bf16"}, "auto": {"precision": "auto"},
    "mlp": MLP, "labels": LABELS, "all": MLP | LABELS, "flip": FLIP, **KINDS,
}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(BASE | changes)


def run(trainer: Trainer, total: int = TOTAL, report: int = REPORT) -> list[Progress]:
    return list(trainer.train(total, report))


def leaves(state: Any, path: str = "") -> dict[str, Any]:
    """All tensors and plain values of a tree, by path."""
    if not isinstance(state, dict | list | tuple):
        return {path: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {name: leaf for key, value in items for name, leaf in leaves(value, f"{path}/{key}").items()}


def different(one: Any, other: Any) -> list[str]:
    """The paths at which two states are not bit for bit the same."""
    mine, theirs = leaves(one), leaves(other)
    assert mine.keys() == theirs.keys()

    def same(a: Any, b: Any) -> bool:
        return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else bool(a == b)

    return [path for path in mine if not same(mine[path], theirs[path])]
