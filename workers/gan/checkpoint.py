"""Checkpoints as bytes: written with torch.save, read with `weights_only=True`, never as a pickle of objects."""

import io
import itertools
import pickletools
import zipfile
from typing import IO, Any

import torch
from torch import Tensor

from ganservice.errors import DigestMismatch, FormatTooNew
from ganservice.job import Progress
from ganservice.model import Count, Model, SeenImages
from ganservice.recipe import Precision

# What a state that is not of these networks, or of no trainer at all, leads to where it is loaded.
MISFITS = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError)
# What Adam keeps of each of the weights: how many steps it has taken, and the two moments.
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
# Raised with each change that an older version would misread. What tells it stays the first entry of the file.
FORMAT = 1


def snapshot(state: Any) -> Any:
    """A copy of a tree of tensors and plain values on the CPU, which later steps leave alone."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list):
        return [snapshot(value) for value in state]
    return state


def encode_checkpoint(trainer: dict[str, Any], history: list[Progress]) -> bytes:
    """A trainer's state and the progress so far, as one file."""
    buffer = io.BytesIO()
    rows = [progress.model_dump(mode="json") for progress in history]
    torch.save({"format": FORMAT, "trainer": trainer, "history": rows}, buffer)
    return buffer.getvalue()


def decode_checkpoint(data: bytes) -> tuple[dict[str, Any], list[Progress]]:
    """The trainer's state and the progress so far.

    Raises:
        DigestMismatch: `data` is no checkpoint, or unpacks to more than it is.
        FormatTooNew: a later version wrote it; of the rest of it nothing was looked at.
    """
    try:
        check_packed_nothing(io.BytesIO(data))
        found = _format_of(data)
        if found > FORMAT:
            raise FormatTooNew(
                f"the checkpoint has format {found}, this version of ganservice reads up to format {FORMAT}; "
                "upgrade ganservice here, or start a new job"
            )
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return _checked(checkpoint["trainer"]), [
            Progress.model_validate(row, strict=False) for row in checkpoint["history"]
        ]
    except FormatTooNew:
        raise
    except Exception as error:  # a damaged archive raises whatever its damage leads to
        raise DigestMismatch(f"the checkpoint cannot be read: {type(error).__name__}") from error


class _Plain(Model):
    """What of a trainer's state is no tensor."""

    images_seen: SeenImages = 0
    steps: Count = 0
    precision: Precision | None = None


def _checked(trainer: Any) -> dict[str, Any]:
    """The state of a trainer, by name. Raises TypeError, or ValueError where a plain value is out of bounds."""
    if not isinstance(trainer, dict) or not all(isinstance(name, str) for name in trainer):
        raise TypeError("expected a state by names")
    _Plain(**{name: trainer[name] for name in _Plain.model_fields if name in trainer})
    return trainer


def check_moments(adam: torch.optim.Adam) -> None:
    """Raise ValueError where what an optimiser was given as its moments is not of the weights that it moves."""
    for weights in (weights for group in adam.param_groups for weights in group["params"]):
        for name, value in adam.state.get(weights, {}).items():
            shape = torch.Size() if name == "step" else weights.shape
            if name not in MOMENTS or not isinstance(value, Tensor) or value.shape != shape:
                raise ValueError(f"{name} is not of weights {list(weights.shape)}")
        if adam.state.get(weights) and set(adam.state[weights]) != MOMENTS:
            raise ValueError(f"expected {', '.join(sorted(MOMENTS))} of each of the weights")


def check_packed_nothing(file: IO[bytes]) -> None:
    """Raise ValueError where an archive is packed: torch packs none, and a few bytes of one may become any number."""
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("found packed entries, expected none")
        if (announced := sum(entry.file_size for entry in archive.infolist())) > size:
            raise ValueError(f"its entries announce {announced:,} bytes, the file has {size:,}")


def _format_of(data: bytes) -> int:
    """The format of a checkpoint, which stands first in it, read without making any object of it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        operations = itertools.islice(pickletools.genops(archive.read(name)), 7)
        head = [(operation.name, value) for operation, value, _ in operations]
    if ("BINUNICODE", "format") not in head:
        raise ValueError("expected a format before all else")
    return next(int(str(value)) for name, value in head if name.startswith("BININT"))
