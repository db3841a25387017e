"""What G and D minimise, on logits: the sigmoid is inside the loss, where it is numerically safe."""

import torch
from torch import Tensor
from torch.nn import functional

from ganservice import recipe
from workers.gan.randomness import Draws


class NonSaturating:
    """The non-saturating loss of Goodfellow et al. (2014), section 3, with label smoothing.

    D minimises BCE(D(x), real_label) + BCE(D(G(z)), fake_label); G minimises -log D(G(z)).
    """

    def __init__(self, asked: recipe.NonSaturating, draws: Draws) -> None:
        self._asked = asked
        self._draws = draws

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Logits [B], [B] -> scalar."""
        real = self._bce(real_logits, self._asked.real_label)
        fake = self._bce(fake_logits, self._asked.fake_label)
        return real + fake

    def generator(self, fake_logits: Tensor) -> Tensor:
        """Logits [B] -> scalar."""
        return functional.softplus(-fake_logits.float()).mean()

    def _bce(self, logits: Tensor, label: recipe.Label) -> Tensor:
        logits = logits.float()
        if isinstance(label, float):
            targets = torch.full_like(logits, label)
        else:
            low, high = label
            targets = low + (high - low) * self._draws.uniform(tuple(logits.shape))
        return functional.binary_cross_entropy_with_logits(logits, targets)
