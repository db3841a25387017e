"""Recipe: the science of a training job, as data. Networks, loss, data, optimisers.

The classes here say what can be asked; `workers.gan` builds it. Sizes are in pixels, lengths in images.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    Tag,
    model_validator,
)

from ganservice.model import Model

# The geometry of a DCGAN is fixed by its image size; these are the sizes for which one exists,
# with the number of hidden layers each has.
DCGAN_LAYERS = {28: 3, 32: 3, 64: 4}

# Larger ones fit no machine.
Size = Annotated[int, Field(ge=1, le=65_536)]
Widths = Annotated[tuple[Size, ...], Field(min_length=1)]
DataSetName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0, lt=1)]


def kind_or(default: str) -> Discriminator:
    """Tells the members of a union by their `kind`, which may be left out for the most usual one."""

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)


# Data


class Pictures(Model):
    """The pictures to learn: a data set in the store, by name, and the shape the networks expect."""

    examples: ClassVar = "images"  # as the output of a generator is called

    kind: Literal["pictures"] = "pictures"
    dataset: DataSetName
    image_size: Annotated[int, Field(ge=4, le=256)]
    channels: Literal[1, 3]
    # Only pictures of these classes, by name; by default all.
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    # Show each picture as its mirror image half of the time.
    flip: bool = False
    # Filled in when the job is submitted, so that every attempt trains on the same bytes.
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return self.dataset

    @property
    def shape(self) -> tuple[int, ...]:
        """[C, H, W] of one picture."""
        return (self.channels, self.image_size, self.image_size)


class Mixture(Model):
    """Points in the plane from equally likely round Gaussians, on a ring or on a square grid.

    The ring of 8 and the grid of 25 are those of Srivastava et al. (2017), "VEEGAN", section 4.1.
    """

    examples: ClassVar = "points"

    kind: Literal["mixture"]
    layout: Literal["ring", "grid"]
    modes: Annotated[int, Field(ge=1, le=10_000)]
    # Of a ring, its radius; of a grid, the distance of neighbours.
    spread: PositiveFloat = 2.0
    std: PositiveFloat
    # Size of the training set, drawn once from the job's seed.
    points: Annotated[int, Field(ge=2)] = 100_000

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return f"a {self.layout} of {self.modes} Gaussians"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        return (2,)

    @property
    def centres(self) -> list[tuple[float, float]]:
        """The mean of each Gaussian."""
        if self.layout == "ring":
            angles = [2 * math.pi * mode / self.modes for mode in range(self.modes)]
            return [(self.spread * math.cos(angle), self.spread * math.sin(angle)) for angle in angles]
        side = math.isqrt(self.modes)
        line = [self.spread * (place - (side - 1) / 2) for place in range(side)]
        return [(x, y) for y in line for x in line]

    @model_validator(mode="after")
    def _grid_is_square(self) -> Self:
        if self.layout == "grid" and math.isqrt(self.modes) ** 2 != self.modes:
            raise ValueError(f"modes: found {self.modes}, expected a square number for a grid, such as 25")
        return self


Data = Annotated[
    Annotated[Pictures, Tag("pictures")] | Annotated[Mixture, Tag("mixture")],
    kind_or("pictures"),
]


# Networks


class _Network(Model):
    """A generator or a discriminator."""

    @property
    def mixes_images(self) -> bool:
        """Whether its output for one image depends on the others of the batch, as with BatchNorm."""
        return False

    def misfit(self, data: Data) -> str | None:
        """What is wrong with learning `data` by this network, beginning with the key; None if nothing is."""
        del data
        return None


class _PictureNetwork(_Network):
    """A network of convolutions."""

    def misfit(self, data: Data) -> str | None:
        """A mixture has no pixels."""
        if isinstance(data, Pictures):
            return self._misfit_of_size(data.image_size)
        return "kind: is a network for pictures; for a mixture choose kind: mlp"

    def _misfit_of_size(self, image_size: int) -> str | None:
        raise NotImplementedError


class MlpGenerator(_Network):
    """Linear layers of the given widths, LeakyReLU between; tanh at the end for pictures."""

    kind: Literal["mlp"]
    widths: Widths = (128, 256, 512)


class MlpDiscriminator(_Network):
    """Linear layers of the given widths, LeakyReLU and dropout between, one logit at the end."""

    kind: Literal["mlp"]
    widths: Widths = (512, 256, 128)
    dropout: Share = 0.3


class AffineGenerator(_Network):
    """G(z) = A z + b: the one generator whose density is known in closed form."""

    kind: Literal["affine"]

    def misfit(self, data: Data) -> str | None:
        """Its density is known in the plane."""
        return None if isinstance(data, Mixture) else "kind: an affine generator makes points of a mixture, no pictures"


class _Dcgan(_PictureNetwork):
    """What G and D of a DCGAN have in common."""

    kind: Literal["dcgan"]
    widths: Widths

    def _misfit_of_size(self, image_size: int) -> str | None:
        if image_size not in DCGAN_LAYERS:
            sizes = ", ".join(map(str, DCGAN_LAYERS))
            return (
                f"kind: a dcgan makes images of {sizes} px, found data.image_size {image_size}; "
                "choose one of these sizes or kind: mlp"
            )
        layers = DCGAN_LAYERS[image_size]
        if len(self.widths) != layers:
            return f"widths: found {len(self.widths)} widths, but a dcgan of {image_size} px has {layers} hidden layers"
        return None


class DcganGenerator(_Dcgan):
    """Transposed convolutions from 1x1 up to the image; widths from the latent side to the image side."""

    # Of the LeakyReLU between; 0 makes it a ReLU.
    slope: Share = 0.2
    # At 28 px the last two kernels are of 4 px instead of 2, which leave seams; at 32 and 64 px all are of 4 px anyway.
    overlap: bool = False


class DcganDiscriminator(_Dcgan):
    """Strided convolutions down to one logit; widths from the image side to the logit."""

    batch_norm: bool = False
    # Spectral normalisation of every layer (Miyato et al. 2018).
    spectral_norm: bool = False

    @property
    def mixes_images(self) -> bool:
        """With BatchNorm it does."""
        return self.batch_norm


class _DenseDcgan(_PictureNetwork):
    """What G and D of a dense DCGAN have in common."""

    kind: Literal["dense_dcgan"]

    def _misfit_of_size(self, image_size: int) -> str | None:
        if image_size % 4:
            return f"kind: a dense_dcgan makes images of a multiple of 4 px, found data.image_size {image_size}"
        return None


class DenseDcganGenerator(_DenseDcgan):
    """A dense layer up to a quarter of the size, then 5x5 transposed convolutions; BatchNorm and LeakyReLU between."""

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=3, max_length=3)] = (256, 128, 64)


class DenseDcganDiscriminator(_DenseDcgan):
    """Two strided 5x5 convolutions with LeakyReLU and dropout, then a dense layer to one logit."""

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=2)] = (64, 128)
    dropout: Share = 0.3


class _AvgPool(_PictureNetwork):
    """What G and D of an average-pooling GAN have in common."""

    kind: Literal["avgpool"]
    widths: Widths
    dense: Widths

    def _misfit_of_size(self, image_size: int) -> str | None:
        factor = 2 ** len(self.widths)
        if image_size % factor or image_size < 2 * factor:
            return (
                f"widths: {len(self.widths)} blocks halve or double the image, so that its size must be a multiple "
                f"of {factor} from {2 * factor} on; found data.image_size {image_size}"
            )
        return None


class AvgPoolGenerator(_AvgPool):
    """Dense layers, then 5x5 convolutions with BatchNorm and nearest-neighbour upsampling."""

    widths: Widths = (256, 128, 64)
    dense: Widths = (64, 512)
    # Channels of the first, smallest feature map.
    seed_channels: PositiveInt = 64


class AvgPoolDiscriminator(_AvgPool):
    """5x5 convolutions with BatchNorm and average pooling, then dense layers to one logit."""

    widths: Widths = (64, 128, 256, 512)
    dense: Widths = (1024, 512, 128)

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True


Generator = Annotated[
    MlpGenerator | DcganGenerator | DenseDcganGenerator | AvgPoolGenerator | AffineGenerator,
    Field(discriminator="kind"),
]
Discriminating = MlpDiscriminator | DcganDiscriminator | DenseDcganDiscriminator | AvgPoolDiscriminator


class Conditioning(Model):
    """Labels for G and D: an embedding and a linear layer each.

    G gets the label's features joined to a linear map of z, D an extra channel of the image's size.
    """

    classes: Annotated[int, Field(ge=2)]
    embedding_size: PositiveInt = 50
    label_features: PositiveInt = 10
    latent_features: PositiveInt = 500


# Losses

# A fixed target, or the two ends of a range from which each sample's target is drawn.
Target = Annotated[float, Field(ge=0, le=1.5)]
Label = Target | tuple[Target, Target]


class _Loss(Model):
    """What G and D minimise."""

    @property
    def penalises_gradients(self) -> bool:
        """Whether D's loss holds a gradient of D by its input."""
        return False

    @property
    def probabilities(self) -> tuple[float, float]:
        """D's mean probabilities of generated and of real pictures, once it tells them all apart."""
        return 0.0, 1.0


