"""ganctl augment: labelled pictures by a conditional generator, for whoever trains a classifier."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganservice.cli.output import output_option, print_document, print_line, say
from ganservice.cli.reference import find_job
from ganservice.documents import AugmentDocument
from ganservice.errors import ArtifactExists, RequestError
from workers.commands.options import seed_option, source_argument

if TYPE_CHECKING:
    from workers.bundle import Bundle


MOST_CLASSES = 256
# Of the name of a folder, in which each may take four bytes of 255.
MOST_LETTERS = 50


@click.command()
@source_argument
@click.option("--per-class", type=click.IntRange(1, 100_000), default=100, help="Pictures of each class.")
@click.option("--into", "target", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@seed_option
@output_option
def augment(source: str, per_class: int, target: Path, seed: int, output: str) -> None:
    """Write a labelled set of generated pictures: a folder of PNGs for each class, and the whole set in IDX format."""
    from ganservice.files import is_there, named_writing_trouble
    from workers.bundle import open_bundle

    bundle = open_bundle(source, find_job)
    learned = bundle.learned
    if learned[-1] >= MOST_CLASSES:
        raise RequestError(
            f"{source}: has {len(bundle.class_names)} classes; a label in IDX format is a byte, "
            f"which tells {MOST_CLASSES} apart"
        )
    if is_there(str(target)):
        raise ArtifactExists(f"{target} exists already; choose another folder with --into")
    with named_writing_trouble(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with named_writing_trouble(target):
            counts = _write_set(bundle, per_class, seed, aside)
            aside.chmod(0o755)
            aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if output == "json":
        print_document(AugmentDocument(folder=str(target), classes=counts))
    else:
        print_line(target)
    others = len(bundle.class_names) - len(counts)
    say(f"{sum(counts.values()):,} pictures of {len(counts)} classes{f'; {others} it did not learn' if others else ''}")


def _write_set(bundle: "Bundle", per_class: int, seed: int, folder: Path) -> dict[str, int]:
    """The pictures of each class that the generator learned, by its name; each picture has latents of its own."""
    import numpy as np
    import torch
    from PIL import Image

    from workers.gan.data.idx import write_idx
    from workers.gan.data.mnist import MNIST_FILES
    from workers.gan.grid import to_pixels
    from workers.gan.randomness import fixed_latents

    folders = [folder / name for name in folder_names(bundle.class_names)]
    labels = torch.tensor(bundle.learned).repeat_interleave(per_class)
    pixels = to_pixels(bundle.make(fixed_latents(seed, len(labels), bundle.latent_size), (labels,)).numpy())
    for index, picture in enumerate(pixels):
        path = folders[labels[index]] / f"{index % per_class:05d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(path)
    if pixels.shape[1] == 1:
        write_idx(folder / MNIST_FILES.train_images, pixels[:, 0])
    else:
        write_idx(folder / MNIST_FILES.train_images.replace("idx3", "idx4"), pixels)
    write_idx(folder / MNIST_FILES.train_labels, labels.numpy().astype(np.uint8))
    return {bundle.class_names[label]: per_class for label in bundle.learned}


def folder_names(classes: Sequence[str]) -> list[str]:
    """A name for the folder of each class: its own, but for what leads elsewhere, such as the / of "T-shirt/top".

    Where two would be one, or one would be none, each has its number too.
    """
    plain = [
        "".join("-" if letter in "/\\" or not letter.isprintable() else letter for letter in name)[:MOST_LETTERS]
        for name in classes
    ]
    names = [name.strip(". ") for name in plain]
    if "" in names or len({name.casefold() for name in names}) < len(names):
        return [f"{number:03d}-{name}" for number, name in enumerate(names)]
    return names
