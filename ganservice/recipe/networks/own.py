"""Networks of a user's own, in the folder that `recipe.code` names."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from ganservice.recipe.extent import Extent
from ganservice.recipe.network import Network, NetworkKind

OptionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
# Whole numbers that doubles hold exactly, and so every reader of JSON.
Option = (
    bool
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
    | Annotated[float, Field(ge=-1e300, le=1e300)]
    | Annotated[str, StringConstraints(max_length=1_000)]
    | None
)


class OwnNetwork(Network):
    """What a function of yours builds, in the folder `recipe.code`. See [networks](networks.md)."""

    takes_labels: ClassVar[bool] = True

    kind: Literal["own"] = Field(description="A network of your own.")
    function: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,8}$", max_length=255)] = Field(
        description="The function that builds it: `generator`, or `MODULE.generator` where it is in a file MODULE.py."
    )
    options: Annotated[
        dict[OptionName, Option | Annotated[tuple[Option, ...], Field(max_length=100)]], Field(max_length=100)
    ] = Field(default_factory=dict, description="Further arguments of the function, by name: values, or lists of them.")

    def extent(self, shape: Sequence[int], other_end: int, classes: int | None) -> Extent:
        """Not known before it is built, which the workers do."""
        del shape, other_end, classes
        return Extent(0, 0)


KIND = NetworkKind("workers.gan.networks.own", OwnNetwork, OwnNetwork)
