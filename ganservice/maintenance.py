"""Maintenance: what an operator wishes of the whole service: that the queue pause, that a node take no work.

{gan}:pause            hash    by whom, since when (ms) and why; while it is there, no dispatcher is given a job
{gan}:cordons          hash    a `Cordon` as JSON, by the node's id
"""

from collections.abc import Mapping
from typing import Any, Self, cast

from pydantic import ValidationError

from ganservice.broker import ROOT, Broker
from ganservice.model import Model

PAUSE_KEY = ROOT + "pause"
# Digits of a time in ms, with some to spare.
LONGEST_NUMBER = 16


class Pause(Model):
    """Who has paused the queue, when and why."""

    by: str
    at: float  # Unix time, s
    reason: str = ""

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self | None:
        """The pause that a hash tells of, if it is there: one that another hand has damaged is a pause as well."""
        if not fields:
            return None
        at = fields.get("at", "")
        at_ms = int(at) if at.isdecimal() and len(at) <= LONGEST_NUMBER else 0
        return cls(by=fields.get("by", "somebody"), at=at_ms / 1000, reason=fields.get("reason", ""))

    @property
    def text(self) -> str:
        """Who has paused the queue, and why."""
        return f"paused by {self.by}" + (f": {self.reason}" if self.reason else "")


class Cordon(Model):
    """Who wishes that nothing new be placed on a node, since when and why; `drain`: nor that anything stay there."""

    by: str
    at: float = 0.0  # Unix time, s
    reason: str = ""
    drain: bool = False


class Maintenance(Broker):
    """The wishes of operators in one Redis, each by the user of the settings. Safe to share between threads."""

    scripts = ("pause", "resume", "cordon", "uncordon")

    def pause(self, reason: str = "") -> None:
        """Have the queue give no job to a dispatcher; what runs goes on. Of several pauses the last one counts."""
        self._run("pause", by=self._settings.user, reason=reason)

    def resume(self) -> bool:
        """Have the queue give out jobs again; whether it was paused."""
        return bool(self._run("resume")["was_paused"])

    def cordon(self, node_id: str, reason: str = "", *, drain: bool = False) -> None:
        """Have dispatchers place nothing new on a node and, with `drain`, have its gangs checkpoint and leave it.

        A cordon takes back no drain: `uncordon` does.
        """
        self._run("cordon", node=node_id, by=self._settings.user, reason=reason, drain=drain)

    def uncordon(self, node_id: str) -> bool:
        """Have dispatchers place gangs on a node again; whether it was cordoned."""
        return bool(self._run("uncordon", node=node_id)["was_cordoned"])

    def cordons(self) -> dict[str, Cordon]:
        """The nodes that are to take nothing new, by id."""
        with self._translated():
            entries = cast(dict[str, str], self._redis.hgetall(ROOT + "cordons"))
        return {node_id: _cordon(text) for node_id, text in entries.items()}


def _cordon(text: Any) -> Cordon:
    """What an entry says; one that another hand has damaged cordons its node as well."""
    try:
        return Cordon.model_validate_json(text)
    except ValidationError:
        return Cordon(by="somebody")
