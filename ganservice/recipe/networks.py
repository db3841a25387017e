"""Generators and discriminators that can be asked for; `workers.gan.networks` builds them."""

from typing import Annotated, Literal

from pydantic import Field

from ganservice.model import Model, Share
from ganservice.recipe.data import MAX_CLASSES, Data, Mixture, Pictures
from ganservice.recipe.image_size import LARGEST_SIDE, Sides, image_size_of

# The geometry of a DCGAN is fixed by the shorter side of its images; these are the sides for which one exists, with the
# number of hidden layers each has. A longer side makes the first, smallest feature map longer.
DCGAN_LAYERS = {28: 3, 32: 3, 64: 4}

# Larger ones fit no machine.
Size = Annotated[int, Field(ge=1, le=65_536)]
Widths = Annotated[tuple[Size, ...], Field(min_length=1, max_length=64)]
InitialWeights = Literal["normal", "glorot", "he"]
INITIAL_WEIGHTS = (
    "How the weights begin: `normal`, of standard deviation 0.02 (Radford et al. 2016); `glorot`, uniform (Glorot & "
    "Bengio 2010); `he`, normal and by the inputs of each layer (He et al. 2015)."
)


class _Network(Model):
    """A generator or a discriminator."""

    @property
    def mixes_images(self) -> bool:
        """Whether its output for one image depends on the others of the batch, as with BatchNorm."""
        return False

    def misfit(self, data: Data) -> str | None:
        """Say what is wrong with learning `data` by this network, beginning with the key; None if nothing is."""
        del data
        return None


class _PictureNetwork(_Network):
    """A network of convolutions."""

    def misfit(self, data: Data) -> str | None:
        """A mixture has no pixels."""
        if isinstance(data, Pictures):
            return self._misfit_of_sides(data.sides)
        return "kind: is a network for pictures; for a mixture choose kind: mlp"

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        raise NotImplementedError


class MlpGenerator(_Network):
    """Linear layers of the given widths, LeakyReLU between; tanh at the end for pictures."""

    kind: Literal["mlp"] = Field(description="A multi-layer perceptron.")
    widths: Widths = Field(default=(128, 256, 512), description="Units of each hidden layer, from the latent side on.")


class MlpDiscriminator(_Network):
    """Linear layers of the given widths, LeakyReLU and dropout between, one logit at the end."""

    kind: Literal["mlp"] = Field(description="A multi-layer perceptron.")
    widths: Widths = Field(default=(512, 256, 128), description="Units of each hidden layer, from the image side on.")
    dropout: Share = Field(default=0.3, description="Share of units that are dropped after each hidden layer.")


class AffineGenerator(_Network):
    """G(z) = A z + b: the one generator whose density is known in closed form. For points in the plane only."""

    kind: Literal["affine"] = Field(description="A single linear layer, for points in the plane.")

    def misfit(self, data: Data) -> str | None:
        """Its density is known in the plane."""
        return None if isinstance(data, Mixture) else "kind: an affine generator makes points of a mixture, no pictures"


class _Dcgan(_PictureNetwork):
    """The keys that G and D of a DCGAN have in common."""

    kind: Literal["dcgan"] = Field(description="A DCGAN, for pictures of 28, 32 or 64 px on their shorter side.")
    widths: Widths = Field(description="Channels of each hidden layer: 3 layers at 28 and 32 px, 4 at 64 px.")
    initial_weights: InitialWeights = Field(default="normal", description=INITIAL_WEIGHTS)

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        found, shorter = f"found data.image_size {image_size_of(*sides)}", min(sides)
        if shorter not in DCGAN_LAYERS:
            sizes = ", ".join(map(str, DCGAN_LAYERS))
            return (
                f"kind: a dcgan makes images of {sizes} px on their shorter side, {found}; "
                "choose one of these sizes or kind: mlp"
            )
        layers = DCGAN_LAYERS[shorter]
        if excess := (max(sides) - shorter) % 2**layers:
            longer = max(sides) - excess
            others = [str(side) for side in (longer, longer + 2**layers) if side <= LARGEST_SIDE]
            return (
                f"kind: a dcgan of {shorter} px has a longer side that is larger by a multiple of {2**layers} px, "
                f"{found}; choose {' or '.join(others)} for it, or kind: mlp"
            )
        if len(self.widths) != layers:
            return f"widths: found {len(self.widths)} widths, but a dcgan of {shorter} px has {layers} hidden layers"
        return None


