"""The optimiser of each network: torch's own Adam to the bit, without torch's compiler."""

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganservice.recipe import Adam
from workers.gan.optimisers import UncompiledAdam, build_adam

Build = Callable[[nn.Module], torch.optim.Adam]
# What no step takes: compilers, exporters, and what draws curves or reads tables.
LATER = {"torch._dynamo", "torch._inductor", "torch.onnx", "onnx", "onnxscript", "onnxruntime", "matplotlib", "pyarrow"}
FIRST_STEPS = """import importlib, sys
from workers.dispatch.worker import Worker
for module in Worker.needed:
    importlib.import_module(module)
import torch
from tests.trainings import CHANGES, IMAGES, LABELS_OF_IMAGES, recipe, run
from workers.gan.checkpoint import encode_checkpoint, snapshot
from workers.gan.data.examples import Examples
from workers.gan.trainer import Trainer
for changes in CHANGES.values():
    trainer = Trainer(recipe(**changes), Examples(IMAGES, LABELS_OF_IMAGES), seed=3, device=torch.device("cpu"))
    encode_checkpoint(snapshot(trainer.state_dict()), run(trainer))
print(*sys.modules)"""


def theirs(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), 0.1, fused=True)


def ours(network: nn.Module) -> torch.optim.Adam:
    return UncompiledAdam(network.parameters(), 0.1, fused=True)


def trained(before: Build, after: Build) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and moments of a network that one optimiser trains, and another one from its state on."""
    torch.manual_seed(0)
    network, inputs = nn.Linear(5, 3), torch.randn(4, 5)
    state: dict[str, Any] | None = None
    for build in (before, after):
        adam = build(network)
        if state:
            adam.load_state_dict(state)
        for _ in range(3):
            adam.zero_grad(set_to_none=True)
            network(inputs).square().sum().backward()
            adam.step()
        state = adam.state_dict()
    assert state
    return network.state_dict(), state


@pytest.mark.parametrize(("before", "after"), [(ours, ours), (ours, theirs), (theirs, ours)])
def test_it_takes_the_steps_of_torchs_adam_and_either_goes_on_from_the_other(before: Build, after: Build) -> None:
    torch.testing.assert_close(trained(before, after), trained(theirs, theirs), rtol=0, atol=0)


def test_its_steps_track_no_gradients_and_hooks_are_called() -> None:
    network, called = nn.Linear(5, 3), list[str]()
    adam = ours(network)
    adam.register_step_post_hook(lambda *_: called.append("after"))
    network(torch.ones(1, 5)).sum().backward()
    adam.step()
    assert called == ["after"]
    assert all(weight.is_leaf and weight.grad_fn is None for weight in network.parameters())


def test_no_first_step_or_checkpoint_waits_for_what_comes_later() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_STEPS], capture_output=True, text=True, check=True)
    assert not LATER & set(done.stdout.split())


def test_steps_before_a_recording_are_warned_of_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a GPU torch does, of each optimiser once."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda: SimpleNamespace(is_capturing=lambda: False))
    network = nn.Linear(2, 2)
    network(torch.ones(1, 2)).sum().backward()
    build_adam(network, Adam(), is_recorded=True).step()
