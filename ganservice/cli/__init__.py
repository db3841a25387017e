"""ganctl: parses, calls, prints. Each command loads only what it needs, so that help is instant."""

import importlib
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from ganservice.cli.completion import JobCommand, is_for_an_option
from ganservice.cli.output import discard, flush, say, say_mistake
from ganservice.errors import DiskFull, GanServiceError, NotConfigured
from ganservice.extras import lack
from ganservice.files import is_disk_full
from ganservice.logs import tell_tracebacks

# What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130

# Each command's module and its line of help; the module loads when the command is called.
COMMANDS = {
    "up": ("ganservice.cli.stack", "Start the embedded stack."),
    "down": ("ganservice.cli.stack", "End the embedded stack; its state stays."),
    "doctor": ("ganservice.cli.stack", "Say how every part is, and what to do."),
    "submit": ("ganservice.cli.submit", "Submit a spec."),
    "list": ("ganservice.cli.listing", "List jobs, the newest first."),
    "show": ("ganservice.cli.show", "Show all that is known of jobs."),
    "watch": ("ganservice.cli.watch", "Watch a job's progress."),
    "logs": ("ganservice.cli.streams", "Print what a job's attempts logged."),
    "events": ("ganservice.cli.streams", "Print what happened to a job."),
    "wait": ("ganservice.cli.wait", "Wait until jobs are finished."),
    "cancel": ("ganservice.cli.changes", "Cancel jobs."),
    "retry": ("ganservice.cli.changes", "Put failed or cancelled jobs back into the queue."),
    "set-priority": ("ganservice.cli.changes", "Give jobs another priority."),
    "delete": ("ganservice.cli.clean", "Delete finished jobs, with all that they stored."),
    "fetch": ("ganservice.cli.fetch", "Bring home a job's generator."),
    "ls": ("ganservice.cli.artifacts", "List what a job has in the store."),
    "cp": ("ganservice.cli.artifacts", "Copy files of jobs from the store."),
    "link": ("ganservice.cli.artifacts", "Print a link to a file of a job that expires."),
    "evaluate": ("ganservice.cli.evaluate", "Judge what a job made, by an evaluation job."),
    "networks": ("ganservice.cli.networks", "Put networks from elsewhere into the store."),
    "report": ("ganservice.cli.report", "Write a page about a job."),
    "users": ("ganservice.cli.users", "Enter users, list them, take them out."),
    "compare": ("ganservice.cli.evaluate", "Set the evaluations of several jobs side by side."),
    "gc": ("ganservice.cli.clean", "Delete what nobody refers to."),
    "quota": ("ganservice.cli.quota", "Limit how much each user may take."),
    "nodes": ("ganservice.cli.maintenance", "List the nodes of the cluster."),
    "cordon": ("ganservice.cli.maintenance", "Place nothing new on a node."),
    "uncordon": ("ganservice.cli.maintenance", "Place jobs on a node again."),
    "drain": ("ganservice.cli.maintenance", "Have all jobs leave a node, after a checkpoint."),
    "pause": ("ganservice.cli.maintenance", "Have the queue give out no job."),
    "resume": ("ganservice.cli.maintenance", "Have a paused queue give out jobs again."),
}
# Commands of the workers, by entry point; the text is here so that help loads none of them.
PLUGIN_HELP = {
    "data": "List, get, import and delete data sets.",
    "sample": "Draw pictures from a generator.",
    "interpolate": "Walk through latent space.",
    "explore": "Look at what a generator has learned, in a page.",
    "recover": "Find the latents of pictures.",
    "inpaint": "Complete pictures of which a part is hidden.",
    "augment": "Write a labelled set of generated pictures.",
    "upscale": "Enlarge pictures by a generator of super-resolution.",
    "follow": "Send what trainings report to TensorBoard, MLflow or W&B.",
    "run": "Train in this process, without a dispatcher.",
    "verify-resume": "Prove that a training survives being killed, bit by bit.",
}


# Those whose argument is a JOB, which the shell completes.
OF_JOBS = {
    "show", "watch", "logs", "events", "wait", "cancel", "retry", "set-priority", "delete", "fetch", "ls", "cp", "link",
    "evaluate", "report", "compare", "sample", "interpolate", "explore", "recover", "inpaint",
    "augment",
}  # fmt: skip


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order in which a user meets them."""
        del ctx
        return [*COMMANDS, *sorted(_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name in COMMANDS:
            module = importlib.import_module(COMMANDS[cmd_name][0])
            command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
            return command
        plugin = _plugins().get(cmd_name)
        loaded: click.Command | None = plugin.load() if plugin else None
        return loaded

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; while the shell completes a JOB, a stand-in that takes no time."""
        if ctx.resilient_parsing and args[0] in OF_JOBS and not is_for_an_option(args):
            return args[0], JobCommand(args[0], lambda: self.get_command(ctx, args[0])), args[1:]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and options that begin so, without importing any."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=self._help(name)) for name in names]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        rows = [(name, self._help(name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _help(self, name: str) -> str:
        return COMMANDS[name][1] if name in COMMANDS else PLUGIN_HELP.get(name, "")


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="ganctl.commands")}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="ganservice")
def ganctl() -> None:
    """Train GANs as jobs on shared GPUs.

    JOB is a job's id, the beginning of one, a name (its newest job), or @last (your newest job). Where there may be
    several, it may be a pattern, such as 'fashion*', of your own jobs.
    """


def main() -> None:
    """Run ganctl; an error of ours is one line on stderr and its exit code."""
    tell_tracebacks()
    try:
        code = ganctl.main(prog_name="ganctl", standalone_mode=False)
        flush()
    except click.ClickException as error:
        say_mistake(error)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except GanServiceError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        # A machine that only submits and fetches has none of the workers' libraries.
        say(f"error: {lack(error)}")
        sys.exit(NotConfigured.exit_code)
    except OSError as error:
        if not is_disk_full(error):
            raise
        discard()
        say("error: the disk that the output goes to is full")
        sys.exit(DiskFull.exit_code)
    sys.exit(code or 0)
