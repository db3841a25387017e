"""Completion of JOB by the shell, which must be there at once: nothing is imported but what asks Redis.

A command that takes jobs is completed by a stand-in, for the command itself takes much more; its options are its own.
"""

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from ganservice.cli.quick_redis import Command, QuickRedis
from ganservice.stack_file import broker_url

ROOT = "{gan}:"
# Of a queue of thousands: those of newest jobs, or those that begin with what was typed.
MOST = 100
# Commands that take a sweep in the place of a job.
OF_SWEEPS = {"show", "watch", "wait", "cancel", "report", "delete"}
# Somebody has pressed a key and waits.
ANSWER_S = 1.0
# What submitting makes: into the line that the user is about to run goes nothing else.
JOB_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")
LAST = "@last"


class JobReference(click.ParamType[str]):
    """A job as a user names it, or a sweep where a command takes that."""

    name = "job"

    def __init__(self, *, or_sweep: bool = False) -> None:
        self._or_sweep = or_sweep

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids and names that begin with what was typed; nothing when there is no broker to ask."""
        del ctx, param
        items = {LAST: "your newest job"} if incomplete and LAST.startswith(incomplete) else {}
        with contextlib.suppress(Exception):  # whatever is wrong, a shell that completes is no place to say so
            for job_id, state in _newest(incomplete):
                items[job_id] = state
                items.setdefault(job_id.rpartition("-")[0], "the newest of this name")
            items |= dict(_newest_sweeps(incomplete)) if self._or_sweep else {}
        return [CompletionItem(word, help=text) for word, text in items.items() if word.startswith(incomplete)]


class JobCommand(click.Command):
    """The stand-in for a command that takes jobs, while the shell completes one."""

    def __init__(self, name: str, load: Callable[[], click.Command | None]) -> None:
        jobs = click.Argument(["references"], type=JobReference(or_sweep=name in OF_SWEEPS), nargs=-1)
        super().__init__(name, params=[jobs], context_settings={"ignore_unknown_options": True})
        self._load = load

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The options of the command itself."""
        command = self._load()
        if command is None:
            return []
        real = click.Context(command, ctx.parent, info_name=self.name, resilient_parsing=True)
        return command.shell_complete(real, incomplete)


def is_for_an_option(arguments: Sequence[str]) -> bool:
    """Whether what comes next may be the value of an option, about which only the command itself knows."""
    return len(arguments) > 1 and arguments[-1].startswith("-")


def _newest(prefix: str) -> list[tuple[str, str]]:
    """Ids that begin so, with their states; without a prefix the newest ones."""
    if prefix:
        return _with_states("job", ("ZRANGEBYLEX", f"{ROOT}ids", f"[{prefix}", f"[{prefix}\xff", "LIMIT", 0, MOST))
    return _with_states("job", ("ZREVRANGE", f"{ROOT}jobs", 0, MOST - 1))


def _newest_sweeps(prefix: str) -> list[tuple[str, str]]:
    """Ids of the newest sweeps that begin so, with their states."""
    found = _with_states("sweep", ("ZREVRANGE", f"{ROOT}sweeps", 0, MOST - 1))
    return [(sweep_id, f"a sweep, {state}") for sweep_id, state in found if sweep_id.startswith(prefix)]


def _with_states(kind: str, wanted: Command) -> list[tuple[str, str]]:
    """The ids that Redis answers, with the states of those that are there."""
    url = broker_url()
    if url is None:
        return []
    with contextlib.closing(_Tls(url) if url.startswith("rediss://") else QuickRedis(url, ANSWER_S)) as redis:
        [found] = redis.ask([wanted])
        words = found if isinstance(found, list) else []
        ids = [word for word in words if isinstance(word, str) and JOB_WORD.fullmatch(word)]
        states = redis.ask([("HGET", f"{ROOT}{kind}:{each}", "state") for each in ids])
    return [(each, state) for each, state in zip(ids, states, strict=True) if isinstance(state, str)]


class _Tls:
    """The same by the library, which knows all options of TLS."""

    def __init__(self, url: str) -> None:
        from redis import Redis

        options: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
        self._redis = Redis.from_url(url, decode_responses=True, encoding_errors="replace", **options)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to several commands."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                cast(Any, pipeline).execute_command(*command)
            return pipeline.execute()

    def close(self) -> None:
        """End the connection."""
        self._redis.close()
