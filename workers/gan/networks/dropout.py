"""Dropout whose masks belong to the images, not to the worker that happens to hold them."""

from torch import Tensor, nn

from workers.gan.randomness import Draws


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with its masks taken from `draws`.

    torch's own takes them from the process: they would change with the number of workers and with a resume.
    """

    def __init__(self, rate: float, draws: Draws) -> None:
        super().__init__()
        self._rate = rate
        self._draws = draws

    def forward(self, values: Tensor) -> Tensor:
        """[B, ...] -> the same shape, with a share `rate` of it zero while training."""
        if not self.training or self._rate == 0:
            return values
        mask = self._draws.uniform(tuple(values.shape)) >= self._rate
        return values * mask / (1 - self._rate)
