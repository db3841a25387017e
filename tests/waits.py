"""Waits: sees where a host would wait until its device has computed all before, on a CPU as on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# What reads numbers from the device, or gives a tensor whose size depends on them.
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal"}


class Waits(TorchDispatchMode):
    """Notes such operations by their names, in `found`, while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.name()  # type: ignore[attr-defined]
        picks = args[1] if name == "aten::index.Tensor" else ()
        if name in WAITING or any(isinstance(pick, Tensor) and pick.dtype == torch.bool for pick in picks):
            self.found.append(name)
        return func(*args, **(kwargs or {}))
