"""JobMemory: the jobs of one Redis, each read once and kept until Redis tells that something of it has changed.

Redis remembers what a connection has read, and tells it on the same connection, before any later answer, what of that
was written, expired or deleted since, by whomsoever (CLIENT TRACKING). Nothing is kept beyond its connection: an
exporter that starts, or a Redis that fails over, begins with nothing.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.connection import DefaultParser

from ganservice.broker import WRONG_TYPE
from ganservice.job import Job
from ganservice.job_hash import readable_jobs
from ganservice.job_list import JobList
from ganservice.job_records import PAGE_HASHES, held_up, job_key, pages
from ganservice.maintenance import PAUSE_KEY, Pause
from ganservice.settings import Settings


class JobMemory(JobList):
    """The jobs of one Redis, of which only what has changed is read again. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        pool = self._redis.connection_pool
        ours = {"protocol": 3, "parser_class": _Parser, "redis_connect_func": self._begin}
        self._connection: Any = pool.connection_class(**pool.connection_kwargs | ours)
        self._lock = threading.Lock()
        self._is_told = False
        self._asked: set[str] = set()
        self._kept: dict[str, Job | None] = {}  # by key; None of one that is gone or cannot be read

    def close(self) -> None:
        """Close the connections."""
        super().close()
        self._connection.disconnect()

    def forget(self) -> None:
        """Forget the jobs that nobody has asked for since this was called last."""
        with self._lock:
            self._kept = {key: job for key, job in self._kept.items() if key in self._asked}
            self._asked = set()

    def _read_jobs(self, ids: Iterable[str]) -> list[Job]:
        keys = list(map(job_key, ids))
        with self._lock, self._translated():
            self._asked.update(keys)
            found: list[Job] = self._connection.retry.call_with_retry(
                lambda: self._look(keys), lambda _: self._connection.disconnect()
            )
        return found

    def _look(self, keys: Sequence[str]) -> list[Job]:
        try:
            # Its answer comes behind word of all that changed before.
            [pause] = self._hashes([PAUSE_KEY])
            if not self._is_told:
                self._kept.clear()
            # What changes while the others are read is for the next look.
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for page in pages((key for key in keys if key not in found), PAGE_HASHES):
                for key, fields in zip(page, self._hashes(page), strict=True):
                    found[key] = self._kept[key] = next(iter(readable_jobs([fields])), None)
        except BaseException:  # answers may be left that nobody has read
            self._connection.disconnect()
            raise
        paused = Pause.read(pause or {})
        return [held_up(job, paused) for key in keys if (job := found[key])]

    def _hashes(self, keys: Sequence[str]) -> Iterator[dict[str, str] | None]:
        """Yield the hash of each key as soon as Redis answers; None of what another hand has made something else of."""
        self._connection.send_packed_command(self._connection.pack_commands(("HGETALL", key) for key in keys))
        for _ in keys:
            try:
                yield self._answer()
            except redis.ResponseError as error:
                if not str(error).startswith(WRONG_TYPE):
                    raise
                yield None

    def _answer(self) -> dict[str, str]:
        """The next answer; what Redis tells before it is forgotten."""
        while isinstance(answer := self._connection.read_response(push_request=True), _Changed):
            if answer.keys is None:
                self._kept.clear()
            for key in answer.keys or ():
                self._kept.pop(key, None)
        found: dict[str, str] = answer
        return found

    def _begin(self, connection: Any) -> None:
        """Have Redis tell a new connection what changes. One that does not, such as a proxy, is asked for all anew."""
        connection.on_connect()
        self._kept.clear()
        connection.send_command("CLIENT", "TRACKING", "ON")
        try:
            connection.read_response()
            self._is_told = True
        except redis.ResponseError:
            self._is_told = False


@dataclass(frozen=True)
class _Changed:
    """What Redis tells between its answers: keys that have changed, or None, which is all of them."""

    keys: Sequence[str] | None


class _Parser(DefaultParser):  # type: ignore[misc, valid-type] # which class that is depends on what is installed
    """Has what Redis tells come in its turn among the answers."""

    def handle_push_response(self, response: Any, **_: Any) -> _Changed:
        """What a push says; of another kind than ours, nothing that has changed."""
        return _Changed(response[1] if response[0] in ("invalidate", b"invalidate") else ())
