"""Optimisers, their learning rates over time, and the average of G's weights."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganservice.model import Images, Model, SeenImages, Share


class Schedule(Model):
    """The learning rate over the images seen: a linear rise from 0, then a fall to a share of itself."""

    warm_up_images: SeenImages = Field(default=0, description="The learning rate rises from 0 over so many images.")
    decay: Literal["none", "linear", "cosine"] = Field(default="none", description="How the learning rate falls.")
    decay_from_images: SeenImages = Field(default=0, description="Where the fall begins, in images seen.")
    decay_until_images: Images | None = Field(
        default=None, description="Where the fall ends, in images seen; required with `decay`."
    )
    final_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="Share of the learning rate that is left after the fall."
    )

    def share(self, images: int) -> float:
        """The part of the learning rate that counts after `images` images."""
        if images < self.warm_up_images:
            return (images + 1) / (self.warm_up_images + 1)
        if self.decay_until_images is None or images <= self.decay_from_images:
            return 1.0
        done = min(1.0, (images - self.decay_from_images) / (self.decay_until_images - self.decay_from_images))
        falling = 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.final_share + (1 - self.final_share) * falling

    @model_validator(mode="after")
    def _decay_has_a_span(self) -> Self:
        if (self.decay == "none") != (self.decay_until_images is None):
            raise ValueError("decay_until_images: expected together with decay: linear or cosine, and only then")
        if self.decay_until_images is not None and self.decay_until_images <= self.decay_from_images:
            raise ValueError(
                f"decay_until_images: found {self.decay_until_images}, expected more than "
                f"decay_from_images = {self.decay_from_images}"
            )
        return self


class Adam(Model):
    """Adam (Kingma & Ba 2015)."""

    lr: Annotated[float, Field(gt=0, le=1e30)] = Field(default=2e-4, description="The learning rate.")
    betas: tuple[Share, Share] = Field(
        default=(0.5, 0.999), description="Decay of the running means of the gradient and of its square, per step."
    )
    eps: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1e-8, description="What is added to the denominator, for numerical stability."
    )
    schedule: Schedule = Field(default=Schedule(), description="The learning rate over the images seen.")


class Ema(Model):
    """The copy of G that draws all samples and is published: an average of G's weights over the images seen."""

    half_life_images: Images = Field(
        default=10_000, description="Weights lose half their influence on the average after so many images."
    )
    warm_up_share: Annotated[float, Field(gt=0, le=1_000)] | None = Field(
        default=None,
        description=(
            "Early on the half-life is no more than this share of the images seen, so that the first weights are "
            'forgotten (Karras et al. 2020, "StyleGAN2-ADA"); without it the half-life is the same from the start.'
        ),
    )

    def half_life(self, images: int) -> float:
        """The half-life after `images` images."""
        if self.warm_up_share is None:
            return float(self.half_life_images)
        return min(float(self.half_life_images), max(1.0, self.warm_up_share * images))
