"""quota: how much of the service a user may take."""

from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from ganservice.cli.output import output_option, print_document, print_rows, say
from ganservice.errors import RequestError
from ganservice.holdings import Holding, Holdings
from ganservice.model import UserName
from ganservice.settings import Settings
from ganservice.users import EVERYBODY, LARGEST_QUOTA, UserRecord, Users

# Each quota by its option, and what it counts.
OPTIONS = {
    "queued": ("jobs_queued", "Jobs that wait in the queue."),
    "running": ("jobs_running", "Jobs that run at a time."),
    "cpus": ("cpus", "CPUs that they hold."),
    "gpus": ("gpus", "GPUs that they hold."),
}
_NAME = TypeAdapter(UserName)


def _limits(function: Any) -> Any:
    for option, (_, text) in reversed(OPTIONS.items()):
        function = click.option(f"--{option}", type=click.IntRange(0, LARGEST_QUOTA), metavar="N", help=text)(function)
    return function


@click.group("quota")
def quota_command() -> None:
    """How much of the service each user may take."""


@quota_command.command("set")
@click.argument("user")
@_limits
@click.option("--clear", is_flag=True, help="First take away the limits that were set.")
@output_option
def set_command(user: str, clear: bool, output: str, **limits: int | None) -> None:
    """Set limits for a user; those not named stay as they are.

    The limits of '*' hold for whoever has none of his own.
    """
    try:
        name = user if user == EVERYBODY else _NAME.validate_python(user)
    except ValidationError as error:
        raise RequestError("USER: expected a user's name, or '*' for everybody's limits") from error
    if not clear and all(limit is None for limit in limits.values()):
        raise RequestError(f"no limit is named: give one of {', '.join('--' + option for option in OPTIONS)}")
    with Users(Settings()) as users:
        changes: dict[str, int | None] = {
            OPTIONS[option][0]: limit for option, limit in limits.items() if limit is not None
        }
        if clear:
            changes = {field: changes.get(field) for field, _ in OPTIONS.values()}
        users.put(name, (users.get(name) or UserRecord()).model_copy(update=changes))
    say(f"the quota of {name} is set; `ganctl quota show` shows what is used of it")
    if output == "json":
        _print(name, output)


@quota_command.command("show")
@click.argument("user", required=False)
@output_option
def show_command(user: str | None, output: str) -> None:
    """Show what each user has, and of how much: used/limit. Without a limit there is the number alone."""
    _print(user, output)


def _print(user: str | None, output: str) -> None:
    settings = Settings()
    with Users(settings) as registry, Holdings(settings) as holdings:
        records, found = registry.all(), holdings.of_users([user] if user else [])
    default, nothing = records.get(EVERYBODY, UserRecord()), Holding()
    rows = [
        _row(name, found.get(name, nothing), records.get(name, UserRecord()), default, output)
        for name in ([user] if user else sorted({*records, *found}))
    ]
    if output == "json":
        from ganservice.documents import QuotaDocument

        print_document(QuotaDocument.model_validate({"users": rows}))
    else:
        print_rows(rows)


def _row(name: str, held: Holding, own: UserRecord, default: UserRecord, output: str) -> dict[str, Any]:
    row: dict[str, Any] = {"user": name}
    for option, (field, _) in OPTIONS.items():
        limit = getattr(own, field) if getattr(own, field) is not None else getattr(default, field)
        used = getattr(held, field)
        if output == "json":
            row[field] = {"used": used, "limit": limit}
        else:
            row[option] = "/".join(str(number) for number in (used, limit) if number is not None)
    return row
