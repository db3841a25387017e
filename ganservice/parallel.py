"""Calls side by side: a few at once, the others in turn, and none goes on for long once one has failed."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from ganservice.errors import GanServiceError

# Enough to keep a fast store busy, few enough for one client's connections.
AT_ONCE = 4


class Stopped(GanServiceError):
    """Another call has failed, or the user wants no more of them."""


def side_by_side(calls: Iterable[Callable[[Callable[[], None]], object]], at_once: int = AT_ONCE) -> None:
    """Make calls, `at_once` of them at a time. Each is given a function to call every now and then, which raises
    Stopped once another call has failed. Raises what the first that failed has raised."""
    failed = threading.Event()

    def check() -> None:
        if failed.is_set():
            raise Stopped

    with ThreadPoolExecutor(at_once) as pool:
        made = [pool.submit(call, check) for call in calls]
        try:
            for future in as_completed(made):
                future.result()
        except BaseException:
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
