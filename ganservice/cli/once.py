"""Submitting once: a key by which a repeat gives the job that there is already."""

from collections.abc import Callable
from typing import Any

import click

from ganservice.errors import RequestError
from ganservice.spec import JobSpec
from ganservice.submissions import check_key, once_key

SUBMITTED_ALREADY = "it was submitted before; nothing is submitted twice"


def once_options(function: Any) -> Any:
    """Add --idempotency-key and --once to a command that submits; `key_of` makes one key of both."""
    return click.option(
        "--once", is_flag=True, help="Submit only if no job of just this spec is known; else give that one."
    )(key_option("job")(function))


def key_option(what: str) -> Callable[[Any], Any]:
    """The option --idempotency-key of a command that submits a job or a sweep."""
    return click.option(
        "--idempotency-key", metavar="KEY", callback=_key, help=f"A repeat with the same key gives the same {what}."
    )


def key_of(spec: JobSpec, idempotency_key: str | None, once: bool, after: str | None = None) -> str | None:
    """The idempotency key of a submission: the user's key, or with `once` all that is asked for; else nothing.

    Raises:
        RequestError: both are asked for.
    """
    if idempotency_key and once:
        raise RequestError("--once: is a key of its own; leave it or --idempotency-key out")
    return once_key(spec, after) if once else idempotency_key


def _key(context: click.Context, parameter: click.Parameter, key: str | None) -> str | None:
    del context, parameter
    if key == "":
        raise RequestError("--idempotency-key: found nothing, expected a word")
    if key is not None:
        check_key(key)
    return key
