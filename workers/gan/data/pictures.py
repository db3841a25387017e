"""Pictures: a folder, an archive or a table of picture files, decoded, as an ImageSet."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ganservice.files import named_writing_trouble
from ganservice.recipe import Channels, ImageSize
from workers.gan.data.any_source import open_source
from workers.gan.data.decoding import Target
from workers.gan.data.image_files import read_image_set
from workers.gan.data.image_set import ImageSet
from workers.gan.data.import_options import Options
from workers.gan.data.importing import Say, import_pictures, say_nothing
from workers.gan.data.layout import Layout, read_layout
from workers.gan.data.picture_source import PictureSource


def read_pictures(
    path: Path,
    name: str,
    size: ImageSize,
    channels: Channels | None,
    say: Say = say_nothing,
    *,
    layout_of: Callable[[PictureSource], Layout] = read_layout,
) -> ImageSet:
    """The pictures of a folder, an archive or a table in memory, as `import_pictures` makes them.

    `say` gets the lines of the layout, and those of `import_pictures`. Raises DataInvalid, DiskFull.
    """
    with open_source(path) as source, TemporaryDirectory() as folder, named_writing_trouble(Path(folder)):
        layout = layout_of(source)
        for line in layout.lines:
            say(line)
        images = import_pictures(source, layout, Options(Target(size, channels), advises=False), Path(folder), say)
        return read_image_set(images, name)
