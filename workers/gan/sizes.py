"""What can be said of a spec's networks without training them: behind `ganctl submit --dry-run`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from ganservice.code_folder import pack
from ganservice.errors import NetworkInvalid, NotAtHand
from ganservice.recipe import Code, Recipe
from ganservice.spec import TrainSpec
from workers.gan.checkpoint import decode_checkpoint
from workers.gan.networks import build_networks, count_parameters, is_ours
from workers.gan.networks.examination import examine_networks
from workers.gan.networks.layers import freeze
from workers.gan.networks.own import import_code
from workers.gan.randomness import Draws
from workers.gan.transfer import compare
from workers.gan.worker_group import WorkerGroup

CPU = torch.device("cpu")
# How long a user's own networks are tried, s; and how soon once more, where his code catches that it is to end.
LIMIT_S, AGAIN_S = 120.0, 1.0


def network_sizes(spec: TrainSpec) -> dict[str, int]:
    """Parameters of both networks, and bytes of a checkpoint.

    Those that others wrote are examined as before a training, those of the user's own run from his folder.

    Raises:
        NetworkInvalid: they do not do what networks must, or D would learn nothing.
        NotAtHand: their folder is not here.
    """
    generator, discriminator = _build(spec)
    freeze(discriminator, spec.recipe.freeze_d)
    g, d = count_parameters(generator), count_parameters(discriminator)
    learned = sum(
        weight.numel() for each in (generator, discriminator) for weight in each.parameters() if weight.requires_grad
    )
    buffers = sum(buffer.numel() for network in (generator, generator, discriminator) for buffer in network.buffers())
    return {
        "parameters_g": g,
        "parameters_d": d,
        # fp32 weights of G, D and the sampling copy of G, and Adam's two moments of those that learn.
        "checkpoint_bytes": 4 * (g + d + g + 2 * learned + buffers),
    }


def foretell_transfer(spec: TrainSpec, checkpoint: bytes) -> tuple[str, ...]:
    """What the networks of a spec would take of a checkpoint, in lines.

    Raises:
        DataInvalid: nothing.
        DigestMismatch: it is no checkpoint.
        NetworkInvalid, NotAtHand: as `network_sizes`.
    """
    state, _ = decode_checkpoint(checkpoint)
    return compare(*_build(spec), state).lines


def _build(spec: TrainSpec) -> tuple[nn.Module, nn.Module]:
    """G and D, once they are examined; on "meta", without weights, unless others wrote them, who may look at these."""
    if spec.recipe.code is None:
        return _built(spec, spec.recipe)
    with _in_time():
        return _built(spec, _with_own_code(spec.recipe))


def _built(spec: TrainSpec, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    ours = is_ours(recipe.generator) and is_ours(recipe.discriminator)
    examine_networks(recipe, spec.seed, CPU, spec.resources.micro_batch_size)
    with torch.device("meta" if ours else CPU):
        return build_networks(recipe, spec.seed, Draws(spec.seed, CPU, WorkerGroup()))


@contextmanager
def _in_time() -> Iterator[None]:
    """Have what others wrote end within `LIMIT_S`, in the main thread, where signals come. Raises NetworkInvalid."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise NetworkInvalid(
            f"recipe.code: was tried for {LIMIT_S:g} s and did not end; expected an import and a step on a CPU within "
            "that: look for what waits or loops, or submit without --dry-run what is only large"
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _with_own_code(recipe: Recipe) -> Recipe:
    code = recipe.code
    if code is None:
        return recipe
    folder = Path(code.folder).resolve()
    digest = pack(folder).digest if folder.is_dir() or not code.digest else None
    if digest is None or code.digest not in (None, digest):
        raise NotAtHand(f"recipe.code: {code.folder} with the sha256 {code.digest} is not here")
    import_code(folder, digest)
    return recipe.model_copy(update={"code": Code(folder=code.folder, digest=digest)})
