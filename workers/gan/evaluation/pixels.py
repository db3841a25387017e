"""Pixels: the look at pictures that nobody has trained, which sees layout and brightness and nothing finer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# The most values on a side.
SIDE = 8
AVERAGES = f"averages of blocks, at most {SIDE} x {SIDE}"


class Pixels(nn.Module):
    """Pictures uint8 [B, C, H, W] -> averages of blocks float32 [B, C h w] in [0, 1], h and w at most SIDE; no logits.

    A block's side is that of the picture over SIDE, rounded up; the last blocks are cut where the picture ends.
    """

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, and logits of no class."""
        block = [-(-side // SIDE) for side in pictures.shape[2:]]
        averages = functional.avg_pool2d(pictures.float() / 255, block, ceil_mode=True, count_include_pad=False)
        return averages.flatten(1), torch.zeros(len(pictures), 0, device=pictures.device)
