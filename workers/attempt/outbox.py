"""Outbox: what an attempt has to say, kept until a beat has carried it to the broker. Safe to share between threads."""

import threading
from dataclasses import dataclass
from typing import Any

from ganservice.broker import BOUNDS
from ganservice.model import cut
from ganservice.queue import NewEvent

# Of one beat: what does not fit waits for the next, so that a noisy attempt stays cheap for the broker.
MAX_LOG_LINES, MAX_EVENTS = BOUNDS["logs_of_a_beat"], BOUNDS["events_of_a_beat"]
MAX_WAITING_LOG_LINES = 5_000


@dataclass(frozen=True)
class Mail:
    """The mail that one beat carries."""

    fields: dict[str, Any]
    events: list[NewEvent]
    logs: list[str]
    log_number: int  # of all lines ever logged, the one after the last in `logs`


class Outbox:
    """What the next heartbeats carry: the newest value of each field, events, and the newest log lines."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fields: dict[str, Any] = {}
        self._events: list[NewEvent] = []
        self._logs: list[str] = []
        self._first_line = 0  # sent, or dropped because too many waited

    @property
    def has_more(self) -> bool:
        """Whether a line or an event waits."""
        return bool(self._logs or self._events)

    @property
    def overflows(self) -> bool:
        """Whether more waits than one beat carries."""
        return len(self._logs) > MAX_LOG_LINES or len(self._events) > MAX_EVENTS

    def put(self, **fields: Any) -> None:
        """Set fields, in place of values that were not yet sent."""
        with self._lock:
            self._fields |= fields

    def add_event(self, event: NewEvent) -> None:
        """Add an event."""
        with self._lock:
            self._events.append(event)

    def add_log(self, line: str) -> None:
        """Add a line; the oldest is dropped if too many wait."""
        with self._lock:
            self._logs.append(cut(line))
            self._drop_logs(len(self._logs) - MAX_WAITING_LOG_LINES)

    def look(self) -> Mail:
        """Return the mail for the next beat; it stays here until it is known to have arrived."""
        with self._lock:
            logs = self._logs[:MAX_LOG_LINES]
            return Mail(dict(self._fields), self._events[:MAX_EVENTS], logs, self._first_line + len(logs))

    def remove(self, mail: Mail) -> None:
        """Forget what has arrived; what came meanwhile stays."""
        with self._lock:
            self._fields = {name: value for name, value in self._fields.items() if value is not mail.fields.get(name)}
            del self._events[: len(mail.events)]
            self._drop_logs(mail.log_number - self._first_line)

    def _drop_logs(self, count: int) -> None:
        count = max(0, count)
        del self._logs[:count]
        self._first_line += count
