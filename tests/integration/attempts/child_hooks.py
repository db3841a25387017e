"""What workers of `verify-resume` do first when a test starts them: each in its own process, found by its name."""

import torch

from workers.attempt import publication
from workers.gan.export import ONNX
from workers.gan.trainer import Trainer


def publish_quickly() -> None:
    """Publish without a graph and curves, which take seconds."""
    vars(publication).update(generator_onnx=lambda *_: {ONNX: b"left out"}, curves_png=lambda *_: b"left out")


def forget() -> None:
    """Train by something that no checkpoint holds: the steps that this process has taken."""
    publish_quickly()
    step = Trainer.step
    steps = 0

    def forgetful(self: Trainer) -> None:
        nonlocal steps
        step(self)
        steps += 1
        with torch.no_grad():
            next(self.generator.parameters()).mul_(1 + 1e-4 * steps / (steps + 100))

    setattr(Trainer, "step", forgetful)  # noqa: B010 # mypy takes no assignment to a method
