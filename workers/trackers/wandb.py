"""Weights & Biases: a run for each job, in one project."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import wandb

from ganservice.errors import Outage, OutageKind
from ganservice.files import named_writing_trouble
from ganservice.job import Job, State
from ganservice.mistakes import one_line
from ganservice.model import cut
from workers.trackers import Point
from workers.trackers.pictures import decoded


class WandbRun:
    """A run. W&B is sent things and asked for none, offline too: what it was sent stands in a file beside its own."""

    def __init__(self, project: str, job: Job, folder: Path) -> None:
        self.rollbacks = 0
        self._sent: set[Point] = set()
        journal = folder / "wandb" / "ganservice" / project.replace("/", "-") / f"{job.id}.jsonl"
        for line in journal.read_text().splitlines() if journal.exists() else ():
            self._count(json.loads(line))
        with named_writing_trouble(journal):
            journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal = journal.open("a")
        entity, _, name = project.rpartition("/")
        with _told():
            self._run = wandb.init(
                entity=entity or None,
                project=name,
                dir=folder,
                id=job.id,
                name=job.id,
                tags=job.spec.tags,
                notes=job.spec.note or None,
                config=job.spec.model_dump(mode="json"),
                resume="allow",
                reinit="create_new",
                # Nothing of this process: it is not the one that trains.
                settings=wandb.Settings(console="off", disable_git=True, silent=True, x_disable_stats=True),
            )
            self._run.define_metric("images", hidden=True)
            self._run.define_metric("*", step_metric="images")

    def sent(self) -> set[Point]:
        """As `Tracker`."""
        return self._sent

    def send_numbers(self, images: int, numbers: Mapping[str, float]) -> None:
        """As `Tracker`."""
        with _told():
            self._run.log({"images": images, **numbers})
        self._note({"images": images, "names": list(numbers)})

    def send_picture(self, name: str, images: int, png: bytes) -> None:
        """As `Tracker`."""
        picture = decoded(png)
        with _told():
            self._run.log({"images": images, name: wandb.Image(picture)})
        self._note({"images": images, "names": [name]})

    def rewind(self, rollbacks: int, images: int) -> None:
        """As `Tracker`. W&B forgets nothing: the abandoned points stay before those that come in their place."""
        self.rollbacks = rollbacks
        self._note({"images": images, "rollbacks": rollbacks})

    def flush(self) -> None:
        """As `Tracker`: W&B sends by itself."""

    def close(self, state: State | None) -> None:
        """As `Tracker`."""
        self._journal.close()
        with _told():
            self._run.finish(exit_code=None if state is None else int(state is not State.SUCCEEDED))

    def _note(self, entry: dict[str, object]) -> None:
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()

    def _count(self, entry: dict[str, object]) -> None:
        images = int(str(entry["images"]))
        if "rollbacks" in entry:
            self.rollbacks = int(str(entry["rollbacks"]))
            self._sent = {point for point in self._sent if point[1] <= images}
        names = entry.get("names")
        self._sent.update((str(name), images) for name in (names if isinstance(names, list) else ()))


def open_run(place: str, job: Job) -> WandbRun:
    """The run of a job in a project, PROJECT or ENTITY/PROJECT.

    Raises:
        Outage: W&B does not do what it was asked.
        RequestError, DiskFull: the file beside W&B's own, in `wandb` here or in WANDB_DIR, cannot be written.
    """
    return WandbRun(place, job, Path(os.environ.get("WANDB_DIR", ".")).absolute())


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Have what W&B has against the block told in one line."""
    try:
        yield
    except wandb.Error as error:
        raise Outage(one_line(cut(f"W&B: {error}", 500)), OutageKind.FAILING) from error
