"""HeldOut: whether D tells what it learned from what it never saw."""

from collections.abc import Callable

from torch import Tensor

from workers.gan.real_batches import RealBatches


class HeldOut:
    """Examples that are never learned, beside those that are."""

    def __init__(self, learned: RealBatches, held_out: RealBatches) -> None:
        self._learned = learned
        self._held_out = held_out

    def gap(self, discriminate: Callable[..., Tensor], images_seen: int) -> float:
        """How far D's logits of some examples that it learned lie above those of others, -1 to 1.

        2 P(learned > held out) - 1, the advantage of who takes a high logit for a sign that a picture was learned
        (Hayes et al. 2019, "LOGAN"): about 0 where the two are alike, 1 where D knows its training set by heart.
        """
        learned, held_out = (discriminate(*of.some(images_seen)) for of in (self._learned, self._held_out))
        differences = learned[:, None] - held_out
        return float((differences > 0).float().mean() - (differences < 0).float().mean())
