"""NetworkContext: what a network is built for, beside its own keys."""

from dataclasses import dataclass

from ganservice.recipe import Code
from workers.gan.randomness import Draws


@dataclass(frozen=True)
class NetworkContext:
    """What a builder of networks is given, of this project or of a package.

    `shape` is that of what G makes and D sees: [C, H, W] of pictures, where D sees the channels of a whole pack, or [2]
    of points. `classes` is the number of classes of whose labels the network gets one for each picture, or None.
    `factor` is how many times as large as the pictures that G is given those are that it makes, or None where it is
    given latents.

    Whatever a network draws while it trains comes from `draws`, or else from torch's own generator, which begins each
    step anew: by neither does a resume change anything. By `draws` alone a gang draws what one worker would.
    """

    shape: tuple[int, ...]
    latent_size: int
    classes: int | None
    draws: Draws
    factor: int | None = None
    code: Code | None = None  # in which networks of kind `own` are
