"""Recipe: the science of a training job, as data. Networks, loss, data, optimisers.

The classes here say what can be asked; `workers.gan` builds it. Sizes are in pixels, lengths in images.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, StringConstraints, model_validator

from ganservice.model import Model

# The geometry of a DCGAN is fixed by its image size; these are the sizes for which one exists,
# with the number of hidden layers each has.
DCGAN_LAYERS = {28: 3, 32: 3, 64: 4}

# Larger ones fit no machine.
Size = Annotated[int, Field(ge=1, le=65_536)]
Widths = Annotated[tuple[Size, ...], Field(min_length=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
DataSetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Data(Model):
    """The pictures to learn: a data set in the store, by name, and the shape the networks expect."""

    dataset: DataSetName
    image_size: Annotated[int, Field(ge=4, le=256)]
    channels: Literal[1, 3]
    # Filled in when the job is submitted, so that every attempt trains on the same bytes.
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


class MlpGenerator(Model):
    """Linear layers of the given widths, LeakyReLU between, tanh at the end."""

    kind: Literal["mlp"]
    widths: Widths = (128, 256, 512)


class MlpDiscriminator(Model):
    """Linear layers of the given widths, LeakyReLU and dropout between, one logit at the end."""

    kind: Literal["mlp"]
    widths: Widths = (512, 256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3


class DcganGenerator(Model):
    """Transposed convolutions from 1x1 up to the image; widths from the latent side to the image side."""

    kind: Literal["dcgan"]
    widths: Widths


class DcganDiscriminator(Model):
    """Strided convolutions down to one logit; widths from the image side to the logit."""

    kind: Literal["dcgan"]
    widths: Widths
    batch_norm: bool = False


Generator = Annotated[MlpGenerator | DcganGenerator, Field(discriminator="kind")]
Discriminator = Annotated[MlpDiscriminator | DcganDiscriminator, Field(discriminator="kind")]

# A fixed target, or the two ends of a range from which each sample's target is drawn.
Target = Annotated[float, Field(ge=0, le=1.5)]
Label = Target | tuple[Target, Target]


class NonSaturating(Model):
    """Binary cross-entropy on logits; G maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    kind: Literal["non_saturating"] = "non_saturating"
    real_label: Label = 1.0
    fake_label: Label = 0.0

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, label in (("real_label", self.real_label), ("fake_label", self.fake_label)):
            if isinstance(label, tuple) and label[0] > label[1]:
                raise ValueError(f"{name}: found {list(label)}, expected the lower end of the range first")
        return self


class Adam(Model):
    """Adam (Kingma & Ba 2015)."""

    lr: Annotated[float, Field(gt=0)] = 2e-4
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.5, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8


class Recipe(Model):
    """Everything that decides what the generator becomes, given a seed and a length."""

    data: Data
    generator: Generator
    discriminator: Discriminator
    latent_size: Size = 100
    loss: NonSaturating = NonSaturating()
    optimiser_g: Adam = Adam()
    optimiser_d: Adam = Adam()
    # The global batch: split evenly over the workers of the gang.
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    # Weights of the sampling copy lose half their age after this many images.
    ema_half_life_images: PositiveInt = 10_000
    precision: Literal["fp32", "bf16"] = "fp32"
    # Statistics of BatchNorm over the global batch, or over each worker's own part of it.
    batch_norm: Literal["synchronised", "local"] = "synchronised"

    @model_validator(mode="after")
    def _networks_fit_the_image(self) -> Self:
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            if network.kind != "dcgan":
                continue
            size = self.data.image_size
            if size not in DCGAN_LAYERS:
                sizes = ", ".join(map(str, DCGAN_LAYERS))
                raise ValueError(
                    f"data.image_size: found {size}, but a dcgan {name} makes images of {sizes} px; "
                    "choose one of these sizes or kind: mlp"
                )
            if len(network.widths) != DCGAN_LAYERS[size]:
                raise ValueError(
                    f"{name}.widths: found {len(network.widths)} widths, "
                    f"but a dcgan of {size} px has {DCGAN_LAYERS[size]} hidden layers"
                )
        return self
