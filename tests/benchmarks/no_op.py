"""A job that does nothing but note when it ran: so is a worker's rate known without its start and end."""

import time
from collections.abc import Callable

_moments: list[float] = []


def no_op() -> None:
    """Take note of the moment."""
    _moments.append(time.perf_counter())


def count() -> int:
    """How many ran in this process."""
    return len(_moments)


def jobs_per_s(jobs: int) -> float:
    """The rate from the first to the last. Raises ValueError unless that many ran, each once."""
    if len(_moments) != jobs:
        raise ValueError(f"{len(_moments)} of {jobs} jobs ran")
    return (jobs - 1) / (_moments[-1] - _moments[0])


def rate_of(act: Callable[[], object], times: int) -> float:
    """How often per second something is done, one after the other."""
    began = time.perf_counter()
    for _ in range(times):
        act()
    return times / (time.perf_counter() - began)
