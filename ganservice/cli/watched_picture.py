"""The newest samples of a job that is watched, as coloured half blocks."""

import os
import time
from importlib.metadata import entry_points

from rich.console import Console, RenderableType

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import drawn
from ganservice.cli.scene import Scene
from ganservice.errors import ArtifactMissing, DataInvalid, DigestMismatch, StoreOutage
from ganservice.extras import remedy
from ganservice.job import Job

# A store that does not answer is asked again after so long: asking takes seconds, in which nothing is drawn.
OUTAGE_PAUSE_S = 30.0


def draws_pictures(console: Console) -> bool:
    """Whether a terminal has the colours for pictures, and the letters that they are made of."""
    return console.color_system == "truecolor" and "NO_COLOR" not in os.environ and console.encoding.startswith("utf")


class WatchedPicture:
    """The newest sample grid, read when there is another, drawn when the room for it changes."""

    def __init__(self, store: ArtifactStore, console: Console) -> None:
        self._store = store
        self._is_drawn = draws_pictures(console)
        self._read: str | None = None  # the event that told of the grid
        self._png: bytes | None = None
        self._asked_at = -OUTAGE_PAUSE_S
        self._drawn: tuple[object, RenderableType] | None = None  # what it was drawn for, and how
        self._trouble = ""

    def caption(self, scene: Scene) -> str:
        """What the picture shows, or how it is seen where it is not drawn."""
        if scene.newest_grid is None:
            return ""
        hint = "" if self._is_drawn else f": ganctl cp {scene.job.id}:grid ."
        return f"samples at {scene.newest_grid[1]:,} images{hint}"

    def drawing(self, scene: Scene, columns: int, lines: int) -> RenderableType:
        """The picture in so many columns and lines; nothing, or a word, where it cannot be drawn."""
        if not self._is_drawn:
            return drawn("")
        self._read_anew(scene)
        if self._trouble or self._png is None:
            return drawn(self._trouble, "dim")
        room = (self._read, columns, lines)
        if self._drawn is None or self._drawn[0] != room:
            self._drawn = (room, self._draw(self._png, scene.job, columns, lines))
        return self._drawn[1]

    def _read_anew(self, scene: Scene) -> None:
        newest = scene.newest_grid[0] if scene.newest_grid else ""
        if newest == self._read or time.monotonic() - self._asked_at < OUTAGE_PAUSE_S:
            return
        try:
            self._png = self._store.latest_sample_grid(scene.job.id)
            self._read, self._trouble = newest, ""
        except (StoreOutage, ArtifactMissing):
            self._asked_at = time.monotonic()
        except DigestMismatch as error:  # whoever writes to the store put it there; the job goes on
            self._read, self._trouble = newest, str(error)

    def _draw(self, png: bytes, job: Job, columns: int, lines: int) -> RenderableType:
        (drawing,) = entry_points(group="ganctl.pictures")
        pictures = job.training.recipe.pictures if job.training else None
        try:
            picture: RenderableType = drawing.load()(png, columns, lines, pictures.image_size if pictures else None)
            return picture
        except ModuleNotFoundError as error:
            return drawn(f"to see the samples here: {remedy(error)}", "dim")
        except DataInvalid as error:  # as above
            return drawn(str(error), "dim")
