"""MicroBatches: a worker's rows of a batch, a few at a time, so that less memory is taken."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from workers.gan.randomness import Draws
from workers.gan.real_batches import Labels


class MicroBatches:
    """The pieces of a worker's rows, to it what workers are to a gang: means over them are those of the whole.

    For each all begins anew that a pass through the networks leaves behind: the place in the draws, of which a piece
    gets its own rows, and what networks keep beside their weights, such as the vectors of spectral normalisation.
    """

    def __init__(self, size: int | None, draws: Draws, networks: Sequence[nn.Module]) -> None:
        self._size = size
        self._draws = draws
        self._networks = networks

    def count(self, real: Tensor) -> int:
        """How many pieces there are of images [B, ...]."""
        return len(real) // self._size if self._size else 1

    def split(self, real: Tensor, labels: Labels) -> Iterator[tuple[Tensor, Labels, float]]:
        """The pieces of images [B, ...] and their labels, each with its share of the whole."""
        count = self.count(real)
        if count == 1:
            yield real, labels, 1.0
            return
        before = [buffer.clone() for buffer in self._kept()]
        pieces = zip(*(values.chunk(count) for values in (real, *labels)), strict=True)
        for (images, *of_images), _ in zip(pieces, self._draws.pieces(count), strict=True):
            for buffer, first in zip(self._kept(), before, strict=True):
                buffer.copy_(first)
            yield images, tuple(of_images), 1 / count

    def _kept(self) -> list[Tensor]:
        """What the networks keep beside weights, which some put a new tensor in the place of in each pass."""
        return [buffer for network in self._networks for buffer in network.buffers()]
