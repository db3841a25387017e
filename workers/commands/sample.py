"""ganctl sample, interpolate: what a trained generator makes."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganservice.cli.output import output_option, print_document, print_line
from ganservice.cli.reference import find_job
from ganservice.documents import PicturesDocument, WalkDocument
from ganservice.errors import DataInvalid, RequestError
from ganservice.mistakes import one_line
from workers.commands.options import class_option, picture_option, psi_option, seed_option, source_argument

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from workers.bundle import Bundle

# Of one command: all of them are in memory at once.
MAX_PICTURES = 10_000


@click.command()
@source_argument
@click.option("-n", "--count", type=click.IntRange(1, MAX_PICTURES), default=64, help="How many pictures.")
@seed_option
@class_option
@psi_option
@click.option("--truncation", type=click.FloatRange(0.01, 100), help="Draw numbers of latents beyond this anew.")
@click.option("--columns", type=click.IntRange(1, 100), default=8, help="Pictures in a row.")
@click.option("--latents", type=click.Path(path_type=Path), help="Take the latents from this .npy, float32 [N, size].")
@click.option("--styles", type=click.Path(path_type=Path), help="Draw of the styles w in this .npy, float32 [N, size].")
@picture_option
@click.option("--show", is_flag=True, help="Also draw them here, where the terminal has the colours.")
@click.option("--arrays", type=click.Path(path_type=Path), help="Also write inputs and output to this .npz.")
@output_option
def sample(
    source: str,
    count: int,
    seed: int,
    class_name: str | None,
    psi: float | None,
    truncation: float | None,
    columns: int,
    latents: Path | None,
    styles: Path | None,
    target: Path | None,
    show: bool,
    arrays: Path | None,
    output: str,
) -> None:
    """Draw pictures from a fetched generator, or from a job's, and print the PNG's path."""
    from workers.bundle import open_bundle
    from workers.commands.half_blocks import show_picture
    from workers.gan.randomness import fixed_latents

    drawn_by = {
        "--latents": latents,
        "--class": class_name,
        "--psi": psi,
        "--truncation": truncation,
        "--arrays": arrays,
    }
    if styles and (others := [option for option, value in drawn_by.items() if value is not None]):
        raise RequestError(f"{others[0]}: is of latents, from which styles come; leave it or --styles out")
    if latents and truncation is not None:
        raise RequestError("--truncation: is of latents that are drawn; leave it or --latents out")
    bundle = open_bundle(source, find_job)
    if bundle.manifest.styles and truncation is not None:
        raise RequestError(f"--truncation: {bundle.job_id} normalises its latents: it changes nothing; see --psi")
    size = bundle.latent_size
    if styles:
        inputs = _read_rows("styles", styles, bundle.style_generator("--styles").w_size)
        labels: tuple[torch.Tensor, ...] = ()
        images = bundle.draw(inputs).numpy()
    else:
        inputs = _read_rows("latents", latents, size) if latents else fixed_latents(seed, count, size, truncation)
        labels = bundle.labels(class_name, len(inputs))
        images = bundle.make(inputs, labels, psi).numpy()
    target = target or Path(f"{bundle.folder.name}-samples.png")
    png = _picture(images, min(columns, len(images)))
    _write(target, png)
    if show:
        show_picture(png)
    if arrays:
        _write_arrays(arrays, bundle, [inputs.numpy(), *(values.numpy() for values in labels), images])
    if output == "json":
        print_document(PicturesDocument(picture=str(target), count=len(images), arrays=str(arrays) if arrays else None))
    else:
        print_line(target)


@click.command()
@source_argument
@click.option("--points", type=click.IntRange(2, 1_000), default=2, help="Latents to walk through.")
@click.option("--steps", type=click.IntRange(1, 1_000), default=10, help="Pictures from one to the next.")
@click.option("--method", type=click.Choice(["slerp", "lerp"]), default="slerp", help="Along a circle, or straight.")
@seed_option
@class_option
@psi_option
@click.option("--latents", type=click.Path(path_type=Path), help="Walk through the latents of this .npy instead.")
@picture_option
@output_option
def interpolate(
    source: str,
    points: int,
    steps: int,
    method: str,
    seed: int,
    class_name: str | None,
    psi: float | None,
    latents: Path | None,
    target: Path | None,
    output: str,
) -> None:
    """Walk through latent space from point to point, one row of pictures for each leg, and print the PNG's path."""
    import torch

    from workers.bundle import open_bundle
    from workers.gan.latent import lerp, slerp, walk
    from workers.gan.plane import points_png
    from workers.gan.randomness import fixed_latents

    bundle = open_bundle(source, find_job)
    size = bundle.latent_size
    stops = _read_rows("latents", latents, size) if latents else fixed_latents(seed, points, size)
    if len(stops) < 2:
        raise RequestError(f"--latents {latents}: found 1 point, expected at least 2 to walk between")
    if (len(stops) - 1) * steps > MAX_PICTURES:
        raise RequestError(
            f"--steps: found {steps} for each of {len(stops) - 1} legs, expected at most {MAX_PICTURES:,} in all"
        )
    path = walk(stops, steps, slerp if method == "slerp" else lerp)
    first = bundle.learned[0] if bundle.recipe.conditioning else None
    images = bundle.make(path, bundle.labels(class_name or first, len(path)), psi)
    # A row for each leg, with both of its ends.
    rows = [images[leg * steps : (leg + 1) * steps + 1] for leg in range(len(stops) - 1)]
    target = target or Path(f"{bundle.folder.name}-{method}.png")
    picture_rows = torch.cat(rows).numpy()
    _write(target, _picture(picture_rows, steps + 1) if images.ndim == 4 else points_png(images.numpy(), joined=True))
    if output == "json":
        changes = (images[1:] - images[:-1]).flatten(1).square().mean(dim=1).sqrt()
        lengths = path.norm(dim=1)
        print_document(
            WalkDocument(
                picture=str(target),
                method=method,
                latents=path.tolist(),
                latent_lengths=lengths.tolist(),
                picture_changes=changes.tolist(),
            )
        )
    else:
        print_line(target)


