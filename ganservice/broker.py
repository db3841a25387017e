"""Broker: the connection to Redis (or Valkey): scripts, Redis' clock, and its errors in our words.

All keys share one slot, `{gan}:`; `queue` and `leadership` say which there are. Each transition is one Lua script
(see `lua/`).
"""

import contextlib
import json
import secrets
from collections.abc import Iterator
from importlib import resources
from typing import Any, Self, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry as ConnectionRetry

from ganservice.errors import BrokerOutage, LeadershipLost, OutageKind
from ganservice.settings import Settings

ROOT = "{gan}:"
# Upper ends of the classes in which waits are counted, s.
WAIT_BOUNDS_S = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1_800, 3_600, 10_800, 43_200, 86_400)


class Broker:
    """One connection pool. Safe to share between threads."""

    scripts: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = redis.Redis.from_url(
            settings.require_broker(),
            decode_responses=True,
            socket_timeout=5,
            socket_connect_timeout=3,
            retry=ConnectionRetry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), retries=2),
        )
        self._address = "{host}:{port}".format(**{"port": 6379, **self._redis.connection_pool.connection_kwargs})
        self._scripts = {name: self._redis.register_script(script_source(name)) for name in self.scripts}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def ping(self) -> None:
        """Raise BrokerOutage unless Redis answers."""
        with self._translated():
            self._redis.ping()

    def now_s(self) -> float:
        """Redis' clock, Unix time in s."""
        with self._translated():
            return self._now_ms() / 1000

    def memory_bytes(self) -> int:
        """The bytes that Redis takes for its data."""
        with self._translated():
            return int(self._redis.info("memory")["used_memory"])

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    def _run(self, script: str, request: str | None = None, **arguments: Any) -> dict[str, Any]:
        # A null would reach Lua as a value that is true: what is not there is left out.
        values = {name: value for name, value in arguments.items() if value is not None}
        with self._translated():
            answer = self._scripts[script](keys=[ROOT], args=[request or secrets.token_hex(8), json.dumps(values)])
        found = cast(dict[str, Any], json.loads(cast(str, answer)))
        if found.get("deposed"):
            raise LeadershipLost("another dispatcher leads")
        return found

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as error:
            reason = " ".join(str(error).split())
            raise BrokerOutage(
                f"the broker at {self._address} does not answer ({reason}); see `ganctl doctor`"
            ) from error
        except redis.ResponseError as error:
            if isinstance(error, redis.OutOfMemoryError) or "OOM" in str(error) or "MISCONF" in str(error):
                raise BrokerOutage(
                    f"the broker at {self._address} takes no more writes: {error}", OutageKind.FULL
                ) from error
            if isinstance(error, redis.exceptions.NoPermissionError):
                raise BrokerOutage(
                    f"the broker at {self._address} refuses our user a command ({error}); docs/operating.md says which "
                    "rights it needs",
                    OutageKind.REFUSED,
                ) from error
            if isinstance(error, redis.exceptions.MovedError):
                raise BrokerOutage(
                    f"the broker at {self._address} is a node of a cluster that does not hold our keys, {error.host}:"
                    f"{error.port} does; docs/operating.md says which clusters the service can use",
                    OutageKind.READ_ONLY,
                ) from error
            raise


def script_source(name: str) -> str:
    """The text of a script of `lua/`, with what all of them begin with."""
    bounds = f"local wait_bounds_s = {{{', '.join(map(str, WAIT_BOUNDS_S))}}}\n"
    folder = resources.files("ganservice") / "lua"
    return bounds + "".join((folder / f"{part}.lua").read_text() for part in ("prelude", name))
