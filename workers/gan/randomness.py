"""All chance in a training, derived from (seed, images seen) so that neither a resume nor the number of workers
changes it. Each draw is made for the whole global batch; a worker keeps its own rows."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ganservice.recipe import Recipe
from ganservice.spec import MAX_CLASS_ROWS
from workers.gan.worker_group import WorkerGroup


def derive_seed(seed: int, purpose: str, position: int = 0) -> int:
    """A 63-bit seed that is as good as independent for each (seed, purpose, position)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def seed_torch(seed: int) -> None:
    """Seed torch's own generators, of the CPU and of GPUs in use.

    For each kind of device that is not in use, `torch.manual_seed` formats and keeps the stack of its caller: as much
    time as a small step takes.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def fixed_latents(seed: int, count: int, latent_size: int, truncation: float | None = None) -> Tensor:
    """The same standard normal latents on every machine and at every call, [count, latent_size].

    With `truncation`, numbers beyond it are drawn anew within it (Brock et al. 2019, "BigGAN"): at once, by the inverse
    of the distribution, for drawing again and again would never end for a narrow one.
    """
    draws = torch.Generator().manual_seed(derive_seed(seed, "latents"))
    latents = torch.randn(count, latent_size, generator=draws)
    if truncation is None:
        return latents
    draws = torch.Generator().manual_seed(derive_seed(seed, "truncation"))
    share_below = torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64))
    shares = share_below + (1 - 2 * share_below) * torch.rand(latents.shape, generator=draws, dtype=torch.float64)
    return torch.where(latents.abs() > truncation, torch.special.ndtri(shares).to(latents.dtype), latents)


def noise_inputs(recipe: Recipe, seed: int, count: int) -> Tensor:
    """Something to try G with, beside labels: latents, or small pictures of noise; [count, *recipe.input_shape]."""
    return fixed_latents(seed, count, math.prod(recipe.input_shape)).view(count, *recipe.input_shape)


def class_labels(shares: Tensor, count: int, seed: int) -> Tensor:
    """Classes for `count` pictures, in the shares [K] or counts that the data have, in an order by the seed; int64.

    By largest remainder: no class is off its share by a whole picture, and an absent one gets none. Which of equal
    remainders get one more picture is drawn too, lest it be the first classes every time.
    """
    draws = torch.Generator().manual_seed(derive_seed(seed, "labels"))
    exact = shares.double() * count / shares.double().sum()
    whole = (exact + 1e-9).floor()  # a share of 0.1 is no whole number of tenths
    drawn = torch.randperm(len(shares), generator=draws)
    by_remainder = drawn[(exact - whole)[drawn].sort(descending=True, stable=True).indices]
    counts = whole.long()
    counts[by_remainder[: count - int(counts.sum())]] += 1
    labels = torch.arange(len(shares)).repeat_interleave(counts)
    return labels[torch.randperm(count, generator=draws)]


def fixed_inputs(recipe: Recipe, seed: int, rows: int, columns: int, classes: Tensor) -> tuple[Tensor, ...]:
    """The inputs that a grid's pictures are made from: fixed latents, and labels if the recipe has conditioning.

    With conditioning there is one row for each of `classes`, int64, those that are learned, or for MAX_CLASS_ROWS that
    lie evenly among more; each column has the same latents in all rows.
    """
    if recipe.conditioning is None:
        return (fixed_latents(seed, rows * columns, recipe.latent_size),)
    latents = fixed_latents(seed, columns, recipe.latent_size)
    count = min(len(classes), MAX_CLASS_ROWS)
    shown = classes[torch.arange(count) * len(classes) // count]
    return latents.repeat(count, 1), shown.repeat_interleave(columns)


class Draws:
    """The random numbers of one step, on the device that trains."""

    def __init__(self, seed: int, device: torch.device, group: WorkerGroup) -> None:
        self._seed = seed
        self._group = group
        self._holder = group  # of the rows that are kept: this worker, or one piece of its rows
        self._generator = torch.Generator(device)

    def begin_step(self, images: int) -> None:
        """Start the draws that belong to the step after `images` images, and those that networks take elsewhere.

        Those of torch's own generator, such as `torch.nn.Dropout`'s, are other ones in each worker of a gang.
        """
        self._generator.manual_seed(derive_seed(self._seed, "step", images))
        seed_torch(derive_seed(self._seed, f"elsewhere in worker {self._group.rank}", images))

    @property
    def generators_on_device(self) -> list[torch.Generator]:
        """Those of the device that a step draws from: its own one, then torch's."""
        device = self._generator.device
        if device.type != "cuda":
            return [self._generator, torch.default_generator]
        index = torch.cuda.current_device() if device.index is None else device.index
        return [self._generator, torch.cuda.default_generators[index]]

    @property
    def generators(self) -> list[torch.Generator]:
        """Those that a step may draw from, wherever."""
        return list(dict.fromkeys([*self.generators_on_device, torch.default_generator]))

    def pieces(self, count: int) -> Iterator[int]:
        """Draw the same for each of `count` pieces of this worker's rows, of which each keeps its own.

        While a piece is there, own rows are those of the piece.
        """
        state = self._generator.get_state()
        try:
            for piece in range(count):
                self._generator.set_state(state)
                self._holder = WorkerGroup(self._group.rank * count + piece, self._group.world_size * count)
                yield piece
        finally:
            self._holder = self._group

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Have the block draw what is drawn again after it."""
        state = self._generator.get_state()
        try:
            yield
        finally:
            self._generator.set_state(state)

    def normal(self, rows: int, columns: int) -> Tensor:
        """Standard normal numbers for a global batch of `rows`; own rows, [own rows, columns]."""
        shape = (rows, columns)
        values = torch.randn(shape, generator=self._generator, device=self._generator.device)
        return self._holder.own_rows(values)

    def noise(self, own_shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers in the shape of an own batch, drawn for the global one."""
        shape = (own_shape[0] * self._holder.world_size, *own_shape[1:])
        values = torch.randn(shape, generator=self._generator, device=self._generator.device)
        return self._holder.own_rows(values)

    def uniform(self, own_shape: tuple[int, ...]) -> Tensor:
        """Numbers in [0, 1) in the shape of an own batch, drawn for the global one."""
        shape = (own_shape[0] * self._holder.world_size, *own_shape[1:])
        values = torch.rand(shape, generator=self._generator, device=self._generator.device)
        return self._holder.own_rows(values)


class Order:
    """The order in which a data set of `count` images is seen: a fresh permutation for each epoch."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self._count = count
        self._permutations: dict[int, Tensor] = {}

    def indices(self, start: int, rows: int) -> Tensor:
        """The images that the global batch after `start` images holds, int64 [rows]."""
        parts = []
        while rows:
            epoch, position = divmod(start, self._count)
            part = self._permutation(epoch)[position : position + rows]
            parts.append(part)
            start += len(part)
            rows -= len(part)
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        known = self._permutations  # one thread may ask for other epochs than another
        if epoch not in known:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", epoch))
            last = dict([*known.items()][-1:])  # batches ahead may be of the next epoch, those in turn still of this
            known = self._permutations = last | {epoch: torch.randperm(self._count, generator=generator)}
        return known[epoch]
