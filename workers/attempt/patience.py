"""Patience: how an attempt waits for store and broker. Each of its calls to either goes through it.

It waits for as long as the settings allow, while the lease holds, and leaves at once for a directive.
"""

import logging
import threading
from collections.abc import Callable
from typing import Self, TypeVar

from ganservice.errors import BrokerOutage, Outage, StoreOutage
from ganservice.job import Directive, EventKind
from ganservice.patience import wait_out
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.interruption import Interruption

log = logging.getLogger(__name__)

Result = TypeVar("Result")
SERVERS = {StoreOutage: "the store", BrokerOutage: "the broker"}


def describe(outage: Outage) -> str:
    """What is waited for, in a few words."""
    return f"{SERVERS.get(type(outage), 'a server')} ({outage.kind.replace('_', ' ')})"


class FollowerPatience:
    """The patience of a worker without a heartbeat: its gang is ended where it is to wait no longer."""

    def __init__(self, limit_s: float, leaving: threading.Event, motion: threading.Event) -> None:
        """`leaving` is set when this process is told to leave. Sets `motion` at each try: it does not stand still."""
        self._limit_s = limit_s
        self._leaving = leaving
        self._motion = motion

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Call until no outage is in the way. Raises an Outage that lasts longer than the limit."""
        return wait_out(call, self._limit_s, self._tell, self._leaving.wait)

    def _tell(self, outage: Outage) -> None:
        log.warning("%s", outage)
        self._motion.set()


class LeaderPatience:
    """The patience of the first worker, which tells what it waits for. Its threads may wait side by side.

    An error that ends its block ends the waits of all threads.
    """

    def __init__(self, limit_s: float, heartbeat: Heartbeat) -> None:
        self._limit_s = limit_s
        self._heartbeat = heartbeat
        self._lock = threading.Lock()
        self._outages: dict[int, Outage] = {}  # that threads wait for now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._heartbeat.hurry.set()

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Call until no outage is in the way.

        Raises:
            LeaseLost: the lease was lost meanwhile.
            Interruption: a directive came meanwhile.
            Outage: it lasts longer than the limit.
        """
        try:
            return wait_out(call, self._limit_s, self._tell, self._heartbeat.hurry.wait)
        except Outage as outage:
            self._heartbeat.check_lease()
            if self._heartbeat.directive is not Directive.CONTINUE:
                raise Interruption(self._heartbeat.directive, self._left_behind(outage)) from outage
            raise
        finally:
            self._over()

    def _tell(self, outage: Outage) -> None:
        with self._lock:
            is_news = type(outage) not in map(type, self._outages.values())
            self._outages[threading.get_ident()] = outage
        if is_news:
            log.warning("waiting: %s", outage)
            if isinstance(outage, StoreOutage):
                self._heartbeat.say(EventKind.STORE_UNREACHABLE, kind=outage.kind, message=str(outage))
        self._heartbeat.waits_for(describe(outage))

    def _over(self) -> None:
        with self._lock:
            if self._outages.pop(threading.get_ident(), None) is None:
                return
            others = list(self._outages.values())
        self._heartbeat.waits_for(describe(others[-1]) if others else None)

    def _left_behind(self, outage: Outage) -> str:
        images = self._heartbeat.stored_images
        stored = "" if images is None else f"; its last stored checkpoint is at {images:,} images"
        return f" while it waited for {describe(outage)}{stored if images else ''}"
