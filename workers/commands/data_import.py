"""ganctl data import: pictures of a user as a data set in the store."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganservice.cli.output import output_option, print_document, print_line
from ganservice.errors import RequestError

if TYPE_CHECKING:
    from ganservice.manifest import DataManifest
    from ganservice.recipe import Channels, ImageSize
    from workers.gan.data.fitting import Fit, Ground


# Of a number of pixels; far more than any picture has.
MOST_DIGITS = 9


class Size(click.ParamType[int | str]):
    """The size of pictures: pixels of each side of a square, or WIDTHxHEIGHT."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read 64 or 96x64; 64x64 is 64."""
        from ganservice.recipe import image_size_of
        from ganservice.recipe.image_size import misfit

        width, x, height = str(value).partition("x")
        sides = [width, height if x else width]
        if not all(side.isascii() and side.isdecimal() and len(side) <= MOST_DIGITS for side in sides):
            expected = "pixels of each side, such as 64, or WIDTHxHEIGHT, such as 96x64"
            self.fail(f"found {value}, expected {expected}", param, ctx)
        size = image_size_of(*map(int, sides))
        if mistake := misfit(size):
            self.fail(mistake, param, ctx)
        return size


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the data set.")
@click.option("--size", type=Size(), required=True, help="Pixels of each side: 64, or WIDTHxHEIGHT, such as 96x64.")
@click.option(
    "--fit",
    type=click.Choice(["crop", "pad", "stretch"]),
    default="crop",
    help="Of pictures of other proportions, take the centre, fill up what they lack, or scale their sides apart.",
)
@click.option(
    "--channels",
    type=click.Choice(["1", "3", "4"]),
    help="Make all grey (1), RGB (3), or RGBA (4), which keeps alpha; else grey or RGB, as they are.",
)
@click.option(
    "--ground",
    type=click.Choice(["white", "black"]),
    default="white",
    help="What transparent pictures are laid on, and padded ones filled up with, unless --channels 4 keeps alpha.",
)
@click.option(
    "--labels",
    help="Classes by: folders (the first), paths (all folders), names (of files), FILE or FILE:COLUMN, a COLUMN of "
    "Parquet, .cls, .json, none; else they are looked for.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out pictures that cannot be read, and say which.")
@click.option("--skip-duplicates", is_flag=True, help="Leave out pictures that are the same as one before.")
@click.option(
    "--range",
    "value_range",
    type=(float, float),
    metavar="LOW HIGH",
    help="Values that become black and white, of pictures with more than 8 bits; else their smallest and largest.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="Processes that decode; else one for each core.")
@output_option
def import_data(
    path: Path,
    name: str,
    size: "ImageSize",
    fit: "Fit",
    channels: str | None,
    ground: "Ground",
    labels: str | None,
    value_range: tuple[float, float] | None,
    processes: int | None,
    output: str,
    *,
    skip_unreadable: bool,
    skip_duplicates: bool,
) -> None:
    """Bring a folder, zip, tar or Parquet of pictures into the store, all resized once to one size.

    Folders called train, test, val and the like are splits, other folders classes; it says what it makes of them.
    An import that was interrupted goes on where it was when the same command is given again.
    """
    from ganservice.settings import Settings
    from workers.commands.picture_import import bring_pictures
    from workers.gan.data.decoding import Range, Target
    from workers.gan.data.import_options import Options

    settings = Settings()
    settings.require_store()
    if value_range is not None and not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise RequestError(
            f"--range {value_range[0]:g} {value_range[1]:g}: expected two numbers, the smaller one first"
        )
    channel_counts: dict[str | None, Channels | None] = {None: None, "1": 1, "3": 3, "4": 4}
    given_range = None if value_range is None else Range(*value_range)
    target = Target(size, channel_counts[channels], given_range, fit, ground)
    cores = len(os.sched_getaffinity(0))
    options = Options(target, processes or cores, skip_unreadable, skip_duplicates)
    print_stored(bring_pictures(settings, path, name, options, labels), output)


def print_stored(manifest: "DataManifest", output: str) -> None:
    """Print the name of a data set that the store holds now, or its document."""
    from ganservice.documents import DataSetDocument

    if output == "json":
        print_document(DataSetDocument(name=manifest.name, digest=manifest.digest, stored=True))
    else:
        print_line(manifest.name)
