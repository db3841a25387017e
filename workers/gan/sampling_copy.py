"""SamplingCopy: the average of G's weights, which draws all samples and is published."""

import torch
from torch import Tensor, nn

from ganservice.recipe import Recipe
from workers.gan.networks import build_generator, move
from workers.gan.networks.batch_norm import NORMS, batch_statistics, has_statistics, renew_statistics
from workers.gan.networks.stylegan2 import StyleGenerator
from workers.gan.randomness import derive_seed, fixed_latents
from workers.gan.real_batches import RealBatches
from workers.gan.resolution import shrink

# Pictures from which the statistics of BatchNorm are taken, so many at a time. Those of ten times as many draw none
# better, and other workers would wait for them.
STATISTICS_IMAGES = 1_000
BATCH_IMAGES = 100


class SamplingCopy:
    """A copy of G whose weights follow those of the G that trains, with BatchNorm statistics of its own.

    The statistics that gather in the G that trains belong to other activations than those of averaged weights, which
    drew worse pictures by them. They are taken from pictures of fixed inputs whenever somebody asks for the network:
    a function of its weights, so that neither a resume nor the number of workers nor who asks changes them.
    """

    def __init__(
        self, generator: nn.Module, recipe: Recipe, seed: int, batches: RealBatches, device: torch.device
    ) -> None:
        """The copy of `generator` as it stands; labels come in the shares that they have in the training set."""
        # Unlike G it knows no other worker, for one may draw while the others wait.
        with torch.random.fork_rng(devices=[]):
            network = build_generator(recipe)
        network.load_state_dict(generator.state_dict())
        self._network = move(network, device).eval().requires_grad_(False)
        self._inputs: tuple[Tensor, ...] = ()
        if has_statistics(self._network) or isinstance(self._network, StyleGenerator):
            self._inputs = _fixed_inputs(recipe, seed, batches, device)
        self._has_own_statistics = False

    @property
    def network(self) -> nn.Module:
        """The copy, in evaluation mode."""
        if self._inputs and not self._has_own_statistics:
            batches = list(zip(*(values.split(BATCH_IMAGES) for values in self._inputs), strict=True))
            renew_statistics(self._network, batches)
            if isinstance(self._network, StyleGenerator):
                self._network.renew_w_mean(batches)
            self._has_own_statistics = True
        return self._network

    @torch.no_grad()
    def glimpse(self, *inputs: Tensor) -> Tensor:
        """Return what it makes of a few inputs, normalised by these alone: for who looks too often for more."""
        self._has_own_statistics = False
        with batch_statistics(self._network):
            samples: Tensor = self._network(*inputs)
        return samples

    @torch.no_grad()
    def follow(self, generator: nn.Module, weight: float | Tensor) -> None:
        """Move the weights by the share `weight` towards those of the G that trains; what else it keeps is copied.

        Whoever has it follow says so by `has_moved`.
        """
        own: list[Tensor] = list(self._network.parameters())
        theirs: list[Tensor] = list(generator.parameters())
        if isinstance(weight, Tensor):
            torch._foreach_lerp_(own, theirs, [weight] * len(own))
        else:
            torch._foreach_lerp_(own, theirs, weight)
        if kept := _kept_by(self._network):
            torch._foreach_copy_(kept, _kept_by(generator))

    def has_moved(self) -> None:
        """Take note that its weights are others than before, by whatever way."""
        self._has_own_statistics = False

    def tensors(self) -> list[Tensor]:
        """All that `follow` changes."""
        return [*self._network.parameters(), *_kept_by(self._network)]

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on with other weights."""
        self._network.load_state_dict(state)
        self.has_moved()


def _fixed_inputs(recipe: Recipe, seed: int, batches: RealBatches, device: torch.device) -> tuple[Tensor, ...]:
    """Latents, or small pictures, of as many pictures as statistics are taken from, and their labels."""
    if task := recipe.super_resolution:
        first = shrink(batches.first_images(STATISTICS_IMAGES), task.factor)
    else:
        first = fixed_latents(derive_seed(seed, "statistics"), STATISTICS_IMAGES, recipe.latent_size).to(device)
    return first, *batches.first_labels(STATISTICS_IMAGES)


def _kept_by(network: nn.Module) -> list[Tensor]:
    """What a network keeps beside its weights, such as the vectors of spectral normalisation, but for BatchNorm's."""
    modules = (module for module in network.modules() if not isinstance(module, NORMS))
    return [buffer for module in modules for buffer in module.buffers(recurse=False)]
