"""Pictures: a folder, an archive or a table of picture files, decoded, as an ImageSet."""

from collections.abc import Callable, Sequence
from dataclasses import replace
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
from workers.gan.data.layout import SplitName, read_layout


def read_pictures(
    path: Path,
    name: str,
    size: ImageSize,
    channels: Channels | None,
    say: Say = say_nothing,
    *,
    labels: str | None = None,
    under: str = "",
    split_of: Callable[[Sequence[str]], Sequence[SplitName]] | None = None,
) -> ImageSet:
    """The pictures of a folder, an archive or a table in memory, as `import_pictures` makes them.

    `labels` and `under` are those of `read_layout`. `split_of` tells the split of each name, where folders do not.
    `say` gets its lines, and those of `import_pictures`. Raises DataInvalid, DiskFull.
    """
    with open_source(path) as source, TemporaryDirectory() as folder, named_writing_trouble(Path(folder)):
        layout = read_layout(source, labels, under=under)
        if split_of:
            splits = split_of([file.name for file in layout.files])
            files = [replace(file, split=split) for file, split in zip(layout.files, splits, strict=True)]
            layout = replace(layout, files=files)
        for line in layout.lines:
            say(line)
        images = import_pictures(source, layout, Options(Target(size, channels), advises=False), Path(folder), say)
        return read_image_set(images, name)
