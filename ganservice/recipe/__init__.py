"""Recipe: the science of a training job, as data. Networks, loss, data, optimisers.

The classes here say what can be asked; `workers.gan` builds it. Sizes are in pixels, lengths in images.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ganservice.model import Model
from ganservice.recipe.data import Channels, Data, DataSetName, Mixture, Pictures
from ganservice.recipe.extent import MAX_BATCH_NUMBERS, MAX_WEIGHTS, Extent, extent_of
from ganservice.recipe.image_size import ImageSize, Sides, image_size_of, sides_of
from ganservice.recipe.losses import (
    Hinge,
    Label,
    LeastSquares,
    Loss,
    Minimax,
    NonSaturating,
    Relativistic,
    WassersteinGp,
)
from ganservice.recipe.networks import (
    AffineGenerator,
    AvgPoolDiscriminator,
    AvgPoolGenerator,
    Conditioning,
    DcganDiscriminator,
    DcganGenerator,
    DenseDcganDiscriminator,
    DenseDcganGenerator,
    Discriminating,
    Generator,
    InitialWeights,
    MlpDiscriminator,
    MlpGenerator,
    Size,
)
from ganservice.recipe.optimisers import Adam, Ema, Schedule

__all__ = [
    "Adam",
    "AffineGenerator",
    "AvgPoolDiscriminator",
    "AvgPoolGenerator",
    "Channels",
    "Conditioning",
    "DataSetName",
    "DcganDiscriminator",
    "DcganGenerator",
    "DenseDcganDiscriminator",
    "DenseDcganGenerator",
    "Discriminating",
    "Ema",
    "Generator",
    "Hinge",
    "ImageSize",
    "InitialWeights",
    "Label",
    "LeastSquares",
    "Loss",
    "Minimax",
    "Mixture",
    "MlpDiscriminator",
    "MlpGenerator",
    "NonSaturating",
    "Pictures",
    "Precision",
    "PrecisionOption",
    "Recipe",
    "Relativistic",
    "Schedule",
    "Sides",
    "WassersteinGp",
    "image_size_of",
    "sides_of",
]

# What networks compute in: weights, losses and optimisers are fp32 in either.
Precision = Literal["fp32", "bf16"]
PrecisionOption = Literal["auto", Precision]

# The keys of a recipe when D could have no biases. Specs are stored with every key; nobody writes all of these by hand.
KEYS_BEFORE_BIASES = {
    "data", "generator", "discriminator", "latent_size", "conditioning", "loss", "d_steps", "pack", "augment",
    "optimiser_g", "optimiser_d", "batch_size", "ema", "precision", "batch_norm",
}  # fmt: skip


class Recipe(Model):
    """Everything that decides what the generator becomes, given a seed and a length."""

    data: Data = Field(description="What is learned.")
    generator: Generator = Field(description="The network G, which makes pictures of latents.")
    discriminator: Annotated[Discriminating, Field(discriminator="kind")] = Field(
        description="The network D, which tells real pictures from generated ones."
    )
    latent_size: Size = Field(default=100, description="Length of a latent, the random vector that G begins with.")
    conditioning: Conditioning | None = Field(
        default=None, description="Labels for G and D, so that a class can be asked for; without it there are none."
    )
    loss: Loss = Field(default=NonSaturating(), description="What G and D minimise.")
    d_steps: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="Steps of D for each step of G, each on images of its own (Goodfellow et al. 2014, algorithm 1).",
    )
    pack: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description='Number of images that D looks at together (Lin et al. 2018, "PacGAN").'
    )
    augment: Annotated[tuple[Literal["translation", "cutout", "colour"], ...], Field(max_length=16)] = Field(
        default=(),
        description='Differentiable augmentations of all that D looks at (Zhao et al. 2020, "DiffAugment").',
    )
    optimiser_g: Adam = Field(default=Adam(), description="The optimiser of G.")
    optimiser_d: Adam = Field(default=Adam(), description="The optimiser of D.")
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        default=64, description="Images of a step of D, split evenly over the workers of the gang."
    )
    ema: Ema = Field(default=Ema(), description="The average of G's weights, which draws all samples and is published.")
    precision: PrecisionOption = Field(
        default="auto",
        description=(
            "Number format of forward and backward passes. `auto` is `bf16` where every worker's CPU (AVX512-BF16, "
            "AMX) or GPU (Ampere and later) computes it, else `fp32`, which is TF32 on GPUs that have it; for points "
            "in the plane it is always `fp32`. `fp32` and `bf16` are orders: `bf16` that must be emulated is slow, "
            "and the job's log says how slow."
        ),
    )
    batch_norm: Literal["synchronised", "local"] = Field(
        default="synchronised",
        description="Whether BatchNorm takes its statistics over the whole batch, or over each worker's part of it.",
    )

    def slowed(self, share: float) -> "Recipe":
        """The same with both learning rates times `share`."""
        slower = {
            name: adam.model_copy(update={"lr": adam.lr * share})
            for name, adam in (("optimiser_g", self.optimiser_g), ("optimiser_d", self.optimiser_d))
        }
        return self.model_copy(update=slower)

    @property
    def pictures(self) -> Pictures | None:
        """The pictures to learn; None of a mixture."""
        return self.data if isinstance(self.data, Pictures) else None

    @property
    def precision_option(self) -> PrecisionOption:
        """`precision`; of points in the plane, whose coordinates have more digits than bf16, fp32 unless ordered."""
        return "fp32" if self.precision == "auto" and self.pictures is None else self.precision

    def extent_of(self, name: Literal["generator", "discriminator"]) -> Extent:
        """About how large one of the networks is."""
        classes, shape = self.conditioning, self.data.shape
        if name == "generator":
            inputs = classes.label_features + classes.latent_features if classes else self.latent_size
            extent = extent_of(self.generator, shape, inputs)
        else:
            channels = shape[0] * self.pack + (1 if classes else 0)
            extent = extent_of(self.discriminator, (channels, *shape[1:]), 1)
        if classes is None:
            return extent
        features = self.latent_size * classes.latent_features if name == "generator" else math.prod(shape[1:])
        embedding = classes.embedding_size * (classes.classes + classes.label_features)
        return Extent(extent.weights + embedding + features, extent.features)

    @property
    def images_per_step(self) -> int:
        """Real images that one step of G and its steps of D look at."""
        return self.batch_size * self.d_steps

    @model_validator(mode="before")
    @classmethod
    def _older_recipes_keep_their_meaning(cls, keys: Any) -> Any:
        """What was stored without `bias` has none, whatever is now meant where the key is left out."""
        if not isinstance(keys, dict) or not keys.keys() >= KEYS_BEFORE_BIASES:
            return keys
        network = keys["discriminator"]
        if not isinstance(network, dict) or network.get("kind") != "dcgan" or "bias" in network:
            return keys
        return keys | {"discriminator": network | {"bias": False}}

    @model_validator(mode="after")
    def _networks_fit_the_data(self) -> Self:
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            if misfit := network.misfit(self.data):
                raise ValueError(f"{name}.{misfit}")
        for key, part in (("conditioning", self.conditioning), ("augment", self.augment)):
            if part and self.pictures is None:
                raise ValueError(f"{key}: is for pictures; found data.kind: mixture")
        if isinstance(self.data, Mixture) and self.batch_size > self.data.points:
            raise ValueError(f"batch_size: found {self.batch_size}, but data.points is {self.data.points}")
        return self

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        for name in ("generator", "discriminator"):
            weights = self.extent_of(name).weights
            if weights > MAX_WEIGHTS:
                raise ValueError(f"{name}: would have {weights:,} weights, expected at most {MAX_WEIGHTS:,}")
        numbers = self.batch_size * max(self.latent_size, math.prod(self.data.shape))
        if numbers > MAX_BATCH_NUMBERS:
            raise ValueError(
                f"batch_size: found {self.batch_size}, whose images or latents are {numbers:,} numbers; "
                f"expected at most {MAX_BATCH_NUMBERS:,}"
            )
        return self

    @model_validator(mode="after")
    def _gradients_are_of_single_images(self) -> Self:
        if self.loss.penalises_gradients and self.discriminator.mixes_images:
            raise ValueError(
                f"loss.kind: {self.loss.kind} penalises the gradient at each image, but a discriminator with "
                "BatchNorm mixes images; choose one without"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_whole_packs(self) -> Self:
        if self.batch_size % self.pack:
            raise ValueError(f"batch_size: found {self.batch_size}, expected a multiple of pack = {self.pack}")
        return self
