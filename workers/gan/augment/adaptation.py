"""Adaptation: the probability of each change of a picture, led by how sure D is of real pictures."""

from typing import Any

import torch
from torch import Tensor

from ganservice.recipe import AdaptiveProbability, Recipe
from workers.gan.worker_group import WorkerGroup

# Steps of D between two changes of the probability (Karras et al. 2020, "StyleGAN2-ADA", section 3.1).
EVERY_STEPS = 4


class Adaptation:
    """A probability that keeps r_t, the mean sign of D's logits of real pictures, near a target; it begins at 0.

    It lies on the device, so that no step waits for the host, and is the same on all workers after each step.
    """

    def __init__(self, options: AdaptiveProbability, device: torch.device, group: WorkerGroup) -> None:
        self.probability = torch.zeros((), dtype=torch.float64, device=device)
        self._options = options
        self._group = group
        # Since the probability last changed:
        self._signs = torch.zeros_like(self.probability)
        self._logits = self._images = self._steps = 0

    def observe(self, accuracy: Tensor, logits: int, images: int) -> None:
        """Take note of a step of D on `images` real pictures of all workers.

        `accuracy` is the share of this worker's `logits` of them about which D was right, a scalar. Every worker calls
        this.
        """
        # A whole number but for rounding, and so the same sum however many workers there are.
        signs = ((2 * accuracy.double() - 1) * logits).round()
        self._signs += self._group.gather(signs).sum()
        self._logits += logits * self._group.world_size
        self._images += images
        self._steps += 1
        if self._steps == EVERY_STEPS:
            excess = self._signs - self._options.target * self._logits
            self.probability.copy_(led(self.probability, excess, self._images / self._options.speed_images))
            self._signs.zero_()
            self._logits = self._images = self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume."""
        return {
            "probability": self.probability,
            "signs": self._signs,
            "logits": self._logits,
            "images": self._images,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`. Raises ValueError where it is none of an adaptation."""
        logits, images, steps = counts = [state[name] for name in ("logits", "images", "steps")]
        if not all(isinstance(count, int) and count >= 0 for count in counts) or steps >= EVERY_STEPS:
            raise ValueError(f"found {counts!r:.80} logits, images and steps, expected fewer than {EVERY_STEPS} steps")
        probability, signs = (float(state[name]) for name in ("probability", "signs"))
        if not (0 <= probability <= 1 and abs(signs) <= logits):
            raise ValueError(f"found a probability of {probability:g}, and signs of {signs:g} in {logits} logits")
        self.probability.fill_(probability)
        self._signs.fill_(signs)
        self._logits, self._images, self._steps = logits, images, steps


def led(probability: Tensor, excess: Tensor, step: float) -> Tensor:
    """The probability a step further up where r_t exceeds its target, and down where it falls short of it."""
    return (probability + step * excess.sign()).clamp(0, 1)


def build_adaptation(recipe: Recipe, device: torch.device, group: WorkerGroup) -> Adaptation | None:
    """The adaptation that a recipe asks for; None where it says the probability itself."""
    options = recipe.augment.probability
    return Adaptation(options, device, group) if isinstance(options, AdaptiveProbability) else None