class _CrossEntropy(_Loss):
    """D minimises binary cross-entropy on logits, against labels that may be smoothed."""

    real_label: Label = 1.0
    fake_label: Label = 0.0

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, label in (("real_label", self.real_label), ("fake_label", self.fake_label)):
            if isinstance(label, tuple) and label[0] > label[1]:
                raise ValueError(f"{name}: found {list(label)}, expected the lower end of the range first")
        if math.isclose(*self.probabilities):
            raise ValueError("real_label and fake_label are the same in the mean: D could learn nothing from them")
        return self

    @property
    def probabilities(self) -> tuple[float, float]:
        """The means of the labels, which are what D learns to say."""
        fake, real = (
            sum(label) / 2 if isinstance(label, tuple) else label for label in (self.fake_label, self.real_label)
        )
        return fake, real


class NonSaturating(_CrossEntropy):
    """G maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    kind: Literal["non_saturating"] = "non_saturating"


class Minimax(_CrossEntropy):
    """G minimises log(1 - D(G(z))), which saturates while D is ahead (Goodfellow et al. 2014, equation 1)."""

    kind: Literal["minimax"]


class LeastSquares(_Loss):
    """Squared distances to labels 1 and 0 (Mao et al. 2017, "LSGAN", equation 9)."""

    kind: Literal["lsgan"]


class Hinge(_Loss):
    """The hinge loss (Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17)."""

    kind: Literal["hinge"]


class WassersteinGp(_Loss):
    """Wasserstein distance with gradient penalty (Gulrajani et al. 2017, equation 3)."""

    kind: Literal["wgan_gp"]
    penalty: PositiveFloat = 10.0

    @property
    def penalises_gradients(self) -> bool:
        """By each point between a real and a generated picture, or by each picture."""
        return True


class Relativistic(_Loss):
    """The relativistic pairing loss with R1 and R2 (Huang et al. 2024, "R3GAN", section 2)."""

    kind: Literal["relativistic"]
    r1: NonNegativeFloat = 1.0
    r2: NonNegativeFloat = 1.0
    # Penalties only at every so many steps, as many times as strong (Karras et al. 2020, "lazy regularization").
    penalty_every_steps: PositiveInt = 1

    @property
    def penalises_gradients(self) -> bool:
        """By each point between a real and a generated picture, or by each picture."""
        return self.r1 > 0 or self.r2 > 0


Loss = Annotated[
    Annotated[NonSaturating, Tag("non_saturating")]
    | Annotated[Minimax, Tag("minimax")]
    | Annotated[LeastSquares, Tag("lsgan")]
    | Annotated[Hinge, Tag("hinge")]
    | Annotated[WassersteinGp, Tag("wgan_gp")]
    | Annotated[Relativistic, Tag("relativistic")],
    kind_or("non_saturating"),
]


# Optimisers


class Schedule(Model):
    """The learning rate over the images seen: a linear rise from 0, then a fall to a share of itself."""

    warm_up_images: Annotated[int, Field(ge=0)] = 0
    decay: Literal["none", "linear", "cosine"] = "none"
    decay_from_images: Annotated[int, Field(ge=0)] = 0
    decay_until_images: PositiveInt | None = None
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.0

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

    lr: PositiveFloat = 2e-4
    betas: tuple[Share, Share] = (0.5, 0.999)
    eps: PositiveFloat = 1e-8
    schedule: Schedule = Schedule()


class Ema(Model):
    """The copy of G that draws all samples and is published: an average of G's weights over the images seen."""

    # Weights lose half their influence after this many images.
    half_life_images: PositiveInt = 10_000
    # Early on the half-life is no more than this share of the images seen, so that the first weights are forgotten
    # (Karras et al. 2020, "StyleGAN2-ADA"); without it the half-life is the same from the start.
    warm_up_share: PositiveFloat | None = None

    def half_life(self, images: int) -> float:
        """The half-life after `images` images."""
        if self.warm_up_share is None:
            return float(self.half_life_images)
        return min(float(self.half_life_images), max(1.0, self.warm_up_share * images))


