"""Judging: how generated pictures are judged, which a spec says of an evaluation and of a training's own ones."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ganservice.model import EachOnce, Model, Seed, Sha256
from ganservice.recipe import Recipe
from ganservice.recipe.networks.stylegan2 import Stylegan2Generator

# Of the numbers of all pictures that an evaluation looks at, 50 GB of bytes.
MAX_JUDGED_NUMBERS = 5 * 10**10

# How large the numbers of a latent may be.
Truncation = Annotated[float, Field(ge=0.01, le=100)]

Measure = Literal["frechet", "kernel", "classes", "manifolds", "copying", "birthdays", "gan_train", "reconstruction"]


class NetworkWeights(Model):
    """The file of a network that no package brings: Inception-v3 for FID, or one of ONNX."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] = Field(
        description=(
            "A key that `ganctl networks put` printed; or a path on the machine that evaluates or an http(s) URL, in a "
            "place that the operator lists in `GANSERVICE_WEIGHTS_FROM`."
        )
    )
    sha256: Sha256 = Field(description="SHA-256 of the file.")


# Pixels run from 0 to 1, so that what is beyond this is no scaling of theirs.
PixelMean = Annotated[float, Field(ge=-1_000, le=1_000)]
PixelStd = Annotated[float, Field(ge=1e-3, le=1_000)]


class Scaling(Model):
    """What a network of ONNX is given for a pixel from 0 to 1: less the mean, over std; ImageNet's without it."""

    mean: Annotated[tuple[PixelMean, ...], Field(min_length=1, max_length=3)] = Field(
        default=(0.485, 0.456, 0.406), description="One number, or one each of red, green and blue."
    )
    std: Annotated[tuple[PixelStd, ...], Field(min_length=1, max_length=3)] = Field(
        default=(0.229, 0.224, 0.225), description="The same."
    )

    @model_validator(mode="after")
    def _is_of_one_or_three(self) -> Self:
        for key, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) == 2:
                raise ValueError(f"{key}: found 2 numbers, expected 1 or 3")
        return self


NetworkName = Literal["classifier", "efficientnet_lite0", "inception_v3", "onnx", "pixels"]
# Whose weights lie in a file that the spec names.
FILED_NETWORKS: tuple[NetworkName, ...] = ("inception_v3", "onnx")


class Judge(Model):
    """A network that looks at pictures, and what is measured by it."""

    network: NetworkName = Field(
        description=(
            "The network that looks at the pictures: a classifier that the service trains on the data set; "
            "EfficientNet-Lite0, for data without classes; Inception-v3; one in a file of ONNX; or no more than the "
            "pixels, at 8 x 8 at most."
        )
    )
    weights: NetworkWeights | None = Field(
        default=None, description="The file of Inception-v3 or of ONNX; required with these networks, and only then."
    )
    scaling: Scaling | None = Field(
        default=None, description="What a network of ONNX is given for a pixel; ImageNet's without it."
    )
    measures: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=16), EachOnce()] = Field(
        default=("frechet",), description="What is measured; [quality.md](quality.md) explains each."
    )

    @property
    def source(self) -> tuple[str, str]:
        """What makes it another judge: its network and, of one in a file, which."""
        return self.network, self.weights.sha256 if self.weights else ""

    @model_validator(mode="after")
    def _has_what_its_network_takes(self) -> Self:
        if (self.network in FILED_NETWORKS) != (self.weights is not None):
            raise ValueError(f"weights: expected together with network: {' or '.join(FILED_NETWORKS)}, and only then")
        if self.scaling is not None and self.network != "onnx":
            raise ValueError(f"scaling: is for network: onnx; {self.network} has its own")
        return self


class Judging(Judge):
    """How generated pictures are judged."""

    network: NetworkName = Field(default="classifier", description=Judge.model_fields["network"].description)
    samples: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        default=10_000,
        description=(
            "Number of pictures to generate, or to enlarge; of a split that has fewer, all. The Frechet distance "
            "compares them with all real pictures of the split, `kernel` and `manifolds` with as many of them."
        ),
    )
    split: Literal["train", "test"] = Field(
        default="train", description="The split of the data set with which generated pictures are compared."
    )
    seed: Seed = Field(default=0, description="Seed of the latents.")
    truncation: Truncation | None = Field(
        default=None, description="Numbers of a latent beyond this size are drawn anew; without it none are."
    )
    measures: Annotated[tuple[Measure, ...], Field(min_length=1, max_length=16), EachOnce()] = Field(
        default=("frechet", "kernel", "classes", "manifolds", "copying", "birthdays", "reconstruction"),
        description=(
            "What is measured; [quality.md](quality.md) explains each. `gan_train` takes longest: it trains another "
            "classifier, on generated pictures."
        ),
    )

    def misfit(self, recipe: Recipe) -> str | None:
        """Say what cannot be judged so, beginning with the key; None where all can."""
        if recipe.super_resolution and self.split != "test":
            return f"split: found {self.split}, expected test: enlarged pictures are judged by such as were not learned"
        if recipe.super_resolution and self.truncation is not None:
            return f"truncation: found {self.truncation:g}, but with super_resolution there are no latents"
        if isinstance(recipe.generator, Stylegan2Generator) and self.truncation is not None:
            return (
                f"truncation: found {self.truncation:g}, but a generator of kind stylegan2 normalises its latents, so "
                "that it would change next to nothing; leave it out"
            )
        if (numbers := self.samples * math.prod(recipe.data.shape)) > MAX_JUDGED_NUMBERS:
            return f"samples: found {self.samples}, of {numbers:,} bytes; expected at most {MAX_JUDGED_NUMBERS:,}"
        return None
