"""Pictures of the store as tensors, by way of the local cache."""

from pathlib import Path

import torch
from torch import Tensor

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataMissing
from ganservice.recipe import Mixture, Pictures
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from workers.gan.data.arrays import read_array
from workers.gan.data.examples import Examples, draw_mixture


def training_set(settings: Settings, store: ArtifactStore, spec: TrainSpec) -> Examples:
    """Read what a training learns: stored pictures, or points drawn from its seed. Raises DataMissing, DataInvalid."""
    data = spec.recipe.data
    return draw_mixture(data, spec.seed) if isinstance(data, Mixture) else pictures(settings, store, data, "train")


def pictures(settings: Settings, store: ArtifactStore, data: Pictures, split: str) -> Examples:
    """One split of a data set in the store, of the wanted classes only. Raises DataMissing, DataInvalid."""
    manifest = store.find_data_set(data.dataset, data.digest)
    if split not in manifest.counts:
        raise DataMissing(f"the data set {data.dataset} has no {split} split; it has {', '.join(manifest.counts)}")
    folder = store.cache_data_set(manifest, settings.cache_dir)
    images, labels = folder / f"{split}-images.npy", folder / f"{split}-labels.npy"
    examples = Examples(_array(images), _array(labels).long() if labels.exists() else None, manifest.classes)
    return examples.of_classes([manifest.classes.index(name) for name in data.only]) if data.only else examples


def _array(path: Path) -> Tensor:
    return torch.from_numpy(read_array(path))
