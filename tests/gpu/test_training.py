"""Trainings on a GPU, by either engine: resumed to the bit, without waiting for the card, by the gradients of a CPU."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from ganservice.recipe import Recipe
from tests.trainings import CHANGES, IMAGES, LABELS_OF_IMAGES, different, recipe, run
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint, snapshot
from workers.gan.data.examples import Examples
from workers.gan.precision import allow_tensor_float, whole_fp32
from workers.gan.trainer import Trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
# Images after which all parts of a step have been recorded, those with lazy penalties too.
RECORDED = 112


@pytest.fixture(autouse=True)
def _as_a_worker() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):
        allow_tensor_float(GPU)
        yield


def make(asked: Recipe, device: torch.device = GPU) -> Trainer:
    return Trainer(asked, Examples(IMAGES, LABELS_OF_IMAGES), seed=3, device=device)


@pytest.mark.parametrize("engine", ["eager", "graph"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_resumed_training_is_bit_for_bit_one_that_was_never_interrupted(changes: dict[str, Any], engine: str) -> None:
    asked = recipe(**changes, engine=engine)
    uninterrupted, first, resumed = make(asked), make(asked), make(asked)
    run(uninterrupted, RECORDED)
    before = run(first, RECORDED // 2)
    resumed.load_state_dict(decode_checkpoint(encode_checkpoint(snapshot(first.state_dict()), before))[0])
    run(resumed, RECORDED)
    assert uninterrupted.engine_trouble is None
    assert different(resumed.state_dict(), uninterrupted.state_dict()) == []


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_graphs_train_as_eager_steps_do(changes: dict[str, Any]) -> None:
    """But for the last digits of a learning rate and of an average's share that lie on the card."""
    eager, graphs = (make(recipe(**changes, engine=engine)) for engine in ("eager", "graph"))
    run(eager, 48), run(graphs, 48)
    assert graphs.engine_choice.engine == "graph"
    assert graphs.engine_trouble is None
    for name, weight in eager.generator.named_parameters():
        torch.testing.assert_close(graphs.generator.get_parameter(name), weight, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("engine", ["eager", "graph"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_no_step_waits_for_the_card(changes: dict[str, Any], engine: str) -> None:
    trainer = make(recipe(**changes, engine=engine))
    run(trainer, RECORDED)
    with waits_as_errors():
        for _ in range(4):
            trainer.step()


def test_a_recording_that_is_broken_off_keeps_no_memory() -> None:
    before = reserved()
    trainer = make(recipe(engine="graph"))
    trainer.discriminator.register_forward_pre_hook(lambda _, images: (images[0] + 0 * images[0].mean().item(),))
    run(trainer, 64)
    assert trainer.engine_trouble is not None
    del trainer
    assert reserved() <= before


def reserved() -> int:
    """The memory, bytes, that is held once all that nobody needs is given back."""
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 # which are kept for each stream
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved()


def test_a_step_that_asks_the_card_is_trained_operation_by_operation() -> None:
    """A recording that is broken off leaves the draws as they were."""
    graphs, eager = (make(recipe(engine=engine)) for engine in ("graph", "eager"))
    graphs.discriminator.register_forward_pre_hook(lambda _, images: (images[0] + 0 * images[0].mean().item(),))
    run(graphs, 64), run(eager, 64)
    assert graphs.engine_trouble is not None
    assert "cannot be recorded" in graphs.engine_trouble
    for name, weight in eager.generator.named_parameters():
        torch.testing.assert_close(graphs.generator.get_parameter(name), weight, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_the_networks_have_the_gradients_of_a_cpu(changes: dict[str, Any]) -> None:
    """Of the same weights, latents and labels; a card draws other numbers than a CPU."""
    asked = recipe(**changes, precision="fp32") if "precision" not in changes else recipe(**changes)
    on_cpu, on_gpu = make(asked, CPU), make(asked)
    on_gpu.generator.load_state_dict(on_cpu.generator.state_dict())
    on_gpu.discriminator.load_state_dict(on_cpu.discriminator.state_dict())
    latents = torch.randn(8, asked.latent_size)
    labels = (torch.arange(8) % 3,) if asked.conditioning else ()
    # Noise and dropout are drawn on the device.
    on_cpu.generator.eval(), on_gpu.generator.eval(), on_cpu.discriminator.eval(), on_gpu.discriminator.eval()
    with whole_fp32():
        expected, found = (gradients(trainer, latents, labels) for trainer in (on_cpu, on_gpu))
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name].cpu(), gradient, rtol=1e-3, atol=1e-3 * scale + 1e-7)


def gradients(trainer: Trainer, latents: Tensor, labels: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Of the mean logit, by both networks' weights."""
    device = next(trainer.generator.parameters()).device
    on_device = tuple(each.to(device) for each in labels)
    trainer.discriminator(trainer.generator(latents.to(device), *on_device), *on_device).mean().backward()
    both = {"g": trainer.generator, "d": trainer.discriminator}
    return {
        f"{key}.{name}": weight.grad
        for key, network in both.items()
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }


@contextmanager
def waits_as_errors() -> Iterator[None]:
    """Have torch raise where the host would wait for the card."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Synchronization debug mode")  # is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
