"""What a spec would do, without doing it: behind `ganctl submit --dry-run`."""

from typing import Any

import torch

from ganservice.spec import TrainSpec
from workers.gan.networks import build_networks, count_parameters
from workers.gan.randomness import Draws
from workers.gan.replicas import Replicas


def plan_training(spec: TrainSpec) -> dict[str, Any]:
    """Sizes of the networks, of a checkpoint and of the run; what would be scheduled."""
    draws = Draws(spec.seed, torch.device("cpu"), Replicas())
    with torch.device("meta"):
        generator, discriminator = build_networks(spec.recipe, spec.seed, draws)
    g, d = count_parameters(generator), count_parameters(discriminator)
    buffers = sum(buffer.numel() for network in (generator, generator, discriminator) for buffer in network.buffers())
    # fp32 weights of G, D and the sampling copy of G, and Adam's two moments for G and D.
    checkpoint_bytes = 4 * (g + d + g + 2 * (g + d) + buffers)
    return {
        "parameters_g": g,
        "parameters_d": d,
        "steps": spec.steps,
        "images": spec.total_images,
        "checkpoint_bytes": checkpoint_bytes,
        "checkpoints": spec.total_images // spec.checkpoints.every_images
        - spec.first_images // spec.checkpoints.every_images,
        "gang": {
            "workers": spec.resources.workers,
            "cpus": spec.resources.cpus,
            "gpus": spec.resources.gpus,
            "images_per_worker_and_step": spec.recipe.batch_size // spec.resources.workers,
        },
    }
