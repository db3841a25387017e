"""A style generator as others use it, without the rest of this project: with psi among its inputs, and in halves."""

from torch import Tensor, nn

from workers.gan.networks.stylegan2 import StyleGenerator


class Truncated(nn.Module):
    """A style generator that is given psi and tells w."""

    def __init__(self, generator: StyleGenerator) -> None:
        super().__init__()
        self._generator = generator

    def forward(self, latents: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """[N, latent_size], [N] -> images [N, C, H, W], w [N, w_size]."""
        return self._draw(latents, None, psi)

    def _draw(self, latents: Tensor, labels: Tensor | None, psi: Tensor) -> tuple[Tensor, Tensor]:
        styles = self._generator.styles(latents, labels, psi)
        return self._generator.draw(styles), styles


class TruncatedOfClass(Truncated):
    """The same of one that is given labels too."""

    def forward(self, latents: Tensor, labels: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override] # the exporter takes inputs by their places
        """[N, latent_size], int64 [N], [N] -> images [N, C, H, W], w [N, w_size]."""
        return self._draw(latents, labels, psi)


class Synthesis(nn.Module):
    """The half of a style generator that draws."""

    def __init__(self, generator: StyleGenerator) -> None:
        super().__init__()
        self._generator = generator

    def forward(self, styles: Tensor) -> Tensor:
        """W [N, w_size] -> images [N, C, H, W]."""
        return self._generator.draw(styles)
