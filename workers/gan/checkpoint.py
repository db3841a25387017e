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
        DigestMismatch: `data` is no checkpoint.
        FormatTooNew: a later version wrote it; of the rest of it nothing was looked at.
    """
    try:
        found = _format_of(data)
        if found > FORMAT:
            raise FormatTooNew(
                f"the checkpoint has format {found}, this version of ganservice reads up to format {FORMAT}; "
                "upgrade ganservice here, or start a new job"
            )
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return checkpoint["trainer"], [Progress.model_validate(row, strict=False) for row in checkpoint["history"]]
    except FormatTooNew:
        raise
    except Exception as error:  # a damaged archive raises whatever its damage leads to
        raise DigestMismatch(f"the checkpoint cannot be read: {type(error).__name__}") from error


def check_archive(file: IO[bytes], length_bytes: int) -> None:
    """Raise ValueError unless a file of PyTorch's is as torch.save writes it: nothing in it is larger than it looks."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("expected nothing compressed in it")
    if sum(entry.file_size for entry in entries) > length_bytes:
        raise ValueError("expected each entry to have its own bytes")


def _format_of(data: bytes) -> int:
    """The format of a checkpoint, which stands first in it, read without making any object of it."""
    check_archive(io.BytesIO(data), len(data))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        operations = itertools.islice(pickletools.genops(archive.read(name)), 7)
        head = [(operation.name, value) for operation, value, _ in operations]
    if ("BINUNICODE", "format") not in head:
        raise ValueError("expected a format before all else")
    return next(int(str(value)) for name, value in head if name.startswith("BININT"))