class DcganGenerator(_Dcgan):
    """Transposed convolutions from 1x1 up to the image; widths from the latent side to the image side."""

    slope: Share = Field(default=0.2, description="Negative slope of the LeakyReLU between layers; 0 makes it a ReLU.")
    overlap: bool = Field(
        default=False,
        description=(
            "At 28 px, whether the last two kernels are of 4 px instead of 2, which leave seams; "
            "at 32 and 64 px all kernels are of 4 px anyway."
        ),
    )


class DcganDiscriminator(_Dcgan):
    """Strided convolutions down to one logit; widths from the image side to the logit."""

    batch_norm: bool = Field(default=False, description="Whether BatchNorm follows each hidden layer but the first.")
    spectral_norm: bool = Field(
        default=False, description="Whether every layer has spectral normalisation (Miyato et al. 2018)."
    )
    bias: bool = Field(
        default_factory=lambda keys: not keys.get("batch_norm"),
        description=(
            "Whether layers that no BatchNorm follows have biases; unless said otherwise, where `batch_norm` is off. "
            "A D without either has no threshold: it gives a grey picture the logit 0, whatever it has learned. "
            "A spec that names every key but this one is from before it, and means none."
        ),
        json_schema_extra={"default": "not batch_norm"},
    )

    @property
    def mixes_images(self) -> bool:
        """With BatchNorm it does."""
        return self.batch_norm


class _DenseDcgan(_PictureNetwork):
    """The keys that G and D of a dense DCGAN have in common."""

    kind: Literal["dense_dcgan"] = Field(
        description="A DCGAN with a dense layer at its latent side, for any multiple of 4 px."
    )
    initial_weights: InitialWeights = Field(default="glorot", description=INITIAL_WEIGHTS)

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        if any(side % 4 for side in sides):
            found = image_size_of(*sides)
            return f"kind: a dense_dcgan makes images of a multiple of 4 px, found data.image_size {found}"
        return None


class DenseDcganGenerator(_DenseDcgan):
    """A dense layer up to a quarter of the size, then 5x5 transposed convolutions; BatchNorm and LeakyReLU between."""

    widths: Annotated[tuple[Size, ...], Field(min_length=3, max_length=3)] = Field(
        default=(256, 128, 64), description="Channels of the three hidden layers, from the latent side on."
    )


class DenseDcganDiscriminator(_DenseDcgan):
    """Two strided 5x5 convolutions with LeakyReLU and dropout, then a dense layer to one logit."""

    widths: Annotated[tuple[Size, ...], Field(min_length=2, max_length=2)] = Field(
        default=(64, 128), description="Channels of the two convolutions, from the image side on."
    )
    dropout: Share = Field(default=0.3, description="Share of units that are dropped after each convolution.")


class _AvgPool(_PictureNetwork):
    """The keys that G and D of an average-pooling GAN have in common."""

    kind: Literal["avgpool"] = Field(
        description="Convolutions between which the image is doubled (G) or halved (D); its size must allow that."
    )
    initial_weights: InitialWeights = Field(default="normal", description=INITIAL_WEIGHTS)
    widths: Widths
    dense: Widths

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        factor = 2 ** len(self.widths)
        if any(side % factor or side < 2 * factor for side in sides):
            return (
                f"widths: {len(self.widths)} blocks halve or double the image, so that its size must be a multiple "
                f"of {factor} from {2 * factor} on; found data.image_size {image_size_of(*sides)}"
            )
        return None


class AvgPoolGenerator(_AvgPool):
    """Dense layers, then 5x5 convolutions with BatchNorm and nearest-neighbour upsampling."""

    widths: Widths = Field(
        default=(256, 128, 64), description="Channels of each block, from the latent side on; each doubles the image."
    )
    dense: Widths = Field(default=(64, 512), description="Units of each dense layer before the blocks.")
    seed_channels: Size = Field(default=64, description="Channels of the first, smallest feature map.")


class AvgPoolDiscriminator(_AvgPool):
    """5x5 convolutions with BatchNorm and average pooling, then dense layers to one logit."""

    widths: Widths = Field(
        default=(64, 128, 256, 512),
        description="Channels of each block, from the image side on; each halves the image.",
    )
    dense: Widths = Field(default=(1024, 512, 128), description="Units of each dense layer after the blocks.")

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

    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)] = Field(
        description="Number of classes, which must be that of the data set."
    )
    embedding_size: Size = Field(default=50, description="Length of the vector that stands for a class.")
    label_features: Size = Field(default=10, description="Features of the label that G gets.")
    latent_features: Size = Field(default=500, description="Features of the latent that G gets beside them.")
