"""Calls side by side: a few at once, the others in turn, and none goes on for long once one has failed."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from ganservice.errors import GanServiceError

# Enough to keep a fast store busy, few enough for one client's connections.
AT_ONCE = 4


class Stopped(GanServiceError):
    """Another call has failed, or the user wants no more of them."""


def side_by_side(calls: Iterable[Callable[[Callable[[], None]], object]], at_once: int = AT_ONCE) -> None:
    """Make calls, `at_once` of them at a time. Each is given a function to call every now and then, which raises
    Stopped once another call has failed. Raises what the first that failed has raised."""
    failures = list[BaseException]()
    is_over = threading.Event()

    def check() -> None:
        if is_over.is_set():
            raise Stopped

    def make(call: Callable[[Callable[[], None]], object]) -> None:
        check()  # its thread is often the one of the call that has just failed
        try:
            call(check)
        except BaseException as error:
            failures.append(error)
            is_over.set()
            raise

    with ThreadPoolExecutor(at_once) as pool:
        made = [pool.submit(make, call) for call in calls]
        try:
            wait(made, return_when=FIRST_EXCEPTION)
        finally:
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)
    if failures:
        raise failures[0]
