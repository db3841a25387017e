"""Troubles: what goes wrong in a dispatcher's rounds. Each is told once, and none ends the dispatcher."""

import contextlib
import logging
import time
from collections.abc import Iterator

from ganservice.errors import GanServiceError, LeadershipLost, Outage
from ganservice.patience import pauses

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.2
# A dispatcher that comes back later than this would hold up everybody.
LONGEST_PAUSE_S = 5.0


class Troubles:
    """What one dispatcher has told of."""

    def __init__(self) -> None:
        self._told: set[tuple[str, type[Exception]]] = set()
        self._outage: Outage | None = None
        self._since = 0.0
        self._pauses: Iterator[float] = iter(())

    @contextlib.contextmanager
    def contained(self, doing: str, of: str = "") -> Iterator[None]:
        """Go on after any error but an outage, and the loss of the leadership, which are everybody's concern.

        What it is `of` is told with the first error of a kind.
        """
        try:
            yield
        except (Outage, LeadershipLost):
            raise
        except Exception as error:  # one bad job, or one error of Ray's, must not end everybody's turn
            kind = (doing, type(error))
            if kind not in self._told:
                self._told.add(kind)
                log.error(
                    "%s: %s",
                    f"{doing} of {of}" if of else doing,
                    error,
                    exc_info=not isinstance(error, GanServiceError),
                )

    def begin(self, outage: Outage) -> float:
        """An outage has begun, or goes on: how long to wait before the next try, in s."""
        if self._outage is None:
            self._since, self._pauses = time.monotonic(), pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        if self._outage is None or self._outage.kind is not outage.kind:
            log.warning("%s; waiting for it", outage)
        self._outage = outage
        return next(self._pauses)

    def end(self) -> None:
        """No outage is in the way any more."""
        if self._outage is not None:
            log.warning("it is well again after %.0f s", time.monotonic() - self._since)
            self._outage = None
