"""StoreUsage: how many bytes of each kind the store holds, counted now and then beside whoever wants to know."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from ganservice.errors import GanServiceError
from ganservice.objects import ObjectStore, StoredObject
from ganservice.settings import Settings
from ganservice.store_kinds import Amount, Kind, amounts

# A bucket of more objects, a thousand requests, is not counted to its end.
MAX_OBJECTS = 1_000_000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usage:
    """What the store held when it was counted."""

    amounts: dict[Kind, Amount]
    age_s: float


class StoreUsage:
    """Lists the bucket in a thread of its own, at most so often as the settings say. `look` never waits."""

    def __init__(self, settings: Settings) -> None:
        self._objects = ObjectStore(settings)
        self._every_s = settings.store_usage_every_s
        self._counted_at = 0.0  # when the last count ended well, monotonic
        self._asked_at: float | None = None
        self._counting = threading.Lock()
        self._last: dict[Kind, Amount] | None = None

    def look(self) -> Usage | None:
        """What the last count found; None before the first has ended. Counts again, if it is time to."""
        now = time.monotonic()
        is_due = self._asked_at is None or now - self._asked_at >= self._every_s
        if is_due and self._counting.acquire(blocking=False):
            self._asked_at = now
            threading.Thread(target=self._count, name="store usage", daemon=True).start()
        last, counted_at = self._last, self._counted_at
        return None if last is None else Usage(last, now - counted_at)

    def _count(self) -> None:
        try:
            found = amounts(_bounded(self._objects.each_object("")))
            self._counted_at, self._last = time.monotonic(), found
        except GanServiceError as error:
            log.warning("the store is not counted: %s", error)
        finally:
            self._counting.release()


def _bounded(entries: Iterable[StoredObject]) -> Iterator[StoredObject]:
    """Yield the objects. Raises GanServiceError after MAX_OBJECTS: half a count would mislead."""
    remaining = iter(entries)
    yield from islice(remaining, MAX_OBJECTS)
    if next(remaining, None) is not None:
        raise GanServiceError(f"it holds more than {MAX_OBJECTS:,} objects")
