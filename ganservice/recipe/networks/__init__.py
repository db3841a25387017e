"""Kinds of networks that can be asked for: those of this project, and those that installed packages bring.

All come by entry points of one group. A kind of this project is a module here, its keys, and one of the same name in
`workers.gan.networks`, its layers.
"""

import logging
from functools import reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Discriminator, Tag
from pydantic.json_schema import SkipJsonSchema

from ganservice.recipe.extent import Extent
from ganservice.recipe.network import Network, NetworkKind

log = logging.getLogger(__name__)

GROUP = "ganservice.networks"
Role = Literal["generator", "discriminator"]
OWN = "own"
_UNKNOWN = "unknown"


class UnknownNetwork(Network):
    """A network of a kind that no package here brings; the workers that train it have one that does.

    Whoever reads a job of others shows and passes on its keys as they are.
    """

    model_config = ConfigDict(extra="allow")

    def extent(self, shape: Any, other_end: int, classes: int | None) -> Extent:
        """Not known here; it was looked at where the job was submitted."""
        del shape, other_end, classes
        return Extent(0, 0)


def _kind_of(entry: EntryPoint) -> NetworkKind | None:
    """What an entry point names; None of one that cannot be imported, which costs its networks and a warning."""
    try:
        kind = entry.load()
    except Exception as error:  # noqa: BLE001 # whatever a package does while it is imported
        log.warning("the package that brings networks of kind %s cannot be imported: %s", entry.name, error)
        return None
    if not isinstance(kind, NetworkKind):
        log.warning("%s: expected a NetworkKind, which says what networks of kind %s are", entry.value, entry.name)
        return None
    for model in (kind.generator, kind.discriminator):
        if model is not None and get_args(model.model_fields["kind"].annotation) != (entry.name,):
            log.warning("%s: expected the key kind to be Literal[%r], as its entry point", entry.value, entry.name)
            return None
    return kind


def _kinds() -> dict[str, NetworkKind]:
    """Every kind of network, by its name; those of this project first."""
    entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.module.split(".")[0] != "ganservice")
    kinds: dict[str, NetworkKind] = {}
    for entry in entries:
        if entry.name in kinds:
            log.warning("%s: networks of kind %s are there already; these are passed over", entry.value, entry.name)
        elif kind := _kind_of(entry):
            kinds[entry.name] = kind
    return kinds


KINDS = _kinds()


def model_of(role: Role, kind: str) -> type[Network] | None:
    """The keys of a generator or a discriminator of some kind; None where there is none such here."""
    return getattr(KINDS[kind], role) if kind in KINDS else None


def kinds_of(role: Role) -> list[str]:
    """The kinds that a generator, or a discriminator, may be of."""
    return [name for name, kind in KINDS.items() if getattr(kind, role)]


def _union(role: Role) -> Any:
    """The type of a network by its `kind`."""

    def tag(value: Any) -> str | None:
        kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
        return None if kind is None else kind if isinstance(kind, str) and model_of(role, kind) else _UNKNOWN

    members = [Annotated[model_of(role, kind), Tag(kind)] for kind in kinds_of(role)]
    members.append(Annotated[SkipJsonSchema[UnknownNetwork], Tag(_UNKNOWN)])
    return Annotated[reduce(or_, members), Discriminator(tag)]


if TYPE_CHECKING:
    Generator = Network
    Discriminating = Network
else:
    Generator, Discriminating = _union("generator"), _union("discriminator")
