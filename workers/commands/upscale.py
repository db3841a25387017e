"""ganctl upscale: pictures, enlarged by a generator of super-resolution."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganservice.cli.output import output_option, print_document, print_line
from ganservice.cli.reference import find_job
from ganservice.documents import UpscaleDocument
from ganservice.errors import ArtifactExists, RequestError
from ganservice.mistakes import one_line

if TYPE_CHECKING:
    from workers.upscaling import Upscaler


@click.command()
@click.argument("pictures", metavar="PICTURE...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--from", "source", metavar="FOLDER|JOB", default=".", help="A fetched generator's folder, or a job.")
@click.option("--into", "target", type=click.Path(path_type=Path), default=Path(), help="Folder to write to.")
@output_option
def upscale(pictures: tuple[Path, ...], source: str, target: Path, output: str) -> None:
    """Enlarge pictures of any size by a generator that learned to, and print the path of each PNG: NAME-x2.png.

    All are looked at before the first is written.
    """
    from ganservice.files import named_writing_trouble, write_aside
    from workers.bundle import open_bundle
    from workers.gan.data.whole_picture import read_whole
    from workers.upscaling import Upscaler

    upscaler = Upscaler(open_bundle(source, find_job))
    paths = _targets(pictures, target, upscaler)
    for picture in pictures:
        whole = read_whole(picture)
        try:
            upscaler.check(whole)
        except RequestError as error:
            raise RequestError(one_line(f"{picture}: {error}")) from error
    with named_writing_trouble(target):
        target.mkdir(parents=True, exist_ok=True)
    for picture, path in zip(pictures, paths, strict=True):
        large = upscaler.upscale(read_whole(picture))
        with write_aside(path) as aside:
            large.save(aside, "PNG")
        if output != "json":
            print_line(path)
    if output == "json":
        print_document(UpscaleDocument(pictures=tuple(map(str, paths)), factor=upscaler.factor))


def _targets(pictures: tuple[Path, ...], folder: Path, upscaler: "Upscaler") -> list[Path]:
    """Where each picture goes. Raises ArtifactExists, and RequestError of two that would go to one place."""
    from ganservice.files import is_there

    paths = [folder / f"{picture.stem}-x{upscaler.factor}.png" for picture in pictures]
    for picture, path in zip(pictures, paths, strict=True):
        if paths.count(path) > 1:
            raise RequestError(one_line(f"{picture}: another picture would be {path} too; enlarge them one by one"))
        if is_there(str(path)):
            raise ArtifactExists(one_line(f"{path} exists already; choose another folder with --into"))
    return paths
