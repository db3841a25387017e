"""Checkpoints as bytes: written with torch.save, read with `weights_only=True`, never as a pickle of objects."""

import io
from typing import Any

import torch
from torch import Tensor

from ganservice.errors import DigestMismatch
from ganservice.job import Progress


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
    torch.save({"format": 1, "trainer": trainer, "history": rows}, buffer)
    return buffer.getvalue()


def decode_checkpoint(data: bytes) -> tuple[dict[str, Any], list[Progress]]:
    """The trainer's state and the progress so far. Raises DigestMismatch when `data` is no checkpoint."""
    try:
        checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return checkpoint["trainer"], [Progress.model_validate(row, strict=False) for row in checkpoint["history"]]
    except Exception as error:  # a damaged archive raises whatever its damage leads to
        raise DigestMismatch(f"the checkpoint cannot be read: {type(error).__name__}") from error
