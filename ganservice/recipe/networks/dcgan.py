"""The DCGAN (Radford, Metz & Chintala 2016)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ganservice.model import Share
from ganservice.recipe.extent import Extent, joints, largest
from ganservice.recipe.image_size import LARGEST_SIDE, Sides, image_size_of
from ganservice.recipe.network import INITIAL_WEIGHTS, InitialWeights, NetworkKind, PictureNetwork, Widths

# The geometry of a DCGAN is fixed by the shorter side of its images; these are the sides for which one exists, with the
# number of hidden layers each has. A longer side makes the first, smallest feature map longer.
DCGAN_LAYERS = {28: 3, 32: 3, 64: 4}
# Pixels of the largest kernel for squares.
KERNEL = 7 * 7


class _Dcgan(PictureNetwork):
    """The keys that G and D of a DCGAN have in common."""

    free_keys: ClassVar[frozenset[str]] = frozenset({"initial_weights", "slope"})

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

    @property
    def mixes_images(self) -> bool:
        """Its BatchNorm does."""
        return True

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """From latents up to the image."""
        del classes
        joined = joints((other_end, *self.widths, shape[0]))
        return Extent(_kernel(shape[1:]) * joined, largest((shape[0], *self.widths[::-1]), shape[1:]))


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

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """From the image down to a logit."""
        del classes
        joined = joints((shape[0], *self.widths, other_end))
        return Extent(_kernel(shape[1:]) * joined, largest((shape[0], *self.widths), shape[1:]))


def _kernel(sides: Sequence[int]) -> int:
    """Pixels of the largest kernel: of images that are no squares, one is as long as their smallest feature map."""
    return KERNEL * -(-max(sides) // min(sides))


KIND = NetworkKind("workers.gan.networks.dcgan", DcganGenerator, DcganDiscriminator)
