"""The control plane of ganservice: it knows jobs and never tensors. For programs and notebooks: `Client` and `load`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganservice.bundle import load
    from ganservice.client import Client
    from ganservice.errors import GanServiceError
    from ganservice.job_end import JobCancelled, JobFailed, JobReserved, NotInTime, NotSucceeded, SweepNotInTime
    from ganservice.job_handle import JobHandle
    from ganservice.sweep_handle import SweepHandle

__all__ = [
    "Client", "GanServiceError", "JobCancelled", "JobFailed", "JobHandle", "JobReserved", "NotInTime", "NotSucceeded",
    "SweepHandle", "SweepNotInTime", "load",
]  # fmt: skip
# Each loads when it is asked for: every command imports this module.
_MODULES = {
    "Client": "client", "GanServiceError": "errors", "JobHandle": "job_handle", "SweepHandle": "sweep_handle",
    "load": "bundle",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"ganservice.{_MODULES.get(name, 'job_end')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
