"""Where two trainings differ: in the last checkpoint, in the published generator, in the reports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ganservice.artifacts import CHECKPOINT_BYTES, ArtifactStore
from ganservice.job import Job, Progress
from ganservice.manifest import WEIGHTS
from ganservice.quantities import OF_MACHINE
from workers.gan.checkpoint import decode_checkpoint

# What a trainer's state abbreviates.
NAMES = {"g": "generator", "d": "discriminator"}


@dataclass(frozen=True)
class Remains:
    """All that a training leaves behind by which it can be told from another."""

    values: dict[str, Any]  # tensors and plain values by path
    rows: Sequence[Progress]

    @property
    def tensors(self) -> int:
        """The number of tensors."""
        return sum(isinstance(value, Tensor) for value in self.values.values())


@dataclass(frozen=True)
class Difference:
    """What two trainings differ in."""

    path: str | None  # of the first value that differs
    images: int | None  # of the first report that differs
    fields: tuple[str, ...]  # of that report
    largest: float  # between two numbers anywhere
    is_tolerated: bool = False

    def __str__(self) -> str:
        """One line."""
        parts = [f"first in {self.path}"] if self.path else ["in no tensor"]
        if self.images is not None:
            parts.append(f"in the report at {self.images:,} images: {', '.join(self.fields)}")
        return f"{'; '.join(parts)}; the largest difference is {self.largest:.3g}"


def remains_of(store: ArtifactStore, job: Job) -> Remains:
    """What a job that has succeeded left in the store. Raises DigestMismatch."""
    state, _ = decode_checkpoint(store.get_checkpoint(store.checkpoint_keys(job.id)[0]))
    weights = safetensors.torch.load(store.objects.get(f"{job.generator}{WEIGHTS}", CHECKPOINT_BYTES))
    named = {NAMES.get(name, name): value for name, value in state.items()}
    values = leaves(named, "trainer") | leaves(weights, WEIGHTS)
    return Remains(values, [Progress.model_validate_json(row) for row in store.metrics(job.id).splitlines()])


def leaves(tree: Any, path: str) -> dict[str, Any]:
    """All tensors and plain values of a tree, by path."""
    if not isinstance(tree, dict | list | tuple):
        return {path: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {name: leaf for key, value in items for name, leaf in leaves(value, f"{path}.{key}").items()}


def difference(one: Remains, other: Remains, tolerance: float = 0.0) -> Difference | None:
    """What differs, or None where everything is the same bit by bit.

    It is tolerated where no two numbers are further apart than `tolerance`, as a share of them where they are large.
    """
    paths = [path for path in one.values | other.values if not _is_same(one.values.get(path), other.values.get(path))]
    rows = _different_rows(one.rows, other.rows)
    if not paths and not rows:
        return None
    pairs = [(one.values.get(path), other.values.get(path)) for path in paths]
    pairs += [pair for _, fields in rows for pair in fields.values()]
    images, fields = rows[0] if rows else (None, {})
    is_tolerated = tolerance > 0 and all(_distance(*pair, is_relative=True) <= tolerance for pair in pairs)
    largest = max(_distance(*pair) for pair in pairs)
    return Difference(paths[0] if paths else None, images, tuple(fields), largest, is_tolerated)


def _different_rows(one: Sequence[Progress], other: Sequence[Progress]) -> list[tuple[int, dict[str, tuple[Any, Any]]]]:
    """Images and differing fields of each report that differs, or that only one of them has."""
    found = []
    mine, theirs = ({row.images: row.model_dump(exclude=OF_MACHINE) for row in rows} for rows in (one, other))
    counts = tuple(Counter(row.images for row in rows) for rows in (one, other))
    for images in sorted(mine | theirs):
        a, b = mine.get(images, {}), theirs.get(images, {})
        if counts[0][images] != counts[1][images]:  # it is told twice
            a, b = ({**row, "reports": count[images]} for row, count in zip((a, b), counts, strict=True))
        fields = {name: (a.get(name), b.get(name)) for name in a | b if not _is_same(a.get(name), b.get(name))}
        if fields:
            found.append((images, fields))
    return found


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        # By their bits: NaN is itself, and 0 is not -0.
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_bits(one), _bits(other))
    return type(one) is type(other) and bool(one == other)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _distance(one: Any, other: Any, *, is_relative: bool = False) -> float:
    """The largest difference of two numbers, or of two tensors' numbers; infinite where they cannot be compared."""
    numbers = bool | int | float | Tensor
    if not (isinstance(one, numbers) and isinstance(other, numbers)):
        return float("inf")
    a, b = (torch.as_tensor(value, dtype=torch.float64) for value in (one, other))
    if a.shape != b.shape:
        return float("inf")
    apart = (a - b).abs()
    if is_relative:
        apart /= torch.maximum(a.abs(), b.abs()).clamp(min=1)
    return float(apart.nan_to_num(nan=float("inf")).max())
