"""StoreProbe: whether the object store answers, asked now and then beside whoever wants to know."""

import threading
import time

from ganservice.errors import GanServiceError
from ganservice.objects import ObjectStore
from ganservice.settings import Settings, process_name

EVERY_S = 10.0
# An answer that takes longer is none.
PATIENCE_S = 15.0


class StoreProbe:
    """`look` never waits: what it gives is the newest answer, or None before there is one."""

    def __init__(self, settings: Settings) -> None:
        self._objects = ObjectStore(settings)
        self._asked_at = -EVERY_S
        self._asking = threading.Lock()
        self._is_up: bool | None = None
        self._round_trip_s: float | None = None

    def look(self) -> tuple[bool | None, float | None]:
        """Whether the store answered when it was last asked, and how long that took, s; asks again if it is time."""
        now = time.monotonic()
        if now - self._asked_at >= EVERY_S and self._asking.acquire(blocking=False):
            self._asked_at = now
            threading.Thread(target=self._ask, name="store probe", daemon=True).start()
        if now - self._asked_at > PATIENCE_S and self._asking.locked():
            return False, None
        return self._is_up, self._round_trip_s

    def _ask(self) -> None:
        started, key = time.perf_counter(), f"health/{process_name()}"
        try:
            # All three: a store may list and take while it no longer gives.
            self._objects.put(key, b"probe")
            self._objects.get(key)
            self._objects.delete(key)
            self._is_up, self._round_trip_s = True, time.perf_counter() - started
        except GanServiceError:
            self._is_up, self._round_trip_s = False, None
        finally:
            self._asking.release()
