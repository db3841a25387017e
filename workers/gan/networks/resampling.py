"""Doubling and halving of feature maps by a low-pass filter, as StyleGAN2 and R3GAN have it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

# Binomial, of four taps (Karras et al. 2019, "StyleGAN", appendix C; 2020, "StyleGAN2", appendix B).
TAPS = (1.0, 3.0, 3.0, 1.0)


class _Filter(nn.Module):
    kernel: Tensor

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        kernel = torch.outer(torch.tensor(TAPS), torch.tensor(TAPS))
        # A constant: no checkpoint need hold it.
        self.register_buffer("kernel", gain * kernel / kernel.sum(), persistent=False)

    def _kernels(self, maps: Tensor) -> Tensor:
        return self.kernel.to(maps.dtype).expand(maps.shape[1], 1, *self.kernel.shape)


class Blur(_Filter):
    """The filter alone, `gain` times as strong, over a map with a border of `border` zeros."""

    def __init__(self, border: int, gain: float = 1.0) -> None:
        super().__init__(gain)
        self._border = border

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H + 2 border - 3, W + 2 border - 3]."""
        return conv2d(maps, self._kernels(maps), padding=self._border, groups=maps.shape[1])


class Upsample(_Filter):
    """Zeros between the pixels, then the filter, four times as strong for them; beyond the border there are zeros."""

    def __init__(self) -> None:
        super().__init__(gain=4.0)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W]."""
        return conv_transpose2d(maps, self._kernels(maps), stride=2, padding=1, groups=maps.shape[1])


class Downsample(_Filter):
    """The filter, then every second pixel; beyond the border there are zeros."""

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / 2, W / 2]."""
        return conv2d(maps, self._kernels(maps), stride=2, padding=1, groups=maps.shape[1])
