"""Transfer: what one network takes of another's weights, where it has some of the same name and shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ganservice.errors import DataInvalid
from ganservice.recipe import ROLES

# Lines about each of two networks.
MOST_LINES = 20
# Under which names a trainer's state has the two.
PARTS = ("g", "d")
# What comes before the names of a network in a label plane: see `networks.labelled`.
INSIDE = "body."


@dataclass(frozen=True)
class Transfer:
    """What both networks take, and what is left as it was drawn, in lines for people."""

    shares: tuple[float, float]  # of the numbers of G and of D that are taken, 0 to 1
    lines: tuple[str, ...]


def fitting(own: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Those of another network's tensors that are, by name and shape, some of one's own, by the names here.

    Of two of which one is inside a label plane, by the names that they have without it.
    """
    return {
        name: found
        for name, tensor in own.items()
        if isinstance(found := _counterpart(name, theirs), Tensor) and found.shape == tensor.shape
    }


def _counterpart(name: str, theirs: Mapping[str, Any]) -> Any:
    """What another network calls so, or would if neither or both were inside a label plane; None where nothing is."""
    names = (name, f"{INSIDE}{name}", name.removeprefix(INSIDE))
    return next((found for each in names if (found := theirs.get(each)) is not None), None)


def compare(generator: nn.Module, discriminator: nn.Module, state: Mapping[str, Any]) -> Transfer:
    """What G and D would take of a trainer's state.

    Raises:
        DataInvalid: nothing.
    """
    shares, lines = [], []
    for role, network, part in zip(ROLES, (generator, discriminator), PARTS, strict=True):
        own, theirs = network.state_dict(), state[part]
        taken = fitting(own, theirs)
        share = sum(own[name].numel() for name in taken) / max(1, sum(tensor.numel() for tensor in own.values()))
        left = [_left(f"{role}.{name}", own[name], _counterpart(name, theirs)) for name in own if name not in taken]
        shares.append(share)
        lines.append(f"{role}: takes {len(taken)} of {len(own)} tensors, {share:.1%} of its numbers")
        lines += left[:MOST_LINES]
        if len(left) > MOST_LINES:
            lines.append(f"{role}: {len(left) - MOST_LINES} more begin anew")
    if not any(shares):
        raise DataInvalid(
            "nothing of the job gone on from fits these networks in name and shape; leave out --from, or choose "
            "networks nearer to its own"
        )
    return Transfer((shares[0], shares[1]), tuple(lines))


def _left(name: str, own: Tensor, theirs: Any) -> str:
    there = str(list(theirs.shape)) if isinstance(theirs, Tensor) else "none"
    return f"{name}: {list(own.shape)} here, {there} there; begins anew"
