"""The control plane of ganservice: it knows jobs and never tensors. For programs and notebooks: `Client` and `load`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganservice.bundle import load as load
    from ganservice.client import Client as Client
    from ganservice.client import JobHandle as JobHandle

# What the library offers, by the module that has it, which loads when it is asked for: every command imports this.
_MODULES = {"Client": "ganservice.client", "JobHandle": "ganservice.client", "load": "ganservice.bundle"}
__all__ = ["Client", "JobHandle", "load"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
