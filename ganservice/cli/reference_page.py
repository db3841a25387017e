"""`docs/reference.md`: every command, exit code and setting, printed from the code.

`python -m ganservice.cli.reference_page >docs/reference.md`
"""

import inspect
import sys
from collections.abc import Iterator

import click

from ganservice.cli import INTERRUPTED, ganctl
from ganservice.cli.exit_codes import EXIT_CODES, NOT_IN_TIME, RESERVED
from ganservice.errors import GanServiceError, JobNotFound, NotConfigured
from ganservice.job import State
from ganservice.settings import Settings
from ganservice.spec_page import row, type_text
from ganservice.stack_file import PREFIX

INTRODUCTION = """# Reference

Every command, exit code and setting. This page is made by `python -m ganservice.cli.reference_page >docs/reference.md`;
a test holds it to the code. The keys of a spec are in [spec.md](spec.md), the metrics in [metrics.md](metrics.md).

## Commands

JOB is a job's id, the beginning of one, a name, which means its newest job, or `@last`, which means your newest job.
JOB... may also be patterns of a shell, in quotes: `'fashion*'` means all of your own jobs whose name or id is so;
`--user` and `--all-users` say whose else. Of several jobs each has a line, and the exit code is the worst of all.

Data goes to stdout, all else to stderr; `-o json` is everywhere, and [json.md](json.md) says what it prints. `ganctl
COMMAND --help` says the same as this page.

Completion of commands, ids and names, for bash: `eval "$(_GANCTL_COMPLETE=bash_source ganctl)"`; also `zsh_source` and
`fish_source`.
"""
EXIT_CODES_INTRODUCTION = """## Exit codes

| code | error | meaning |
|---|---|---|"""
SETTINGS_INTRODUCTION = """## Settings

Each is a variable of the environment. `ganctl up` leaves the addresses of its stack in `settings.json` of its state
folder; the environment wins over that file.

| variable | value | unit | default | meaning |
|---|---|---|---|---|"""
OTHER_VARIABLES = """
Variables of others that count:

| variable | meaning |
|---|---|
| `RAY_AUTH_MODE`, `RAY_AUTH_TOKEN` | `token`, and the token of Ray's head, nodes and dispatchers. |
| `AWS_ACCESS_KEY_ID` and the others of AWS | Credentials of the store where `GANSERVICE_STORE_ACCESS_KEY` is not set. |
| `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | The way to a store or a mirror elsewhere; loopback needs none. |
| `COLORTERM`, `NO_COLOR` | `watch` draws samples if the first is `truecolor`, the second unset, and Pillow installed. |
"""


def page() -> str:
    """`docs/reference.md`."""
    parts = [INTRODUCTION, *_commands(ganctl, None, "ganctl"), EXIT_CODES_INTRODUCTION, *_exit_codes(), ""]
    return "\n".join([*parts, SETTINGS_INTRODUCTION, *_settings(), OTHER_VARIABLES])


def _commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """A section for each command, those of a group after it."""
    context = click.Context(command, parent, info_name=name, **command.context_settings)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            member = command.get_command(context, each)
            if member is not None:
                yield from _commands(member, context, each)
        return
    yield f"### `{context.command_path} {' '.join(command.collect_usage_pieces(context))}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    options = [option for option in command.params if isinstance(option, click.Option)]
    if options:
        yield "| option | meaning |\n|---|---|"
        yield from (_option(option, context) for option in options)
        yield ""


def _option(option: click.Option, context: click.Context) -> str:
    names, text = (part.replace("|", r"\|") for part in option.get_help_record(context) or ("", ""))
    return f"| `{names}` | {text} |"


def _exit_codes() -> Iterator[str]:
    yield "| 0 | | Done; of `wait` and `watch`: the job succeeded. |"
    yield f"| {GanServiceError.exit_code} | | Anything else that failed. |"
    for kind in sorted(_kinds_below(GanServiceError), key=lambda kind: kind.exit_code):
        if kind is not JobNotFound:
            yield f"| {kind.exit_code} | {kind.__name__} | {_first_line(kind)} |"
    yield f"| {NotConfigured.exit_code} | | A Python package that the command needs is not installed. |"
    yield f"| {EXIT_CODES[State.FAILED]} | | `wait`, `watch`: the job failed. |"
    yield f"| {NOT_IN_TIME} | | `wait`: not finished in time; `drain --wait`: not drained in time. |"
    yield f"| {JobNotFound.exit_code} | {JobNotFound.__name__} | {_first_line(JobNotFound)} |"
    yield f"| {EXIT_CODES[State.CANCELLED]} | | `wait`, `watch`: the job was cancelled. |"
    yield f"| {RESERVED} | | `wait --healthy`: the job succeeded, with a reservation. |"
    yield f"| {INTERRUPTED} | | Ctrl-C. |"


def _kinds_below(kind: type[GanServiceError]) -> Iterator[type[GanServiceError]]:
    """The errors of `ganservice.errors`; those that another module derives are its own affair."""
    for below in kind.__subclasses__():
        if below.__module__ == GanServiceError.__module__:
            yield below
        yield from _kinds_below(below)


def _first_line(kind: type[GanServiceError]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _settings() -> Iterator[str]:
    schema = Settings.model_json_schema()
    for key, field in schema["properties"].items():
        yield row(PREFIX + key.upper(), key, field, type_text(field), is_required=False)


if __name__ == "__main__":
    sys.stdout.write(page())  # noqa: TID251 # a page of our own
