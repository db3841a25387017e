"""Optimisers, their learning rates over time, and the average of G's weights."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganservice.model import Images, Model, NumberFromZero, SeenImages, Share


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


class _Ramp(Model):
    """The way a number takes from one value to another over the images seen."""

    from_images: SeenImages = Field(default=0, description="Where the change begins, in images seen.")
    until_images: Images = Field(description="Where it ends, in images seen.")
    shape: Literal["cosine", "linear"] = Field(
        default="cosine", description="Half a wave of a cosine, or a straight line, from one value to the other."
    )
    start: float
    end: float

    def at(self, images: int) -> float:
        """The number after `images` images."""
        done = min(1.0, max(0.0, (images - self.from_images) / (self.until_images - self.from_images)))
        share = done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2
        return self.start + share * (self.end - self.start)

    @model_validator(mode="after")
    def _change_has_a_span(self) -> Self:
        if self.until_images <= self.from_images:
            raise ValueError(
                f"until_images: found {self.until_images}, expected more than from_images = {self.from_images}"
            )
        return self


class Ramp(_Ramp):
    """A number that changes over the images seen."""

    start: NumberFromZero = Field(description="The number up to `from_images`.")
    end: NumberFromZero = Field(description="The number from `until_images` on.")


class ShareRamp(_Ramp):
    """A share that changes over the images seen."""

    start: Share = Field(description="The share up to `from_images`.")
    end: Share = Field(description="The share from `until_images` on.")


def at(value: float | Ramp | ShareRamp, images: int) -> float:
    """A number that may change, after `images` images."""
    return value if isinstance(value, int | float) else value.at(images)


class Adam(Model):
    """Adam (Kingma & Ba 2015)."""

    lr: Annotated[float, Field(gt=0, le=1e30)] = Field(default=2e-4, description="The learning rate.")
    betas: tuple[Share, Share | ShareRamp] = Field(
        default=(0.5, 0.999), description="Decay of the running means of the gradient and of its square, per step."
    )
    eps: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1e-8, description="What is added to the denominator, for numerical stability."
    )
    schedule: Schedule = Field(default=Schedule(), description="The learning rate over the images seen.")


class Ema(Model):
    """The copy of G that draws all samples and is published: an average of G's weights over the images seen."""

    half_life_images: Images | Ramp = Field(
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
        half_life = max(1.0, at(self.half_life_images, images))
        return half_life if self.warm_up_share is None else min(half_life, max(1.0, self.warm_up_share * images))
