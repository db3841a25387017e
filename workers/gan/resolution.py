"""Small pictures of large ones, and large ones of small ones without a network."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate


def shrink(pictures: Tensor, factor: int) -> Tensor:
    """Each pixel the mean of `factor` x `factor` pixels, not rounded: float [B, C, H, W] -> [B, C, H / f, W / f].

    So training, evaluation and tests make small pictures.
    """
    return avg_pool2d(pictures, factor)


def enlarge(pictures: Tensor, factor: int) -> Tensor:
    """Bicubic interpolation as Pillow and Matlab have it (Keys 1981, a = -1/2), which may lead beyond [-1, 1].

    Float [B, C, h, w] -> [B, C, f h, f w].
    """
    height, width = (factor * side for side in pictures.shape[2:])
    return interpolate(pictures, (height, width), mode="bicubic", antialias=True)


class Bicubic(nn.Module):
    """Bicubic interpolation as a generator: what a network that enlarges pictures is held against."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, f h, f w], in [-1, 1]."""
        return enlarge(pictures, self._factor).clamp(-1, 1)
