"""Which processes are workers of gangs, by the titles that Ray gives them."""

from collections.abc import Iterable

import psutil

# What a worker that has a place of a gang does. Another one is warm: it waits in `get_ready`, or starts.
METHODS = ("take", "run", "wait_for_end")


def all_workers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those with a place of a gang, and warm ones."""
    return [process for process in processes if "ray::Worker" in _title(process)]


def gang_workers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that have a place of a gang."""
    return [process for process in processes if any(f"ray::Worker.{each}" in _title(process) for each in METHODS)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
