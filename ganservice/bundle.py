"""load: a trained generator, ready to draw from. What it takes is the workers', and comes when it is called."""

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated

from ganservice.arguments import checked, one_of
from ganservice.errors import NotConfigured
from ganservice.extras import lack
from ganservice.settings import Settings

if TYPE_CHECKING:
    from workers.generator import Generator

Source = Annotated[str | os.PathLike[str], one_of("the id or name of a job, or a folder", str, os.PathLike)]


@checked
def load(source: Source, settings: Settings | None = None) -> "Generator":
    """A trained generator: of a job, by its id, the beginning of one or a name; or of a folder that `fetch` made.

    A job's is the best that was evaluated, or else the last; it is fetched into the cache once. All files are held to
    their digests.

    Raises:
        NotConfigured: PyTorch is not installed here, or it is not known where the store is.
        JobNotFound, ArtifactMissing: there is no such job, or it published no generator; the folder holds none.
        DigestMismatch: the files are not those that were published.
        RequestError: `source` is neither a folder nor a word for a job.
    """
    (point,) = entry_points(group="ganservice.library", name="load")
    try:
        open_generator = point.load()
    except ModuleNotFoundError as error:
        raise NotConfigured(lack(error)) from error
    generator: Generator = open_generator(os.fspath(source), settings)
    return generator
