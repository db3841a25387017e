"""The generator that an evaluation judges: loaded from its checkpoint, and what is published of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactMissing, DataMissing, DigestMismatch
from ganservice.job import Progress
from ganservice.job_keys import attempt_of
from ganservice.mistakes import brief
from ganservice.recipe import Precision
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from workers.attempt.publication import BundleContents
from workers.gan.checkpoint import MISFITS, decode_checkpoint
from workers.gan.data.examples import Examples
from workers.gan.networks import build_generator
from workers.gan.sample_grid import sample_grid


@dataclass(frozen=True, eq=False)
class Candidate:
    """A generator in evaluation mode, with the progress of its training and the precision this computed in.

    Weights that a user sent back come without either, and so are never published.
    """

    subject: Subject
    generator: nn.Module
    device: torch.device  # of the generator
    history: list[Progress]
    precision: Precision | None

    def bundle(self, training: TrainSpec, learned: Examples, held_out: Examples | None) -> BundleContents:
        """Return what is published of it, with pictures of the inputs that its training drew."""
        grid = sample_grid(training, learned, held_out)
        with torch.no_grad():
            pictures = self.generator(*(values.to(self.device) for values in grid.inputs)).cpu()
        return BundleContents(
            job_id=self.subject.job_id,
            attempt=attempt_of(self.subject.checkpoint),
            resumed_images=None,
            spec=training,
            history=self.history,
            classes=learned.classes,
            class_counts=tuple(learned.class_counts.tolist()),
            generator=self.generator,
            precision=self.precision,
            grid=grid.png(pictures),
        )


def load_candidate(store: ArtifactStore, spec: EvaluateSpec, device: torch.device) -> Candidate:
    """Load the generator that an evaluation is about, onto a device.

    Raises:
        DataMissing: its checkpoint is gone.
        DigestMismatch: its weights, or its checkpoint, are not what the key says, or do not fit the recipe.
        FormatTooNew: a later version wrote its checkpoint.
    """
    subject, generator = spec.subject, build_generator(spec.recipe)
    try:
        data = store.get_checkpoint(subject.checkpoint)
    except ArtifactMissing as error:
        raise DataMissing(
            f"{subject.job_id} no longer keeps its checkpoint at {subject.images:,} images; evaluate another: "
            f"`ganctl show {subject.job_id}` lists them"
        ) from error
    history: list[Progress] = []
    precision: Precision | None = None
    read: Callable[[], dict[str, Tensor]]
    if subject.checkpoint.endswith(".safetensors"):
        read = partial(safetensors.torch.load, data)
    else:
        checkpoint, history = decode_checkpoint(data)
        read, precision = partial(checkpoint.__getitem__, "ema"), checkpoint.get("precision")
    try:
        generator.load_state_dict(read())
    except (SafetensorError, *MISFITS) as error:
        reason = brief(str(error))
        raise DigestMismatch(f"{subject.checkpoint}: does not hold the weights of its recipe: {reason}") from error
    generator.to(device).eval().requires_grad_(False)
    return Candidate(subject, generator, device, history, precision)
