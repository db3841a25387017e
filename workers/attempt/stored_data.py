"""Pictures of the store, as rows of the files in the local cache."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataInvalid, DataMissing
from ganservice.manifest import DataManifest, labels_file
from ganservice.recipe import Mixture, Pictures
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from workers.gan.data.arrays import map_arrays, read_array
from workers.gan.data.examples import Examples, draw_mixture
from workers.gan.data.rows import Rows
from workers.gan.randomness import derive_seed

log = logging.getLogger(__name__)

# Examples that D is shown now and then without learning them; they lie on the device of the training.
HELD_OUT = 1_000


def training_set(settings: Settings, store: ArtifactStore, spec: TrainSpec) -> Examples:
    """Read what a training learns: stored pictures, or points drawn from its seed. Raises DataMissing, DataInvalid."""
    data = spec.recipe.data
    return draw_mixture(data, spec.seed) if isinstance(data, Mixture) else pictures(settings, store, data, "train")


def held_out(settings: Settings, store: ArtifactStore, spec: TrainSpec) -> Examples | None:
    """Read some examples that a training never learns; None where its data set has no test split of its classes.

    Raises:
        DataInvalid: as `pictures`.
    """
    data = spec.recipe.data
    if isinstance(data, Mixture):
        fewer = data.model_copy(update={"points": min(data.points, HELD_OUT)})
        return draw_mixture(fewer, derive_seed(spec.seed, "held out"))
    try:
        examples = pictures(settings, store, data, "test")
    except DataMissing:
        return None
    if spec.recipe.conditioning and examples.labels is None:
        return None
    rows = torch.randperm(len(examples.images), generator=torch.Generator().manual_seed(0))[:HELD_OUT]
    return Examples(examples.images.select(rows), examples.labels if examples.labels is None else examples.labels[rows])


def pictures(settings: Settings, store: ArtifactStore, data: Pictures, split: str) -> Examples:
    """One split of a data set in the store, of the wanted classes only.

    Raises:
        DataMissing: the store does not hold it, or it has no such split or class.
        DataInvalid: its arrays are not what its manifest says, or the spec asks for others.
    """
    manifest = store.find_data_set(data.dataset, data.digest, log.warning)
    if split not in manifest.counts:
        raise DataMissing(f"the data set {data.dataset} has no {split} split; it has {', '.join(manifest.counts)}")
    if (manifest.channels, manifest.image_size) != (data.channels, data.image_size):
        raise DataInvalid(
            f"the data set {data.dataset} has pictures of {manifest.channels} x {manifest.image_size} px, "
            f"the spec asks for {data.channels} x {data.image_size} px"
        )
    folder = store.cache_data_set(manifest, settings.cache_dir)
    examples = split_in(folder, manifest, split)
    if data.only is None:
        return examples
    if unknown := [name for name in data.only if name not in manifest.classes]:
        raise DataMissing(f"the data set {data.dataset} has no class {unknown[0]!r}")
    return examples.of_classes([manifest.classes.index(name) for name in data.only])


def split_in(folder: Path, manifest: DataManifest, split: str) -> Examples:
    """One split of a data set whose files lie in a folder. Raises DataInvalid unless they are as the manifest says."""
    images = _images(folder, manifest, split)
    labels = None
    if labels_file(split) in manifest.files:
        labels = torch.from_numpy(_labels(folder / labels_file(split), manifest, manifest.counts[split])).long()
    return Examples(images, labels, manifest.classes)


def _images(folder: Path, manifest: DataManifest, split: str) -> Rows:
    """The images of a split, mapped. Raises DataInvalid unless its files hold what the manifest says."""
    paths = [folder / name for name in manifest.images_files(split)]
    shards = map_arrays(paths)
    for path, shard in zip(paths, shards, strict=True):
        if shard.dtype != np.uint8 or shard.shape[1:] != manifest.shape or not len(shard):
            raise DataInvalid(
                f"{path}: is not an array that the manifest speaks of, uint8 [N, {str(list(manifest.shape))[1:]}"
            )
    found, expected = sum(map(len, shards)), manifest.counts[split]
    if found != expected:
        raise DataInvalid(
            f"{paths[0]}: {found:,} images are here{' and in the shards that follow' if len(paths) > 1 else ''}; "
            f"the manifest speaks of {expected:,}"
        )
    return Rows(shards)


def _labels(path: Path, manifest: DataManifest, count: int) -> NDArray[Any]:
    labels = read_array(path)
    if labels.dtype not in (np.uint8, np.int64) or labels.shape != (count,):
        raise DataInvalid(f"{path}: is not the array that the manifest speaks of, uint8 or int64 [{count}]")
    if labels.min() < 0 or (manifest.classes and labels.max() >= len(manifest.classes)):
        raise DataInvalid(f"{path}: has labels beyond the {len(manifest.classes)} classes of {manifest.name}")
    return labels
