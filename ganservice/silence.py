"""Silence: who has not moved for too long, by the steady clock of who watches. Pure.

Redis' clock may step, and a server that takes over may have another: a deadline on it would take everything away from
everybody at once, or nothing from the dead for an hour.
"""

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Mark = TypeVar("Mark", bound=Hashable)


class SilenceWatch(Generic[Mark]):
    """Remembers since when the mark of each name has been the same."""

    def __init__(self, limit_s: float) -> None:
        """`limit_s` is how long a mark may stay as it is."""
        self._limit_s = limit_s
        self._since: dict[str, tuple[Mark, float]] = {}

    def look(self, marks: Mapping[str, Mark], now_s: float) -> dict[str, Mark]:
        """Return those of `marks`, as they are now, that have not changed for the limit; `now_s` is a steady time."""
        before = self._since
        self._since = {
            name: before[name] if name in before and before[name][0] == mark else (mark, now_s)
            for name, mark in marks.items()
        }
        return {name: mark for name, (mark, since_s) in self._since.items() if now_s - since_s >= self._limit_s}
