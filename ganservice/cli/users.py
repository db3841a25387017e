"""users add, list, remove: who may submit, and by which right of Redis. For operators."""

import secrets
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import click
from pydantic import TypeAdapter, ValidationError

from ganservice.cli.output import output_option, print_credentials, print_document, print_rows, say
from ganservice.documents import UserDocument, UsersDocument
from ganservice.errors import RequestError
from ganservice.model import LONGEST_USER_NAME, UserName
from ganservice.roles import NAMES, Role, acl_line
from ganservice.settings import Settings
from ganservice.users import EVERYBODY, UserRecord, Users

# The roles of people; those of processes are in deploy/redis/users.acl.
PERSONAL = (Role.SUBMITTER, Role.READER, Role.OPERATOR)
apply_option = click.option("--apply", "is_applied", is_flag=True, help="Tell Redis too, by a user who may.")


@click.group("users")
def users_command() -> None:
    """Enter users, list them, take them out."""


@users_command.command("add")
@click.argument("name", metavar="NAME")
@click.option("--role", type=click.Choice([role.value for role in PERSONAL]), default="submitter", help="What he may.")
@apply_option
@output_option
def add_command(name: str, role: str, is_applied: bool, output: str) -> None:
    """Enter a user of Redis, with a fresh password.

    Prints the line for redis.conf that makes him, with the SHA-256 of the password, and his GANSERVICE_BROKER_URL.
    """
    check_name(name)
    settings, password = Settings(), secrets.token_urlsafe(24)
    line = acl_line(name, Role(role), password)
    with Users(settings) as users:
        is_kept = users.grant(line) if is_applied else False
        users.put(name, users.get(name) or UserRecord())
    url = _url_of(settings.require_broker(), name, password)
    if output == "json":
        print_credentials(UserDocument(name=name, entered=True, kept=is_kept, acl=line, url=url))
    else:
        print_credentials([line, url])
    if is_kept:
        say(f"Redis knows {name}, and keeps him in its ACL file; the URL is his alone")
    elif is_applied:
        say(f"Redis knows {name} until it restarts: put the line into its redis.conf; the URL is his alone")
    else:
        say("put the line into redis.conf and restart Redis, or take --apply; the URL is his alone")


@users_command.command("list")
@output_option
def list_command(output: str) -> None:
    """List the users who are entered; `*` stands for everybody else."""
    with Users(Settings()) as users:
        records = users.all()
    rows: list[dict[str, Any]] = [
        {"name": name} | {key: getattr(record, key) for key in UserRecord.model_fields}
        for name, record in records.items()
    ]
    if output == "json":
        print_document(UsersDocument.model_validate({"users": rows}))
    else:
        print_rows(rows)


@users_command.command("remove")
@click.argument("name", metavar="NAME")
@apply_option
@output_option
def remove_command(name: str, is_applied: bool, output: str) -> None:
    """Take a user out: what he asks is answered no more. His jobs stay."""
    with Users(Settings()) as users:
        is_kept = users.revoke(name) if is_applied else False
        if not users.remove(name) and not is_applied:
            raise RequestError(f"{name}: no such user is entered; see `ganctl users list`")
    where = "" if is_kept else "; take his line out of redis.conf too" + ("" if is_applied else ", and restart Redis")
    say(f"{name} is taken out{where}")
    if output == "json":
        print_document(UserDocument(name=name, entered=False, kept=is_kept, acl=None, url=None))


def check_name(name: str) -> None:
    """Raise RequestError for what no user may be called."""
    if name in NAMES or name in ("default", "me", EVERYBODY):
        raise RequestError(f"{name}: is the name of another user of Redis, or of none; choose another one")
    try:
        TypeAdapter(UserName).validate_python(name)
    except ValidationError as error:
        raise RequestError(
            f"{ascii(name)[:80]}: expected a letter or a digit, then at most {LONGEST_USER_NAME - 1} letters, digits, "
            "dots, underscores, at signs or hyphens"
        ) from error


def _url_of(broker_url: str, name: str, password: str) -> str:
    url = urlsplit(broker_url)
    host = url.netloc.rpartition("@")[2]
    return urlunsplit(url._replace(netloc=f"{quote(name, safe='')}:{quote(password, safe='')}@{host}"))
