"""Tensors that an evaluation once computed and the store has kept. No digest pins them, so their shapes must fit."""

from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ganservice.errors import DataInvalid

# The kind of its numbers, and its sizes; None where any size will do.
Form = tuple[torch.dtype, tuple[int | None, ...]]


def read_tensors(data: bytes, forms: Mapping[str, Form]) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file: those of `forms` alone, all of finite numbers. Raises DataInvalid."""
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataInvalid("holds no tensors that can be read") from error
    if tensors.keys() != forms.keys():
        raise DataInvalid(f"holds other tensors than {', '.join(sorted(forms))}")
    for name, (dtype, sizes) in forms.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or not _fits(tensor.shape, sizes):
            raise DataInvalid(f"{name}: is not {dtype} of the expected sizes")
        if not torch.isfinite(tensor).all():
            raise DataInvalid(f"{name}: holds numbers that are not finite")
    return tensors


def _fits(shape: torch.Size, sizes: tuple[int | None, ...]) -> bool:
    return len(shape) == len(sizes) and all(size in (None, found) for found, size in zip(shape, sizes, strict=True))
