"""Convolutions from a map of one pixel, or to one, which in training are products of matrices.

That is what they are, and libraries for convolutions are slow at them: on an AMD EPYC such a layer ran at a fifth of
the pace of the others. Drawing and export keep the convolution.
"""

from torch import Tensor, nn


class FromPixel(nn.ConvTranspose2d):
    """A transposed convolution, without a bias, of maps of one pixel: its kernel is the map that it makes of one."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int]) -> None:
        super().__init__(before, after, kernel, bias=False)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[B, C, 1, 1] -> [B, C', H, W]."""
        if not self.training:
            return super().forward(maps, output_size)
        rows, columns = self.kernel_size
        # In the order in which channels_last has weights and maps: nothing is copied.
        matrix = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        values = maps.flatten(1) @ matrix
        return values.view(len(maps), rows, columns, self.out_channels).permute(0, 3, 1, 2)


class ToPixel(nn.Conv2d):
    """A convolution whose kernel is as large as the maps."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int], *, bias: bool) -> None:
        super().__init__(before, after, kernel, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', 1, 1]."""
        if not self.training:
            return super().forward(maps)
        matrix = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        values = nn.functional.linear(maps.permute(0, 2, 3, 1).reshape(len(maps), -1), matrix, self.bias)
        return values[:, :, None, None]
