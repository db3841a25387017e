"""The networks of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN")."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ganservice.model import NumberFromZero
from ganservice.recipe.extent import Extent
from ganservice.recipe.network import Network, NetworkKind, Size
from ganservice.recipe.pyramid import Pyramid, levels_of

Probability = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]


class _Stylegan2(Pyramid):
    """The keys that G and D of a StyleGAN2 have in common."""

    takes_labels: ClassVar[bool] = True
    takes_label_plane: ClassVar[bool] = False  # beside z it would leave w what is not of the picture alone

    kind: Literal["stylegan2"] = Field(
        description="Latents mapped to styles, by which convolutions are modulated (Karras et al. 2020)."
    )

    def _extent(self, shape: Sequence[int], around: int) -> Extent:
        widths = self.widths(shape[1:])
        weights = sum(
            10 * before * after + 9 * after * after + 9 * before * before for before, after in pairwise(widths)
        )
        return Extent(weights + 18 * widths[-1] ** 2 + around, widths[0] * math.prod(shape[1:]))


class Stylegan2Generator(_Stylegan2):
    """A mapping of latents to styles w; from a learned constant on, modulated convolutions with noise; RGB by skips."""

    free_keys: ClassVar[frozenset[str]] = frozenset({"mixing", "path_length", "path_length_every_steps"})
    scale_keys: ClassVar[frozenset[str]] = frozenset({"mapping_lr_share"})

    w_size: Size = Field(default=256, description="Length of a style w; 512 as published.")
    mapping_layers: Annotated[int, Field(ge=1, le=32)] = Field(
        default=8, description="Layers of the mapping from a latent to w."
    )
    mapping_lr_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.01, description="Share of the learning rate that the mapping learns with."
    )
    noise: bool = Field(
        default=True, description="Whether each layer adds noise, drawn anew in training and the same for all samples."
    )
    mixing: Probability = Field(
        default=0.9, description="Share of pictures in training whose styles change to another latent's at some layer."
    )
    path_length: NumberFromZero = Field(
        default=2.0, description="Weight of path length regularisation (section 3.2); 0 for none."
    )
    path_length_every_steps: Steps = Field(
        default=4,
        description=(
            "Path lengths are looked at only every so many steps, in a step of the optimiser of their own, on half a "
            "batch; learning rate and betas are corrected for that (appendix B)."
        ),
    )

    @property
    def images_together(self) -> int:
        """Path lengths are those of every second image."""
        return 2 if self.path_length > 0 else 1

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """The mapping, an affine map for each layer, and the convolutions."""
        size, widths = self.w_size, self.widths(shape[1:])
        mapping = (other_end + size * self.mapping_layers) * size + (classes or 0) * size
        seed = math.prod(side >> levels_of(shape[1:]) for side in shape[1:]) * widths[-1]
        affine = 3 * (size + 2) * sum(widths) + size * widths[-1]
        return self._extent(shape, mapping + seed + affine + shape[0] * sum(widths))


class Stylegan2Discriminator(_Stylegan2):
    """Residual blocks and a layer that tells how different the pictures of a group are (Karras et al. 2018)."""

    group: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="Pictures of a batch whose differences D sees together; 1 for none."
    )

    def keeps_weights(self, key: str, before: Network) -> bool:
        """A group of any size but 1 has the same layers."""
        if key == "group" and isinstance(before, Stylegan2Discriminator):
            return (self.group > 1) == (before.group > 1)
        return super().keeps_weights(key, before)

    @property
    def mixes_images(self) -> bool:
        """It sees how different those of a group are."""
        return self.group > 1

    @property
    def images_together(self) -> int:
        """Those of a group are neighbours."""
        return self.group

    @property
    def bears_penalties(self) -> bool:
        """As published: those of a group share the gradient."""
        return True

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Three convolutions a level, two dense layers."""
        last = self.widths(shape[1:])[-1]
        seed = math.prod(side >> levels_of(shape[1:]) for side in shape[1:])
        dense = last * last * (seed + 1) + last * (other_end + 2)
        of_labels = (classes + 10 * last) * last if classes else 0
        return self._extent(shape, dense + of_labels + shape[0] * self.width)


KIND = NetworkKind("workers.gan.networks.stylegan2", Stylegan2Generator, Stylegan2Discriminator)
