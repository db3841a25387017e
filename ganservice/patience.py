"""Patience: how whoever can wait lives through an outage, in pauses that grow and are never the same for two."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

from ganservice.errors import Outage

Result = TypeVar("Result")
T = TypeVar("T")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Patience(Protocol):
    """A way of calling that lives through outages."""

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Call until no outage is in the way, and return what the call does."""


def pauses(first_s: float = FIRST_PAUSE_S, longest_s: float = LONGEST_PAUSE_S) -> Iterator[float]:
    """Pauses without end, in s, each about twice the one before; at random between half and all of that, so that a
    server that is back is not asked by all at once."""
    pause_s = first_s
    while True:
        yield pause_s * random.uniform(0.5, 1.0)  # no secret
        pause_s = min(longest_s, 2 * pause_s)


def wait_out(
    call: Callable[[], Result],
    limit_s: float,
    tell: Callable[[Outage], None],
    leaves_after: Callable[[float], bool],
) -> Result:
    """Call until no outage is in the way, for `limit_s` at most, and return what the call does.

    `tell` hears of each outage. `leaves_after` sleeps for so many seconds, and is true when it is time to give up.

    Raises:
        Outage: it lasts longer, or it was time to give up.
    """
    give_up_at = time.monotonic() + limit_s
    for pause_s in pauses():
        try:
            return call()
        except Outage as outage:
            tell(outage)
            if time.monotonic() + pause_s > give_up_at or leaves_after(pause_s):
                raise
    raise AssertionError("pauses have no end")


def patient(server: T, patience: Patience) -> T:
    """The server, each of whose methods is called with patience: nobody who calls one can forget it."""
    return cast(T, _Patient(server, patience))


class _Patient:
    """Stands in front of a server that is only called: its methods, nothing else."""

    def __init__(self, server: object, patience: Patience) -> None:
        self._server = server
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._server, name)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._patience(lambda: method(*arguments, **named))

        return call
