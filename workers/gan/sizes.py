"""How large a spec's networks are, without making them: behind `ganctl submit --dry-run`."""

import torch

from ganservice.spec import TrainSpec
from workers.gan.networks import build_networks, count_parameters, is_ours
from workers.gan.networks.layers import freeze
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup


def network_sizes(spec: TrainSpec) -> dict[str, int]:
    """Parameters of both networks, and bytes of a checkpoint. Raises NetworkInvalid where D could learn nothing."""
    draws = Draws(spec.seed, torch.device("cpu"), WorkerGroup())
    # On "meta" no weights are drawn; what others wrote may look at them.
    ours = is_ours(spec.recipe.generator) and is_ours(spec.recipe.discriminator)
    with torch.device("meta" if ours else "cpu"):
        generator, discriminator = build_networks(spec.recipe, spec.seed, draws)
    freeze(discriminator, spec.recipe.freeze_d)
    g, d = count_parameters(generator), count_parameters(discriminator)
    buffers = sum(buffer.numel() for network in (generator, generator, discriminator) for buffer in network.buffers())
    return {
        "parameters_g": g,
        "parameters_d": d,
        # fp32 weights of G, D and the sampling copy of G, and Adam's two moments for G and D.
        "checkpoint_bytes": 4 * (g + d + g + 2 * (g + d) + buffers),
    }
