"""ganctl sample: pictures from a trained generator."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganservice.cli.output import output_option, print_json
from ganservice.errors import RequestError

if TYPE_CHECKING:
    import torch

    from ganservice.manifest import GeneratorManifest


@click.command()
@click.argument("source", metavar="FOLDER|JOB")
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=64, help="How many pictures.")
@click.option("--seed", type=int, default=0, help="Which latents.")
@click.option("--columns", type=click.IntRange(1, 100), default=8, help="Pictures in a row.")
@click.option("--latents", type=click.Path(path_type=Path), help="Take the latents from this .npy, float32 [N, size].")
@click.option("--into", "target", type=click.Path(path_type=Path), help="PNG to write; by default SOURCE-samples.png.")
@click.option("--arrays", type=click.Path(path_type=Path), help="Also write latents and images to this .npz.")
@output_option
def sample(
    source: str,
    count: int,
    seed: int,
    columns: int,
    latents: Path | None,
    target: Path | None,
    arrays: Path | None,
    output: str,
) -> None:
    """Draw pictures from a fetched generator, or from a job's, and print the PNG's path."""
    import numpy as np
    import torch

    from ganservice.artifacts import check_bundle
    from ganservice.files import written_aside
    from workers.gan.export import WEIGHTS, load_generator
    from workers.gan.grid import grid_png
    from workers.gan.randomness import fixed_latents

    folder = _bundle(source)
    manifest = check_bundle(folder)
    recipe = manifest.spec.recipe
    generator = load_generator(recipe, folder / WEIGHTS)
    drawn = _read_latents(latents, manifest) if latents else fixed_latents(seed, count, recipe.latent_size)
    with torch.no_grad():
        images = torch.cat([generator(part) for part in torch.split(drawn, 256)]).numpy()
    target = target or Path(f"{folder.name}-samples.png")
    with written_aside(target) as aside:
        aside.write_bytes(grid_png(images, min(columns, len(images))))
    if arrays:
        with written_aside(arrays) as aside, aside.open("wb") as file:
            np.savez(file, latents=drawn.numpy(), images=images)
    if output == "json":
        print_json({"picture": str(target), "count": len(images), "arrays": arrays and str(arrays)})
    else:
        click.echo(target)


def _bundle(source: str) -> Path:
    """The folder of a fetched generator; that of a job is fetched into the cache."""
    from ganservice.artifacts import ArtifactStore
    from ganservice.cli.fetch import locate_generator
    from ganservice.settings import Settings

    if Path(source).is_dir():
        return Path(source)
    if "/" in source:
        raise RequestError(f"{source}: is no folder; expected a folder made by `ganctl fetch`, or a job")
    settings = Settings()
    store = ArtifactStore(settings)
    job_id, folder_key = locate_generator(settings, store, source)
    folder = settings.cache_dir / "generators" / folder_key.strip("/").replace("/", "-") / job_id
    if not folder.exists():
        store.fetch_generator(folder_key, folder)
    return folder


def _read_latents(path: Path, manifest: "GeneratorManifest") -> "torch.Tensor":
    import numpy as np
    import torch

    expected = f"float32 [N, {manifest.spec.recipe.latent_size}] in .npy format"
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RequestError(f"--latents {path}: cannot be read; expected {expected}") from error
    if values.ndim == 2 and not np.isfinite(values).all():
        raise RequestError(f"--latents {path}: found numbers that are not finite, expected {expected}")
    if values.ndim != 2 or values.shape[1] != manifest.spec.recipe.latent_size or not len(values):
        raise RequestError(f"--latents {path}: found {values.dtype} {list(values.shape)}, expected {expected}")
    return torch.from_numpy(values.astype(np.float32))
