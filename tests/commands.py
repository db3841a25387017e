"""Commands of ganctl as a test gives them, to a whole stack or in its own process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli import ganctl
from ganservice.job import Event, Job
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from tests.specs import draw_shapes


@dataclass(frozen=True)
class Said:
    """What a command that went well has written."""

    out: str
    err: str


Command = Callable[..., Said]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def commands(group: click.Group = ganctl, path: str = "") -> Iterator[str]:
    """Every command of ganctl, as it is typed."""
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from commands(command, f"{path}{name} ")
            else:
                yield f"{path}{name}"


class Service(ABC):
    """A broker and a store, what ganctl does with them, and how jobs on them stand."""

    @abstractmethod
    def ganctl(self, *arguments: str, cwd: str | Path | None = None, **environment: str) -> Done:
        """Give a command, in a folder and with variables of its own."""

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """Where both are."""

    @abstractmethod
    def queue(self) -> JobQueue:
        """A client of the broker."""

    def ok(self, *arguments: str, cwd: str | Path | None = None) -> str:
        """What a command that must succeed wrote to stdout."""
        done = self.ganctl(*arguments, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def refused(self, exit_code: int, says: str, *arguments: str, **environment: str) -> None:
        """Give a command that must fail, with one clear line and nothing on stdout."""
        done = self.ganctl(*arguments, **environment)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == exit_code, done.stderr
        assert last.startswith("error: ")
        assert says in last
        assert "Traceback" not in done.stderr
        assert done.stdout == ""

    def import_shapes(self, folder: Path, name: str) -> str:
        """Draw pictures into a folder and import them as a data set of that name. Returns the name."""
        draw_shapes(folder, name)
        return self.ok("data", "import", str(folder), "--name", name, "--size", "16")

    def weights(self, job_id: str) -> bytes:
        """The weights that a job published, as a file of safetensors."""
        folder = self.job(job_id).generator
        assert folder
        return ArtifactStore(self.settings).objects.get(f"{folder}generator.safetensors")

    def job(self, job_id: str) -> Job:
        return self.queue().get(job_id)

    def events(self, job_id: str, *kinds: str) -> list[Event]:
        return [event for event in self.queue().events(job_id) if not kinds or event.kind in kinds]