# What networks compute in: weights, losses and optimisers are fp32 in either.
Precision = Literal["fp32", "bf16"]
AskedPrecision = Literal["auto", Precision]


class Recipe(Model):
    """Everything that decides what the generator becomes, given a seed and a length."""

    data: Data
    generator: Generator
    discriminator: Annotated[Discriminating, Field(discriminator="kind")]
    latent_size: Size = 100
    conditioning: Conditioning | None = None
    loss: Loss = NonSaturating()
    # Steps of D for each step of G, each on images of its own (Goodfellow et al. 2014, algorithm 1).
    d_steps: Annotated[int, Field(ge=1, le=100)] = 1
    # D looks at so many images at once (Lin et al. 2018, "PacGAN").
    pack: Annotated[int, Field(ge=1, le=16)] = 1
    # Differentiable augmentation of all that D sees (Zhao et al. 2020, "DiffAugment").
    augment: tuple[Literal["translation", "cutout", "colour"], ...] = ()
    optimiser_g: Adam = Adam()
    optimiser_d: Adam = Adam()
    # The global batch: split evenly over the workers of the gang.
    batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 64
    ema: Ema = Ema()
    # Of forward and backward passes; "auto" is bf16 where the devices that train compute it, else fp32.
    precision: AskedPrecision = "auto"
    # Statistics of BatchNorm over the global batch, or over each worker's own part of it.
    batch_norm: Literal["synchronised", "local"] = "synchronised"

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
    def asked_precision(self) -> AskedPrecision:
        """`precision`; of points in the plane, whose coordinates have more digits than bf16, fp32 unless ordered."""
        return "fp32" if self.precision == "auto" and self.pictures is None else self.precision

    @property
    def images_per_step(self) -> int:
        """Real images that one step of G and its steps of D look at."""
        return self.batch_size * self.d_steps

    @model_validator(mode="after")
    def _networks_fit_the_data(self) -> Self:
        for name, network in (("generator", self.generator), ("discriminator", self.discriminator)):
            if misfit := network.misfit(self.data):
                raise ValueError(f"{name}.{misfit}")
        for key, asked in (("conditioning", self.conditioning), ("augment", self.augment)):
            if asked and self.pictures is None:
                raise ValueError(f"{key}: is for pictures; found data.kind: mixture")
        if isinstance(self.data, Mixture) and self.batch_size > self.data.points:
            raise ValueError(f"batch_size: found {self.batch_size}, but data.points is {self.data.points}")
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
