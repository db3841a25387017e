"""Recipe: the science of a training job, as data. Networks, loss, data, optimisers.

The classes here say what can be asked; `workers.gan` builds it. Sizes are in pixels, lengths in images.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ganservice.model import Model
from ganservice.recipe.augment import AdaptiveProbability, AnyAugment, Augment, ProbabilityRamp
from ganservice.recipe.code import Code
from ganservice.recipe.conditioning import BuiltIn, Conditioning, LabelPlane
from ganservice.recipe.data import Channels, Data, DataSetName, Mixture, Pictures
from ganservice.recipe.extent import MAX_BATCH_NUMBERS, MAX_WEIGHTS, Extent
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
from ganservice.recipe.network import MAX_SIZE, EnlargingGenerator, InitialWeights, Network, NetworkKind
from ganservice.recipe.networks import (
    Discriminating,
    Generator,
    Role,
    UnknownNetwork,
    model_of,
)
from ganservice.recipe.networks.affine import AffineGenerator
from ganservice.recipe.networks.avgpool import AvgPoolDiscriminator, AvgPoolGenerator
from ganservice.recipe.networks.dcgan import DcganDiscriminator, DcganGenerator
from ganservice.recipe.networks.dense_dcgan import DenseDcganDiscriminator, DenseDcganGenerator
from ganservice.recipe.networks.edsr import EdsrGenerator
from ganservice.recipe.networks.mlp import MlpDiscriminator, MlpGenerator
from ganservice.recipe.networks.own import OwnNetwork
from ganservice.recipe.optimisers import Adam, Ema, Schedule
from ganservice.recipe.super_resolution import SuperResolution, misfit_of_task

__all__ = [
    "ROLES",
    "Adam",
    "AdaptiveProbability",
    "AffineGenerator",
    "Augment",
    "AvgPoolDiscriminator",
    "AvgPoolGenerator",
    "BuiltIn",
    "Channels",
    "Code",
    "Conditioning",
    "DataSetName",
    "DcganDiscriminator",
    "DcganGenerator",
    "DenseDcganDiscriminator",
    "DenseDcganGenerator",
    "Discriminating",
    "EdsrGenerator",
    "Ema",
    "Engine",
    "EngineOption",
    "EnlargingGenerator",
    "Generator",
    "Hinge",
    "ImageSize",
    "InitialWeights",
    "Label",
    "LabelPlane",
    "LeastSquares",
    "Loss",
    "Minimax",
    "Mixture",
    "MlpDiscriminator",
    "MlpGenerator",
    "Network",
    "NetworkKind",
    "NonSaturating",
    "OwnNetwork",
    "Pictures",
    "Precision",
    "PrecisionOption",
    "ProbabilityRamp",
    "Recipe",
    "Relativistic",
    "Schedule",
    "Sides",
    "SuperResolution",
    "UnknownNetwork",
    "WassersteinGp",
    "image_size_of",
    "sides_of",
]

ROLES: tuple[Role, Role] = ("generator", "discriminator")

# What networks compute in: weights, losses and optimisers are fp32 in either.
Precision = Literal["fp32", "bf16"]
PrecisionOption = Literal["auto", Precision]

# How the device is given a step: one operation after the other, or all that it has recorded at once.
Engine = Literal["eager", "graph"]
EngineOption = Literal["auto", Engine]

# The keys of a recipe when D could have no biases. Specs are stored with every key; nobody writes all of these by hand.
KEYS_BEFORE_BIASES = {
    "data", "generator", "discriminator", "latent_size", "conditioning", "loss", "d_steps", "pack", "augment",
    "optimiser_g", "optimiser_d", "batch_size", "ema", "precision", "batch_norm",
}  # fmt: skip


class Recipe(Model):
    """Everything that decides what the generator becomes, given a seed and a length."""

    data: Data = Field(description="What is learned.")
    generator: Generator = Field(description="The network G, which makes pictures of latents.")
    discriminator: Discriminating = Field(description="The network D, which tells real pictures from generated ones.")
    code: Code | None = Field(default=None, description="The folder in which networks of kind `own` are.")
    super_resolution: SuperResolution | None = Field(
        default=None, description="Has G enlarge pictures that were made small, instead of making them of latents."
    )
    latent_size: Annotated[int, Field(ge=0, le=MAX_SIZE)] = Field(
        default_factory=lambda keys: 0 if keys.get("super_resolution") else 100,
        description="Length of a latent, the random vector that G begins with; with `super_resolution` there is none.",
        json_schema_extra={"default": 100},
    )
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
    augment: AnyAugment = Field(
        default=Augment(),
        description=(
            "Augmentation of all that D looks at; a list of changes alone, such as `[translation, cutout]`, is of such "
            "that every picture undergoes."
        ),
    )
    freeze_d: Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=0,
        description=(
            "First layers of D, from the picture on, that learn nothing, where a training starts from another's "
            'weights (Mo et al. 2020, "Freeze the Discriminator"); a convolution, a dense layer or a block is one.'
        ),
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
            "Number format of forward and backward passes. `auto` is `bf16` where that is faster for every worker: on "
            "CPUs with AMX, on others with AVX512-BF16 that are not Intel's, and on GPUs from Ampere on; else `fp32`, "
            "which is TF32 on GPUs that have it. For points in the plane it is always `fp32`. `fp32` and `bf16` are "
            "orders: where `bf16` is slow, the job's log says how slow."
        ),
    )
    engine: EngineOption = Field(
        default="auto",
        description=(
            "How a device is given a step. `eager`: one operation after the other. `graph`: a GPU records each part of "
            "a step once and is then given all of it at once, as a CUDA graph, so that it does not wait for its host; "
            "each recording is compared with the step itself before it is trusted. `auto` is `graph` where that is "
            "possible: on a GPU, for a gang of one, without pieces of a batch and without own networks; else `eager`."
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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what G is given beside labels: [latent_size], or that of the small pictures, [C, h, w]."""
        task, pictures = self.super_resolution, self.pictures
        if task is None or pictures is None:
            return (self.latent_size,)
        small = task.small_sides(pictures.sides)
        return (pictures.channels, small.height, small.width)

    def network(self, role: Role) -> Network:
        """G or D."""
        return self.generator if role == "generator" else self.discriminator

    def extent_of(self, role: Role) -> Extent:
        """About how large one of the networks is."""
        labels, shape, network = self.conditioning, self.data.shape, self.network(role)
        packed = (shape[0] * self.pack, *shape[1:])
        if not isinstance(labels, LabelPlane):
            classes = labels.classes if labels else None
            return network.extent(*((shape, self.latent_size) if role == "generator" else (packed, 1)), classes)
        embedding = labels.embedding_size * labels.classes
        if role == "generator":
            extent = network.extent(shape, labels.label_features + labels.latent_features, None)
            around = labels.embedding_size * labels.label_features + self.latent_size * labels.latent_features
        else:
            extent = network.extent((packed[0] + self.pack, *shape[1:]), 1, None)
            around = labels.embedding_size * math.prod(shape[1:])
        return Extent(
            extent.weights + embedding + around + labels.label_features + math.prod(shape[1:]), extent.features
        )

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

    @model_validator(mode="before")
    @classmethod
    def _labels_go_where_networks_take_them(cls, keys: Any) -> Any:
        """Conditioning that leaves out its kind is built in wherever both networks take labels themselves."""
        labels = keys.get("conditioning") if isinstance(keys, dict) else None
        if not isinstance(labels, dict) or "kind" in labels:
            return keys
        kinds = {role: keys[role].get("kind") for role in ROLES if isinstance(keys.get(role), dict)}
        models = [isinstance(kind, str) and model_of(role, kind) for role, kind in kinds.items()]
        if len(models) == len(ROLES) and all(model and model.takes_labels for model in models):
            return keys | {"conditioning": {"kind": "built_in"} | labels}
        return keys

    @model_validator(mode="after")
    def _networks_take_labels(self) -> Self:
        labels = self.conditioning
        for role in ROLES if labels else ():
            network = self.network(role)
            takes = network.takes_labels if isinstance(labels, BuiltIn) else network.takes_label_plane
            if labels and not takes and not isinstance(network, UnknownNetwork):
                reason = (
                    "takes no labels itself; choose label_plane"
                    if isinstance(labels, BuiltIn)
                    else "takes labels itself, and only so; choose built_in"
                )
                raise ValueError(
                    f"conditioning.kind: found {labels.kind}, but a {role} of kind {network.kind} {reason}"
                )
        if isinstance(labels, BuiltIn) and self.pack > 1:
            raise ValueError(f"pack: found {self.pack}, but D takes labels of single pictures; choose 1 or label_plane")
        return self

    @model_validator(mode="after")
    def _own_networks_have_code(self) -> Self:
        own = [role for role in ROLES if isinstance(self.network(role), OwnNetwork)]
        if own and self.code is None:
            raise ValueError(f"code: is missing, the folder in which the {own[0]} is, such as code: ./my_networks")
        if self.code and not own and not any(isinstance(self.network(role), UnknownNetwork) for role in ROLES):
            raise ValueError("code: is of no use, for neither network is of kind own")
        return self

    @model_validator(mode="after")
    def _generator_is_for_the_task(self) -> Self:
        task = self.super_resolution
        if not isinstance(self.generator, UnknownNetwork) and (misfit := misfit_of_task(self.generator, task)):
            raise ValueError(misfit)
        if task and (misfit := task.misfit(self.data)):
            raise ValueError(misfit)
        if task and self.conditioning:
            raise ValueError("conditioning: is for generators that are asked for a class; super_resolution has none")
        if (self.latent_size == 0) != (task is not None):
            expected = "0, for with super_resolution there are no latents" if task else "1 or more"
            raise ValueError(f"latent_size: found {self.latent_size}, expected {expected}")
        return self

    @model_validator(mode="after")
    def _networks_fit_the_data(self) -> Self:
        for role in ROLES:
            if misfit := self.network(role).misfit(self.data):
                raise ValueError(f"{role}.{misfit}")
        if self.conditioning and self.pictures is None:
            raise ValueError("conditioning: is for pictures; found data.kind: mixture")
        if misfit := self.augment.misfit(self.data):
            raise ValueError(f"augment.{misfit}")
        if isinstance(self.data, Mixture) and self.batch_size > self.data.points:
            raise ValueError(f"batch_size: found {self.batch_size}, but data.points is {self.data.points}")
        return self

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Self:
        for role in ROLES:
            weights = self.extent_of(role).weights
            if weights > MAX_WEIGHTS:
                raise ValueError(f"{role}: would have {weights:,} weights, expected at most {MAX_WEIGHTS:,}")
        numbers = self.batch_size * max(self.latent_size, math.prod(self.data.shape))
        if numbers > MAX_BATCH_NUMBERS:
            raise ValueError(
                f"batch_size: found {self.batch_size}, whose images or latents are {numbers:,} numbers; "
                f"expected at most {MAX_BATCH_NUMBERS:,}"
            )
        return self

    @model_validator(mode="after")
    def _gradients_are_of_single_images(self) -> Self:
        if self.loss.penalises_gradients and not self.discriminator.bears_penalties:
            raise ValueError(
                f"loss.kind: {self.loss.kind} penalises the gradient at each image, but a discriminator with "
                "BatchNorm mixes images; choose one without"
            )
        return self

    @model_validator(mode="after")
    def _adaptation_has_a_middle(self) -> Self:
        if isinstance(self.augment.probability, AdaptiveProbability) and not self.loss.has_middle:
            raise ValueError(
                f"augment.probability.kind: adaptive asks of single pictures what D takes them for, but with loss.kind "
                f"{self.loss.kind} only differences of its logits count; choose a number or kind: ramp"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_whole_packs(self) -> Self:
        if self.batch_size % self.pack:
            raise ValueError(f"batch_size: found {self.batch_size}, expected a multiple of pack = {self.pack}")
        return self
