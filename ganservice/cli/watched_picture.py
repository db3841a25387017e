"""The newest samples of a job that is watched, as coloured half blocks."""

import os
from importlib.metadata import entry_points

from rich.console import Console, RenderableType

from ganservice.artifacts import ArtifactStore
from ganservice.cli.output import drawn
from ganservice.cli.question import Question
from ganservice.cli.scene import Scene
from ganservice.errors import DataInvalid
from ganservice.extras import remedy
from ganservice.job import Job


def draws_pictures(console: Console) -> bool:
    """Whether a terminal has the colours for pictures, and the letters that they are made of."""
    return console.color_system == "truecolor" and "NO_COLOR" not in os.environ and console.encoding.startswith("utf")


class WatchedPicture:
    """The newest sample grid, asked for when there is another, drawn when the room for it changes."""

    def __init__(self, store: ArtifactStore, console: Console) -> None:
        self._store = store
        self._is_drawn = draws_pictures(console)
        self._question: Question[bytes | None] | None = None
        self._asked: tuple[str, int] | None = None  # the event that told of the grid, and its images
        self._read: tuple[str, int] | None = None  # as above, of the one that is there
        self._png: bytes | None = None
        self._drawn: tuple[object, RenderableType] | None = None  # what it was drawn for, and how

    @property
    def trouble(self) -> str:
        """Why the newest is not there, or nothing."""
        return self._question.trouble if self._question else ""

    @property
    def shown(self) -> tuple[str, int] | None:
        """The event that told of the picture that is there, and its images."""
        return self._read if self._png else None

    def look(self, scene: Scene) -> None:
        """Ask for the newest if there is another, and take what has come. Never waits."""
        if not self._is_drawn or scene.job.training is None:
            return
        if self._question and self._question.is_over and self._read != self._asked:
            self._read, self._png = self._asked, self._question.answer or self._png
        newest = scene.newest_grid or ("", 0)
        if newest != self._asked and (self._question is None or self._question.is_over):
            self._asked = newest
            self._question = Question(lambda: self._store.latest_sample_grid(scene.job.id))

    def wait(self, scene: Scene, limit_s: float) -> None:
        """Wait for what was asked, but no longer, and take it."""
        if self._question:
            self._question.wait(limit_s)
            self.look(scene)

    def close(self) -> None:
        """Ask the store no more."""
        if self._question:
            self._question.close()

    def caption(self, scene: Scene) -> str:
        """What the picture shows, or how it is seen where it is not drawn."""
        shown = self.shown if self.shown and self.shown[0] else scene.newest_grid
        if shown is None:
            return ""
        hint = "" if self._is_drawn else f": ganctl cp {scene.job.id}:grid ."
        return f"samples at {shown[1]:,} images{hint}"

    def drawing(self, scene: Scene, columns: int, lines: int) -> RenderableType:
        """The picture in so many columns and lines; nothing, or a word, where it cannot be drawn."""
        if self._png is None:
            return drawn("")
        room = (self._read, columns, lines)
        if self._drawn is None or self._drawn[0] != room:
            self._drawn = (room, self._draw(self._png, scene.job, columns, lines))
        return self._drawn[1]

    def _draw(self, png: bytes, job: Job, columns: int, lines: int) -> RenderableType:
        (drawing,) = entry_points(group="ganctl.pictures")
        pictures = job.training.recipe.pictures if job.training else None
        try:
            picture: RenderableType = drawing.load()(png, columns, lines, pictures.sides if pictures else None)
            return picture
        except ModuleNotFoundError as error:
            return drawn(f"to see the samples here: {remedy(error)}", "dim")
        except DataInvalid as error:  # as above
            return drawn(str(error), "dim")
