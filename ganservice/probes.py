"""Probes: whether a service is there and works, asked in the one way that every part of ganservice relies on."""

import socket
import threading
import time

from ganservice.errors import GanServiceError
from ganservice.objects import ObjectStore
from ganservice.settings import Settings, process_name

EVERY_S = 10.0
# An answer that takes longer is none.
PATIENCE_S = 15.0


def check_port(address: str) -> None:
    """Raise OSError unless something listens at host:port; more than that only Ray itself could ask of Ray."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def check_store(objects: ObjectStore) -> None:
    """Raise a GanServiceError unless an object can be written, read and deleted: only all three mean that it works."""
    key = f"health/{process_name()}"
    objects.put(key, b"probe")
    objects.get(key)
    objects.delete(key)


class StoreProbe:
    """Asks the store now and then, beside whoever wants to know. `look` never waits."""

    def __init__(self, settings: Settings) -> None:
        self._objects = ObjectStore(settings)
        self._checked_at = -EVERY_S
        self._asking = threading.Lock()
        self._is_up: bool | None = None
        self._round_trip_s: float | None = None

    def look(self) -> tuple[bool | None, float | None]:
        """Whether the store worked when it was last asked, None before it was, and how long its answer took, in s.

        Asks again, in a thread of its own, if it is time to.
        """
        now = time.monotonic()
        if now - self._checked_at >= EVERY_S and self._asking.acquire(blocking=False):
            self._checked_at = now
            threading.Thread(target=self._ask, name="store probe", daemon=True).start()
        if now - self._checked_at > PATIENCE_S and self._asking.locked():
            return False, None
        return self._is_up, self._round_trip_s

    def _ask(self) -> None:
        started = time.perf_counter()
        try:
            check_store(self._objects)
            self._is_up, self._round_trip_s = True, time.perf_counter() - started
        except GanServiceError:
            self._is_up, self._round_trip_s = False, None
        finally:
            self._asking.release()
