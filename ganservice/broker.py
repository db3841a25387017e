"""Broker: the connection to Redis (or Valkey): scripts, Redis' clock, and its errors in our words.

All keys share one slot, `{gan}:`; `queue` and `leadership` say which there are. Each transition is one Lua script
(see `lua/`).
"""

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Self, cast

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry as ConnectionRetry

from ganservice.broker_outages import NO_REDIS, explain
from ganservice.errors import BrokerOutage, GanServiceError, LeadershipLost, OutageKind, SettingsInvalid
from ganservice.model import whole_characters
from ganservice.settings import Settings
from ganservice.spec import MAX_CPUS, MAX_GPUS

ROOT = "{gan}:"
# The first word of Redis' answer to a command that another type of value would take.
WRONG_TYPE = "WRONGTYPE"
# Redis that is silent for longer does not answer.
ANSWER_S = 5.0
TLS_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
# Upper ends of the classes in which waits are counted, s.
WAIT_BOUNDS_S = (
    0.1, 0.3, 1, 3, 10, 30, 60, 120, 180, 300, 450, 600, 900, 1_200, 1_500, 1_800, 2_700, 3_600, 7_200, 10_800, 21_600,
    43_200, 86_400,
)  # fmt: skip
# The scripts by which an attempt tells of itself.
REPORTING = ("heartbeat", "finish")
# Of what the scripts keep, whoever sends it: entries and bytes of a stream, bytes of one of its texts.
BOUNDS = {
    "events": 1_000,
    "events_bytes": 500_000,
    "event_bytes": 4_000,
    "logs": 5_000,
    "logs_bytes": 1_500_000,
    "text_bytes": 8_000,  # two thousand characters
    "events_of_a_beat": 100,
    "logs_of_a_beat": 200,
    "cpus": MAX_CPUS,
    "gpus": MAX_GPUS,
    "live_sweeps": 20,  # of one user
    "followers": 1_000,  # jobs that wait for one job, and jobs of one user that wait for others
}


class Broker:
    """One connection pool. Safe to share between threads."""

    scripts: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis = _client(settings.require_broker())
        self._address = "{host}:{port}".format(**{"port": 6379, **self._redis.connection_pool.connection_kwargs})
        self._scripts = {name: self._redis.register_script(script_source(name)) for name in self.scripts}

    @property
    def _redis_user(self) -> str:
        """Who we are at Redis; empty where the address names nobody."""
        return self._redis.connection_pool.connection_kwargs.get("username") or ""

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

    def memory_bytes(self) -> tuple[int, int]:
        """The bytes that Redis takes for its data, and the most that it may take; 0 where it has no limit."""
        with self._translated():
            about = self._redis.info("memory")
            return int(about["used_memory"]), int(about.get("maxmemory", 0))

    def _now_ms(self) -> int:
        seconds, microseconds = self._redis.time()
        return seconds * 1000 + microseconds // 1000

    def _run(self, script: str, request: str | None = None, **arguments: Any) -> dict[str, Any]:
        with self._translated():
            answer = self._scripts[script](keys=[ROOT], args=_script_args(request, arguments))
        return self._answered(answer)

    def _run_all(self, script: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What a script answers to each of several calls, which travel together; others may come between them."""
        args = [_script_args(None, arguments) for arguments in calls]
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for each in args:
                pipeline.evalsha(self._scripts[script].sha, 1, ROOT, *each)
            answers = pipeline.execute(raise_on_error=False)
            for at, answer in enumerate(answers):
                if isinstance(answer, NoScriptError):  # which is loaded by this
                    answers[at] = self._scripts[script](keys=[ROOT], args=args[at])
                elif isinstance(answer, Exception):
                    raise answer
        return [self._answered(answer) for answer in answers]

    def _answered(self, answer: Any) -> dict[str, Any]:
        """What a script has answered. Raises BrokerOutage of what no script answers, and LeadershipLost."""
        try:
            found = cast(dict[str, Any], json.loads(cast(str, answer)))
        except (TypeError, ValueError) as error:
            raise BrokerOutage(
                f"the broker at {self._address} {NO_REDIS} ({answer!r:.80} to a script)", OutageKind.FAILING
            ) from error
        if found.get("deposed"):
            raise LeadershipLost("another dispatcher leads")
        return found

    def _read(self, *commands: tuple[Any, ...]) -> list[Any]:
        """What Redis answers to commands that read, each with its arguments; None of a key that another hand has given
        another type of value: it must hide no other."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                cast(Any, pipeline).execute_command(*command)
            answers = pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not str(answer).startswith(WRONG_TYPE):
                    raise answer
        return [None if isinstance(answer, Exception) else answer for answer in answers]

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except GanServiceError:
            raise
        except Exception as error:
            told = explain(error, self._address)
            if told is None:
                raise
            raise told from error


def _script_args(request: str | None, arguments: Mapping[str, Any]) -> list[str]:
    # A null would reach Lua as a value that is true: what is not there is left out.
    values = {name: value for name, value in arguments.items() if value is not None}
    return [request or secrets.token_hex(8), json_text(values)]


def _client(url: str) -> redis.Redis:
    """A client of Redis at `url`, which has not asked it anything yet.

    Raises:
        SettingsInvalid: redis-py finds fault with an option of the URL.
    """
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",  # what another hand wrote, and is no text, must hide nothing else
            socket_timeout=ANSWER_S,
            socket_connect_timeout=3,
            retry=ConnectionRetry(ExponentialWithJitterBackoff(cap=1.0, base=0.05), retries=2),
        )
        pool = client.connection_pool
        # A pool makes its first connection late, and finds fault with options only then.
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError, OSError) as error:
        reason = " ".join(str(error).split())
        raise SettingsInvalid(f"GANSERVICE_BROKER_URL: an option is not understood ({reason})") from error
    for option in TLS_FILES:
        file = pool.connection_kwargs.get(option)
        if file and not Path(file).exists():
            raise SettingsInvalid(f"GANSERVICE_BROKER_URL: {option} names {file}, which is not there")
    return client


def json_text(value: Any) -> str:
    """A value as JSON that every reader takes: of half characters, which names of files may have, no UTF-8 is made."""
    return whole_characters(json.dumps(value, ensure_ascii=False))


def script_source(name: str) -> str:
    """The text of a script of `lua/`, with what it begins with."""
    waits = f"local wait_bounds_s = {{{', '.join(map(str, WAIT_BOUNDS_S))}}}\n"
    bounds = f"local bounds = {{{', '.join(f'{key} = {value}' for key, value in BOUNDS.items())}}}\n"
    folder = resources.files("ganservice") / "lua"
    parts = ("prelude", "transitions", *(("report",) if name in REPORTING else ()), name)
    return waits + bounds + "".join((folder / f"{part}.lua").read_text() for part in parts)
