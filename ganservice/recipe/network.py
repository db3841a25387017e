"""Network: what every generator and every discriminator that a recipe may ask for says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ganservice.model import Model
from ganservice.recipe.data import Data, Pictures
from ganservice.recipe.extent import Extent
from ganservice.recipe.image_size import Sides

# Larger ones fit no machine.
MAX_SIZE = 65_536
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Widths = Annotated[tuple[Size, ...], Field(min_length=1, max_length=64)]
InitialWeights = Literal["normal", "glorot", "he"]
INITIAL_WEIGHTS = (
    "How the weights begin: `normal`, of standard deviation 0.02 (Radford et al. 2016); `glorot`, uniform (Glorot & "
    "Bengio 2010); `he`, normal and by the inputs of each layer (He et al. 2015)."
)


class Network(Model):
    """A generator or a discriminator: its keys, of which `kind` names it."""

    # Whether it takes labels itself, where the recipe's conditioning is `built_in`.
    takes_labels: ClassVar[bool] = False
    # Whether it may be in a `label_plane`.
    takes_label_plane: ClassVar[bool] = True
    # Keys on which neither the names nor the shapes of its weights depend, nor what their numbers mean.
    free_keys: ClassVar[frozenset[str]] = frozenset()
    # Keys by which the numbers of its weights are scaled, so that other values give them another meaning.
    scale_keys: ClassVar[frozenset[str]] = frozenset()

    kind: str

    def keeps_weights(self, key: str, before: "Network") -> bool:
        """Whether its weights are of the names, shapes and meaning of another's of its kind that differs in a key."""
        del before
        return key in self.free_keys

    @property
    def mixes_images(self) -> bool:
        """Whether its output for one image depends on the others of the batch, as with BatchNorm."""
        return False

    @property
    def images_together(self) -> int | None:
        """Of how many outputs at a time training it takes whole multiples; None of one that takes all of a batch."""
        return None if self.mixes_images else 1

    @property
    def bears_penalties(self) -> bool:
        """Whether a loss may penalise the gradient at each image, of a discriminator."""
        return not self.mixes_images

    def misfit(self, data: Data) -> str | None:
        """Say what is wrong with learning `data` by this network, beginning with the key; None if nothing is."""
        del data
        return None

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """About how large it is between images of `shape`, [C, H, W] or [2], and `other_end` numbers.

        `classes` are those that it takes labels of, None where it takes none.
        """
        raise NotImplementedError


class PictureNetwork(Network):
    """A network of convolutions."""

    def misfit(self, data: Data) -> str | None:
        """A mixture has no pixels."""
        if isinstance(data, Pictures):
            return self._misfit_of_sides(data.sides)
        return "kind: is a network for pictures; for a mixture choose kind: mlp"

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        raise NotImplementedError


class EnlargingGenerator(PictureNetwork):
    """A generator that is given small pictures, where the recipe says `super_resolution`, and enlarges them.

    Fully convolutional: it takes pictures of any size.
    """

    def _misfit_of_sides(self, sides: Sides) -> str | None:
        del sides
        return None

    @property
    def reach(self) -> int:
        """How far from a pixel of the small picture another one may be, px, that changes what is made of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class NetworkKind:
    """A kind of network, as an entry point of the group `ganservice.networks` names it.

    `builder` is a module with `build_generator(network, context)` and `build_discriminator(network, context)`, which
    make a `torch.nn.Module` of the keys; it alone imports torch, and only where networks are built.
    """

    builder: str
    generator: type[Network] | None = None
    discriminator: type[Network] | None = None
