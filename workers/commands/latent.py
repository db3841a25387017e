"""ganctl recover, inpaint: searches in latent space for pictures."""

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganservice.cli.output import output_option, print_document, print_line, say
from ganservice.cli.reference import find_job
from ganservice.documents import Document, InpaintDocument, RecoverDocument
from ganservice.errors import DataInvalid, RequestError
from workers.commands.options import class_option, picture_option, seed_option, source_argument

if TYPE_CHECKING:
    import torch

    from workers.bundle import Bundle
    from workers.gan.data.examples import Examples

THRESHOLDS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def _search_options(command: Any) -> Any:
    """How long and how to search."""
    for option in (
        click.option(
            "--steps", type=click.IntRange(1, 1_000_000), help="Steps of each search: 40, by gradients 2,000."
        ),
        click.option("--restarts", type=click.IntRange(1, 1_000), default=4, help="Searches; the best one counts."),
        click.option(
            "--lr", type=click.FloatRange(0, 1e9, min_open=True), default=0.2, help="First step size of gradients."
        ),
        click.option(
            "--optimiser",
            type=click.Choice(["levenberg-marquardt", "adam", "descent"]),
            default="levenberg-marquardt",
            help="By curvature, by the gradient with Adam, or by the plain gradient.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@source_argument
@click.option("-n", "--count", type=click.IntRange(1, 1_000), default=8, help="How many pictures.")
@click.option("--real", is_flag=True, help="Recover real pictures, of the set it learned from, not generated ones.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Recover the pictures of this folder, zip or tar.")
@_search_options
@seed_option
@class_option
@picture_option
@output_option
def recover(
    source: str,
    count: int,
    real: bool,
    pictures: Path | None,
    seed: int,
    class_name: str | None,
    target: Path | None,
    output: str,
    **search: Any,
) -> None:
    """Find latents that give pictures: of generated ones the very latents, of real ones the nearest the generator has.

    Writes the pictures and what was found below each, and tells how near it came.
    """
    from workers.bundle import open_bundle
    from workers.gan.randomness import fixed_latents
    from workers.gan.recovery import Search, success_rates
    from workers.gan.recovery import recover as search_latents

    bundle = open_bundle(source, find_job)
    _ = bundle.pictures, bundle.latent_size  # refuses points in the plane, and a generator of no latents
    true: torch.Tensor | None = None
    if real or pictures:
        targets, labels = _pictures_of(bundle, pictures, count, class_name)
    else:
        true = fixed_latents(seed, count, bundle.latent_size)
        labels = bundle.labels(class_name, count)
        targets = bundle.make(true, labels)
    _check_lr(search["lr"])
    options = Search(seed=seed + 1, **search)
    found = search_latents(bundle.generator, targets, labels, bundle.latent_size, options)
    numbers: dict[str, Any] = {
        "picture": str(target or Path(f"{bundle.folder.name}-recovered.png")),
        "error_per_pixel": found.errors.mean().item(),  # mean squared, pixels in [-1, 1]
        "errors": found.errors.tolist(),
        "latents": found.latents.tolist(),
    }
    if true is not None:
        numbers["success_rates"] = success_rates(true, found.latents, THRESHOLDS)
    _write_rows(Path(numbers["picture"]), [targets, bundle.make(found.latents, labels)])
    _tell(numbers, output, RecoverDocument)


@click.command()
@source_argument
@click.option("-n", "--count", type=click.IntRange(1, 1_000), default=8, help="How many pictures.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Complete the pictures of this folder, zip or tar.")
@click.option(
    "--hide",
    type=click.Choice(["left", "right", "top", "bottom", "centre"]),
    default="bottom",
    help="The half, or the middle quarter, to fill in.",
)
@_search_options
@seed_option
@class_option
@picture_option
@output_option
def inpaint(
    source: str,
    count: int,
    pictures: Path | None,
    hide: str,
    seed: int,
    class_name: str | None,
    target: Path | None,
    output: str,
    **search: Any,
) -> None:
    """Complete pictures of which a part is hidden; what is known is kept as it is.

    Without --pictures those of the set it learned from. Writes three rows: the pictures, what is known, completed.
    """
    import torch

    from workers.bundle import open_bundle
    from workers.gan.recovery import Search
    from workers.gan.recovery import recover as search_latents

    bundle = open_bundle(source, find_job)
    _ = bundle.latent_size  # refuses a generator of none before any picture is read
    targets, labels = _pictures_of(bundle, pictures, count, class_name)
    mask = _mask(targets, hide)
    _check_lr(search["lr"])
    options = Search(seed=seed, **search)
    found = search_latents(bundle.generator, targets, labels, bundle.latent_size, options, mask)
    completed = torch.where(mask > 0, targets, bundle.make(found.latents, labels))
    hidden = (completed - targets).square().sum(dim=(1, 2, 3)) / (1 - mask).sum(dim=(1, 2, 3))
    path = target or Path(f"{bundle.folder.name}-inpainted.png")
    _write_rows(path, [targets, torch.where(mask > 0, targets, torch.zeros_like(targets)), completed])
    _tell(
        {
            "picture": str(path),
            "error_per_known_pixel": found.errors.mean().item(),
            "error_per_hidden_pixel": hidden.mean().item(),
            "latents": found.latents.tolist(),
        },
        output,
        InpaintDocument,
    )


def _check_lr(lr: float) -> None:
    if not math.isfinite(lr):
        raise RequestError(f"--lr: found {lr}, expected a finite number")


def _mask(targets: "torch.Tensor", hide: str) -> "torch.Tensor":
    """1 where a picture is known, 0 where it is hidden, in the shape of the pictures."""
    import torch

    mask = torch.ones_like(targets)
    height, width = targets.shape[2:]
    rows, columns = {
        "left": (slice(None), slice(0, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "top": (slice(0, height // 2), slice(None)),
        "bottom": (slice(height // 2, None), slice(None)),
        "centre": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }[hide]
    mask[:, :, rows, columns] = 0
    return mask


def _pictures_of(
    bundle: "Bundle", pictures: Path | None, count: int, class_name: str | None
) -> tuple["torch.Tensor", tuple["torch.Tensor", ...]]:
    """Pictures float [B, C, H, W] in [-1, 1] as the generator makes them, and the labels it needs for them.

    Of the set it learned from those that it did not see, where there is such a split.
    """
    import torch

    data = bundle.pictures
    if pictures is not None:
        from workers.gan.data.layout import read_layout
        from workers.gan.data.pictures import read_pictures

        unlabelled = partial(read_layout, labels="none")
        given = read_pictures(pictures, "given", data.image_size, data.channels, say, layout_of=unlabelled)
        split = given.splits["train"]
        images, labels = (
            torch.from_numpy(split.images[:count]),
            bundle.labels(class_name, min(count, len(split.images))),
        )
    else:
        examples = _stored_pictures(bundle)
        if class_name is not None:
            if examples.labels is None:
                raise DataInvalid("the pictures it learned from have no labels; expected some for --class")
            examples = examples.of_classes([bundle.class_number(class_name)])
        images = examples.images.first(count)
        labels = ()
        if bundle.recipe.conditioning is not None and examples.labels is not None:
            labels = (examples.labels[:count],)
    return images.float() / 127.5 - 1, labels


def _stored_pictures(bundle: "Bundle") -> "Examples":
    from ganservice.artifacts import ArtifactStore
    from ganservice.settings import Settings
    from workers.attempt.stored_data import pictures

    settings, data = Settings(), bundle.pictures
    store = ArtifactStore(settings)
    split = "test" if "test" in store.find_data_set(data.dataset, data.digest, say).counts else "train"
    examples = pictures(settings, store, data, split)
    if bundle.recipe.conditioning and examples.labels is not None:
        examples = examples.of_classes(list(bundle.learned))
    return examples


def _write_rows(path: Path, rows: list["torch.Tensor"]) -> None:
    """One column for each picture, one row for each version of it."""
    import torch

    from ganservice.files import write_aside
    from workers.gan.grid import grid_png

    with write_aside(path) as aside:
        aside.write_bytes(grid_png(torch.cat(rows).numpy(), len(rows[0])))


def _tell(numbers: dict[str, Any], output: str, document: type[Document]) -> None:
    if output == "json":
        print_document(document.model_validate(numbers))
        return
    print_line(numbers["picture"])
    for name, value in numbers.items():
        if isinstance(value, float):
            say(f"{name.replace('_', ' ')}: {value:.5f}")
    for threshold, rate in numbers.get("success_rates", {}).items():
        say(f"latents found to within {threshold:g}: {rate:.0%}")
