"""Modules that only change the shape of what flows through them."""

from torch import Tensor, nn


class ToSeed(nn.Module):
    """Latents [B, N] -> a feature map of one pixel, [B, N, 1, 1]."""

    def forward(self, latents: Tensor) -> Tensor:
        """[B, N] -> [B, N, 1, 1]."""
        return latents[:, :, None, None]


class ToLogit(nn.Module):
    """The end of a discriminator."""

    def forward(self, values: Tensor) -> Tensor:
        """[B, 1] or [B, 1, 1, 1] -> [B]."""
        return values.flatten()


class Packed(nn.Module):
    """Shows a discriminator several images at once, as the channels of one (Lin et al. 2018, "PacGAN")."""

    def __init__(self, body: nn.Module, pack: int) -> None:
        super().__init__()
        self.body = body
        self._pack = pack

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, ...] -> logits [B / pack]; neighbours in the batch share one."""
        joined = images.reshape(len(images) // self._pack, -1, *images.shape[2:])
        logits: Tensor = self.body(joined)
        return logits