def _picture(images: "NDArray[np.float32]", columns: int) -> bytes:
    from workers.gan.grid import grid_png
    from workers.gan.plane import points_png

    return grid_png(images, columns) if images.ndim == 4 else points_png(images)


def _write(target: Path, png: bytes) -> None:
    from ganservice.files import write_aside

    with write_aside(target) as aside:
        aside.write_bytes(png)


def _write_arrays(path: Path, bundle: "Bundle", values: "list[NDArray[Any]]") -> None:
    """Inputs and output of a generator, by the names they have in its ONNX file."""
    import numpy as np

    from ganservice.files import write_aside
    from workers.gan.export import input_specs, output_spec

    names = [tensor.name for tensor in (*input_specs(bundle.recipe), output_spec(bundle.recipe))]
    with write_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(zip(names, values, strict=True)))


def _read_rows(name: str, path: Path, size: int) -> "torch.Tensor":
    """Latents, or styles, from a file that the option of this name names."""
    import numpy as np
    import torch

    from workers.gan.data.arrays import read_array, read_packed_array

    expected = f"float32 [N, {size}] in .npy format"
    try:
        # An archive is what `sample --arrays` writes.
        values = read_packed_array(path, name) if zipfile.is_zipfile(path) else read_array(path)
    except (DataInvalid, OSError) as error:
        raise RequestError(one_line(f"--{name} {error}; expected {expected}")) from error
    if len(values.shape) == 2 and len(values) > MAX_PICTURES:
        raise RequestError(f"--{name} {path}: found {len(values):,}, expected at most {MAX_PICTURES:,}")
    if values.ndim == 2 and not np.isfinite(values).all():
        raise RequestError(f"--{name} {path}: found numbers that are not finite, expected {expected}")
    if values.ndim != 2 or values.shape[1] != size or not len(values):
        raise RequestError(f"--{name} {path}: found {values.dtype} {list(values.shape)}, expected {expected}")
    return torch.from_numpy(values.astype(np.float32))
