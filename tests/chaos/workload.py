"""Workload: the jobs that users of a chaos run ask for, and what they do with them. Drawn from a seed, and pure."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ganservice.spec import TrainSpec
from ganservice.spec_file import parse_spec

DATA_SET = "chaos-shapes"
# All that one trains is seen by the checkpoints, so that a fault at any moment finds something to go back to.
_RING: dict[str, Any] = {
    "images": 6_400,
    "report_every_images": 640,
    "checkpoints": {"every_images": 640},
    "samples": {"every_images": 3_200, "rows": 2, "columns": 2},
    "recipe": {
        "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.05, "points": 2_000},
        "latent_size": 2,
        "generator": {"kind": "mlp", "widths": [32]},
        "discriminator": {"kind": "mlp", "widths": [32]},
        "batch_size": 32,
        "precision": "fp32",
    },
}
_SHAPES: dict[str, Any] = _RING | {
    "images": 3_840,
    "recipe": {
        "data": {"dataset": DATA_SET, "image_size": 16, "channels": 1},
        "latent_size": 8,
        "generator": {"kind": "mlp", "widths": [64]},
        "discriminator": {"kind": "mlp", "widths": [64], "dropout": 0.1},
        "conditioning": {"classes": 2},
        "batch_size": 32,
        "precision": "fp32",
    },
}
_ENLARGED: dict[str, Any] = _SHAPES | {
    "samples": {"every_images": 3_200, "rows": 2, "columns": 4},
    "recipe": {
        "data": _SHAPES["recipe"]["data"],
        "super_resolution": {"factor": 2},
        "generator": {"kind": "edsr", "width": 4, "blocks": 1},
        "discriminator": {"kind": "mlp", "widths": [64]},
        "batch_size": 32,
        "precision": "fp32",
    },
}
JUDGING = {"samples": 200, "measures": ["frechet", "classes"]}
RECIPES: dict[str, dict[str, Any]] = {
    "ring": _RING,
    "pair": _RING | {"resources": {"workers": 2}},
    "shapes": _SHAPES,
    "enlarged": _ENLARGED,
    "judged": _SHAPES | {"evaluate": {"every_images": 1_920, "judging": JUDGING}},
    # As large as it is asked for by people: a minute of a core.
    "real": _RING
    | {
        "images": 512_000,
        "report_every_images": 12_800,
        "checkpoints": {"every_images": 25_600},
        "samples": {"every_images": 128_000, "rows": 2, "columns": 2},
        "recipe": _RING["recipe"]
        | {
            "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.02},
            "generator": {"kind": "mlp", "widths": [128, 128]},
            "discriminator": {"kind": "mlp", "widths": [128, 128]},
            "batch_size": 256,
        },
    },
}
EVALUATION = "evaluation"
# How often each is asked for beside the others.
SHARES = {"ring": 8, "pair": 3, "shapes": 4, "enlarged": 1, "judged": 1, EVALUATION: 3}
# Which training an evaluation is about: the undisturbed one of this recipe.
EVALUATED = "judged"


class Twist(StrEnum):
    """What the user of a job does with it once it is there."""

    NOTHING = "nothing"
    CANCEL = "cancel"  # after a checkpoint
    CANCEL_NOW = "cancel now"
    CANCEL_AND_RETRY = "cancel and retry"


@dataclass(frozen=True)
class Wish:
    """A job that a user wants."""

    number: int
    recipe: str
    priority: str
    twist: Twist
    waits_until_running: bool  # the twist does

    @property
    def idempotency_key(self) -> str:
        """By which a submission whose answer was lost is made again."""
        return f"chaos-{self.number}"


def draw_wishes(seed: int, recipes: Sequence[str], real: int) -> Iterator[Wish]:
    """Wishes of these recipes without end, before them `real` ones for large trainings with nothing done to them."""
    draws = random.Random(f"wishes {seed}")
    shares = [SHARES[recipe] for recipe in recipes]
    for number in range(real):
        yield Wish(number, "real", "high", Twist.NOTHING, waits_until_running=False)
    for number in itertools.count(real):
        yield Wish(
            number,
            draws.choices(recipes, shares)[0],
            draws.choice(["low", "normal", "normal", "high"]),
            draws.choices(list(Twist), [12, 1, 1, 2])[0],
            draws.random() < 0.7,
        )


def spec_of(recipe: str, name: str, priority: str = "normal") -> TrainSpec:
    """The spec of a training by a recipe; its seed is always the same, and so are the bits that come of it."""
    return parse_spec({"name": name, "priority": priority, **RECIPES[recipe]}, source=f"tests/chaos recipe {recipe}")
