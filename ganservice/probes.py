"""Probes: whether a service is there and works, asked in the one way that every part of ganservice relies on.

{gan}:probe:PROCESS    string  what a probe wrote to Redis; 10 s
"""

import contextlib
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from typing import cast

import redis

from ganservice.broker import ROOT, Broker
from ganservice.errors import (
    ArtifactExists,
    DigestMismatch,
    GanServiceError,
    Outage,
    OutageKind,
    StoreOutage,
)
from ganservice.maintenance import PAUSE_KEY, Pause
from ganservice.objects import ObjectStore
from ganservice.settings import Settings, process_name

EVERY_S = 10.0
# An answer that takes longer is none.
PATIENCE_S = 15.0
PROBE_S = 10
# Clocks that differ by more are told: leases are counted by Redis' clock, times are shown by everyone's own.
CLOCK_S = 5.0
ALMOST_FULL = 0.9


def check_port(address: str) -> None:
    """Raise OSError unless something listens at host:port; more than that only Ray itself could ask of Ray."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


class BrokerProbe(Broker):
    """Asks Redis for what the queue needs."""

    def check(self) -> None:
        """Raise BrokerOutage unless Redis takes a write, or knows a user who may only look or ask."""
        with self._translated():
            try:
                self._redis.set(f"{ROOT}probe:{process_name()}", secrets.token_hex(8), ex=PROBE_S)
            except redis.exceptions.NoPermissionError:
                self._redis.exists(ROOT + "users")

    def warnings(self) -> list[str]:
        """What puts jobs at risk in its settings, memory or clock, each with what to do. Raises BrokerOutage."""
        with self._translated():
            about = self._redis.info()
        ahead_s = self.now_s() - time.time()
        found = []
        policy = about.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            found.append(f"forgets jobs when its memory is full ({policy}): set maxmemory-policy noeviction")
        if not about.get("aof_enabled", 1):
            found.append("forgets jobs when it restarts: set appendonly yes")
        limit, used = about.get("maxmemory", 0), about.get("used_memory", 0)
        if limit and used > ALMOST_FULL * limit:
            found.append(f"its memory is {used / limit:.0%} full: raise maxmemory")
        if about.get("rdb_last_bgsave_status", "ok") != "ok":
            found.append("its last snapshot failed: look at its disk")
        if abs(ahead_s) > CLOCK_S:
            where = "ahead of" if ahead_s > 0 else "behind"
            found.append(f"its clock is {abs(ahead_s):.0f} s {where} this machine's: set the clocks")
        with self._translated():
            pause = Pause.read(cast(dict[str, str], self._redis.hgetall(PAUSE_KEY)))
        if pause:
            found.append(f"the queue is {pause.text}: `ganctl resume` ends that")
        return found


def check_store(objects: ObjectStore) -> None:
    """Raise a GanServiceError unless an object can be written, read and deleted: only all three mean that it works."""
    key, data = _probe_key(), secrets.token_bytes(16)
    _put_anew(objects, key, data)
    try:
        found = objects.get(key)
    except DigestMismatch:
        found = b""
    if found != data:
        raise StoreOutage("the store gives back other bytes than it was given", OutageKind.FAILING)
    objects.delete(key)


def store_warnings(objects: ObjectStore) -> list[str]:
    """What of a store that works puts artifacts at risk. Raises StoreOutage."""
    key = _probe_key()
    _put_anew(objects, key, b"first")
    try:
        with contextlib.suppress(ArtifactExists):
            objects.put(key, b"second")
            return ["replaces objects in spite of If-None-Match: take another store, or a newer version of it"]
        return []
    finally:
        objects.delete(key)


def _put_anew(objects: ObjectStore, key: str, data: bytes) -> None:
    try:
        objects.put(key, data)
    except ArtifactExists:  # a probe that was killed left it
        objects.delete(key)
        objects.put(key, data)


def _probe_key() -> str:
    return f"health/{process_name()}"


@dataclass(frozen=True)
class Look:
    """How a server was when it was last asked."""

    is_up: bool | None = None  # None before it was asked
    round_trip_s: float | None = None
    outage: OutageKind | None = None


class StoreProbe:
    """Asks the store now and then, beside whoever wants to know. `look` never waits."""

    def __init__(self, settings: Settings) -> None:
        self._objects = ObjectStore(settings)
        self._checked_at = -EVERY_S
        self._asking = threading.Lock()
        self._last = Look()

    def look(self) -> Look:
        """How the store was when it was last asked. Asks again, in a thread of its own, if it is time to."""
        now = time.monotonic()
        if now - self._checked_at >= EVERY_S and self._asking.acquire(blocking=False):
            self._checked_at = now
            threading.Thread(target=self._ask, name="store probe", daemon=True).start()
        if now - self._checked_at > PATIENCE_S and self._asking.locked():
            return Look(is_up=False, outage=OutageKind.UNREACHABLE)
        return self._last

    def _ask(self) -> None:
        started = time.perf_counter()
        try:
            check_store(self._objects)
            self._last = Look(is_up=True, round_trip_s=time.perf_counter() - started)
        except Outage as outage:
            self._last = Look(is_up=False, outage=outage.kind)
        except GanServiceError:
            self._last = Look(is_up=False, outage=OutageKind.FAILING)
        finally:
            self._asking.release()
