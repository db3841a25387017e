"""ganctl data: data sets in the store."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganservice.cli.output import output_option, print_document, print_fields, print_rows, say
from ganservice.errors import RequestError
from workers.commands.data_import import import_data, print_stored

if TYPE_CHECKING:
    from ganservice.manifest import DataManifest
    from ganservice.settings import Settings

# Before the name of a set: three pictures of it as the channels of one.
STACKED = "stacked-"


@click.group()
def data() -> None:
    """Data sets: those in the store, those that can be had, and your own pictures."""


data.add_command(import_data)


@data.command("list")
@output_option
def list_data(output: str) -> None:
    """List the data sets in the store, and known ones that `data get` can bring.

    Of several with one name, the name means the last; recipe.data.digest tells them apart.
    """
    from ganservice.artifacts import ArtifactStore
    from ganservice.settings import Settings
    from workers.gan.data.catalogue import CATALOGUE

    stored = ArtifactStore(Settings()).list_data_sets(say)
    if output == "json":
        from ganservice.documents import DataSetsDocument

        print_document(DataSetsDocument(data_sets=tuple(stored)))
        return
    rows: list[dict[str, object]] = [
        {
            "name": manifest.name,
            "images": manifest.counts["train"],
            "test": manifest.counts.get("test", 0),
            "size": "x".join(map(str, (manifest.channels, *manifest.sides))),
            "classes": len(manifest.classes),
            "digest": manifest.digest[:12],
            "source": f"{'superseded; ' if manifest.name in later else ''}{manifest.source}",
        }
        for manifest, later in zip(stored, _later_names(stored), strict=True)
    ]
    for name in sorted(CATALOGUE.keys() - {manifest.name for manifest in stored}):
        empty: dict[str, object] = dict.fromkeys(("images", "test", "size", "classes", "digest"))
        rows.append({"name": name, **empty, "source": f"not in the store; run `ganctl data get {name}`"})
    print_rows(rows)


def _later_names(stored: "list[DataManifest]") -> list[set[str]]:
    """For each data set, the names of those that come after it."""
    return [{later.name for later in stored[place + 1 :]} for place in range(len(stored))]


@data.command("get")
@click.argument("name")
@click.option("--from", "folder", type=click.Path(path_type=Path), help="A folder that holds the files already.")
@click.option("--size", type=click.IntRange(4, 256), help="Resize the pictures; the data set is then named NAME-SIZE.")
@output_option
def get_data(name: str, folder: Path | None, size: int | None, output: str) -> None:
    """Bring a known data set into the store: fashion-mnist, mnist, cifar-10, emoji, emoji-held-out.

    stacked-fashion-mnist and stacked-mnist have three pictures as the channels of one, and a thousand classes.
    """
    from ganservice.settings import Settings

    print_stored(bring_data_set(Settings(), name, folder, size), output)


@data.command("show")
@click.argument("reference", metavar="NAME[@DIGEST]")
@click.option("--sheet", type=click.Path(path_type=Path), help="PNG to write, with pictures of each class in a row.")
@click.option("--show", is_flag=True, help="Also draw them here, where the terminal has the colours.")
@output_option
def show_data(reference: str, sheet: Path | None, show: bool, output: str) -> None:
    """Tell what a data set in the store holds, by split and by class.

    Of several with one name the first letters of the digest say which; without them it is the last.
    """
    from ganservice.artifacts import ArtifactStore
    from ganservice.documents import DataShowDocument
    from ganservice.settings import Settings
    from workers.commands import data_show

    settings = Settings()
    name, _, digest = reference.partition("@")
    manifest = ArtifactStore(settings).find_data_set(name, digest or None, say)
    if sheet or show:
        _draw_sheet(settings, manifest, sheet, show=show)
    if output == "json":
        print_document(
            DataShowDocument(
                data_set=manifest,
                bytes=sum(file.bytes for file in manifest.files.values()),
                imbalance=data_show.imbalance(manifest),
                sheet=str(sheet) if sheet else None,
            )
        )
    else:
        print_fields(data_show.fields(manifest))
        print_rows(data_show.class_rows(manifest))
        if len(manifest.classes) > data_show.MAX_ROWS:
            say(f"the first {data_show.MAX_ROWS} of {len(manifest.classes):,} classes; `-o json` tells of all")


def _draw_sheet(settings: "Settings", manifest: "DataManifest", sheet: Path | None, *, show: bool) -> None:
    from ganservice.artifacts import ArtifactStore
    from ganservice.files import write_aside
    from workers.commands import data_show
    from workers.commands.half_blocks import show_picture

    folder = ArtifactStore(settings).cache_data_set(manifest, settings.cache_dir)
    png, classes = data_show.sheet(manifest, folder)
    if classes:
        more = sum(map(bool, manifest.class_counts.values())) - len(classes)
        say(f"rows: {', '.join(classes)}{f'; {more:,} classes more are not drawn' if more > 0 else ''}")
    if sheet:
        with write_aside(sheet) as aside:
            aside.write_bytes(png)
    if show:
        show_picture(png)


@data.command("delete")
@click.argument("reference", metavar="NAME[@DIGEST]")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@output_option
def delete_data(reference: str, yes: bool, output: str) -> None:
    """Delete a data set from the store, unless a job in the queue uses it.

    Of several with one name the first letters of the digest say which.
    """
    from ganservice.artifacts import ArtifactStore
    from ganservice.cli.clean import confirm_at_terminal
    from ganservice.deletion import delete_data_set
    from ganservice.documents import DataSetDocument
    from ganservice.queue import JobQueue
    from ganservice.settings import Settings

    settings = Settings()
    name, _, digest = reference.partition("@")
    confirm_at_terminal(f"Delete the data set {reference}?", yes)
    whole_digest, amount = delete_data_set(JobQueue(settings), ArtifactStore(settings), name, digest)
    say(f"deleted {name}@{whole_digest[:12]}: {amount.objects} files, {amount.bytes:,} bytes")
    if output == "json":
        print_document(DataSetDocument(name=name, digest=whole_digest, stored=False))


def bring_data_set(
    settings: "Settings", name: str, folder: Path | None = None, size: int | None = None
) -> "DataManifest":
    """Bring a known data set into the store, from `folder` or from where it is published. Returns its manifest there.

    Raises:
        RequestError: no data set is known by this name.
    """
    from workers.commands.image_storage import store_image_set
    from workers.gan.data.catalogue import CATALOGUE
    from workers.gan.data.sources import obtain
    from workers.gan.data.stacked import stacked

    entry = CATALOGUE.get(name.removeprefix(STACKED))
    if entry is None:
        raise RequestError(
            f"no data set is known as {name}; known: {', '.join(sorted(CATALOGUE))}, and {STACKED}NAME of grey ones; "
            "or `ganctl data import`"
        )
    settings.require_store()
    images = entry.read(obtain(entry, settings.cache_dir, folder, settings.data_mirrors.split(), say))
    if name.startswith(STACKED):
        images = stacked(images)
    if size is not None:
        images = images.resized(size)
    stored_name = name if size is None else f"{name}-{size}"
    return store_image_set(settings, images, stored_name)
