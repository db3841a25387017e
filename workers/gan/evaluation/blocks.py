"""Distances among many features, block by block: what they take of memory is the same however many there are.

Few distances matter, the small ones, and most are computed in float32 only, to tell which may be: that is half of the
work, and its error is bounded. Those few are then computed in float64, so that no number depends on float32.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

# Features of either side in a block. Of 2,048 numbers, the two sides take 33 MB in float32 and 66 MB in float64, the
# distances 16 MB and 32 MB. Pairs of them take 24 bytes each, and several times over for a moment: 0.7 GB in all where
# all of a block matter.
BLOCK = 2_000
CPU = torch.device("cpu")
# A squared distance below this share of the squared norms is what rounding leaves of 0: the two are the same.
ROUNDING = 1e-12
# Where more than one of so many distances in a block matter, it is cheaper to compute the whole block in float64.
FEW = 50
# Of so many numbers pairs are computed in float64 at a time: what that takes stays in the processor's cache.
NUMBERS = 2**17
# What one operation in float32 may be wrong by, as a share of its result; a bound for what rounding to float32 does to
# a limit; and what is lost of numbers too small for it, where the largest is 1.
UNIT, LIMIT, TINY = 2.0**-24, 1e-6, 1e-30
# Called before each block of what takes long; whatever it raises ends that.
Move = Callable[[], object]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of features [P]: which of the rows and which of the columns, int64, and their distances, float64."""

    rows: Tensor
    columns: Tensor
    distances: Tensor


@dataclass(frozen=True)
class Blocks:
    """The way in which features are compared: on which device, who is called before each block, and its size."""

    device: torch.device = CPU
    move: Move = lambda: None
    size: int = BLOCK

    def between(self, of: Tensor, among: Tensor) -> "Iterator[Block]":
        """Yield the blocks of distances of all of `of` [N, D], in rows, to all of `among` [M, D], in columns."""
        frame = _Frame.around(of, among)
        one, other = (_Side(features, frame, self.device) for features in (of, among))
        for rows in slices(len(of), self.size):
            part = one.part(rows)
            for columns in slices(len(among), self.size):
                self.move()
                yield Block(part, other.part(columns))

    def within(self, features: Tensor) -> "Iterator[Block]":
        """Yield blocks of distances among features [N, D], in which each two are a pair, and none with itself.

        A block on the diagonal has each pair in both orders; any other stands for the one across the diagonal too.
        """
        side = _Side(features, _Frame.around(features), self.device)
        for rows in slices(len(features), self.size):
            part = side.part(rows)
            for columns in slices(len(features), self.size, rows.start):
                self.move()
                yield Block(part, part if columns == rows else side.part(columns))

    def moved(self, features: Tensor) -> Tensor:
        """Return the features of a block as they are computed with where all is: on the device, in float64."""
        return features.to(self.device, torch.float64)


ON_CPU = Blocks()


def slices(count: int, size: int = BLOCK, first: int = 0) -> Iterator[slice]:
    """Yield the places of the next `size` from `first` on, again and again, up to `count`."""
    return (slice(start, min(start + size, count)) for start in range(first, count, size))


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where features are centred [D], and a power of 2 that makes the largest number about 1: both change no order.

    The error of a distance in float32 is a share of the squared norms, which are least around the middle.
    """

    centre: Tensor
    scale: float

    @classmethod
    def around(cls, *sets: Tensor) -> "_Frame":
        parts = [features[rows] for features in sets for rows in slices(len(features))]
        total = sum(map(len, sets))
        centre = sum((part.sum(dim=0, dtype=torch.float64) for part in parts), torch.zeros(())) / max(total, 1)
        centre = centre.float()
        largest = max((float((part - centre).abs().max()) for part in parts if part.numel()), default=0.0)
        usable = 0 < largest < math.inf
        return cls(centre, 2.0 ** -math.frexp(largest)[1] if usable else 1.0)


class _Side:
    """Features of one side of many blocks, and of each what bounds the error of its distances."""

    def __init__(self, features: Tensor, frame: _Frame, device: torch.device) -> None:
        self._features, self._device = features, device
        self._centre, self._scale = frame.centre.to(device), frame.scale
        self._given = self._features.new_empty(len(features), dtype=torch.float64, device=device)
        self._squares = torch.empty_like(self._given)
        for place in slices(len(features)):
            own = features[place].to(device)
            self._given[place], self._squares[place] = _squared_norms(own), _squared_norms(self._framed(own))

    def part(self, place: slice) -> "_Part":
        features = self._features[place].to(self._device)
        return _Part(place, features, self._framed(features), self._scale, self._squares[place], self._given[place])

    def _framed(self, features: Tensor) -> Tensor:
        return (features - self._centre).float().mul_(self._scale)


@dataclass(frozen=True, eq=False)
class _Part:
    """Features of one side of a block: as they came, and in the frame, float32; with squared norms of both, float64."""

    place: slice
    features: Tensor
    framed: Tensor
    scale: float
    squares: Tensor
    squares_as_given: Tensor

    @property
    def errors(self) -> Tensor:
        """The part of each feature in what a squared distance in float32 may be wrong by, float64 [B].

        That of a product of x and y, a sum of D products, is at most D u |x| |y| and a little, however they are added
        (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1). Twice that is at most
        D u (x^2 + y^2); centring, norms and sums take 8 u of these at most.
        """
        width = self.framed.shape[1]
        return self.squares * ((width + 16) * UNIT * 1.01) + TINY


class Block:
    """Distances of some features, in rows, to others, in columns.

    `rows` and `columns` are their places; of equal features the distance is exactly 0.
    """

    def __init__(self, one: _Part, other: _Part) -> None:
        self.rows, self.columns = one.place, other.place
        self._one, self._other = one, other

    @cached_property
    def _least(self) -> Tensor:
        """What no squared distance in the frame is below, float32 [R, C]; infinite of a feature with itself."""
        one, other = self._one, self._other
        low, other_low = ((part.squares - part.errors).float() for part in (one, other))
        least = torch.sub(other_low, one.framed @ other.framed.T, alpha=2).add_(low[:, None])
        return least.fill_diagonal_(torch.inf) if self.is_diagonal else least

    @property
    def is_diagonal(self) -> bool:
        """Whether both sides are the same features."""
        return self._one is self._other

    def nearer(self, rows: Tensor, columns: Tensor | None = None) -> Pairs:
        """Return all pairs nearer than the limit of either: of `rows` [R] and, if given, of `columns` [C]; float64."""
        widened = _widened(rows, self._one.scale)[:, None]
        if columns is not None:
            widened = torch.maximum(widened, _widened(columns, self._one.scale))
        row, column = (self._least < widened).nonzero(as_tuple=True)
        distances = self._distances(row, column)
        limits = rows[row] if columns is None else torch.maximum(rows[row], columns[column])
        row, column, distances = (each[distances < limits] for each in (row, column, distances))
        return Pairs(row + self.rows.start, column + self.columns.start, distances)

    def bounds(self, place: int, dim: int) -> Tensor:
        """Return distances, float64, than which the `place` nearest are less: of each row (dim 1) or column (dim 0)."""
        if place > self._least.shape[dim] - self.is_diagonal:
            return self._least.new_full((self._least.shape[1 - dim],), torch.inf, dtype=torch.float64)
        errors, other_errors = ((2 * part.errors).float() for part in (self._one, self._other))
        most = (self._least + other_errors).add_(errors[:, None])
        least = most.amin(dim) if place == 1 else most.topk(place, dim, largest=False).values.amax(dim)
        return (least.double() * (1 + LIMIT) + TINY).sqrt() / self._one.scale

    def distances(self) -> Tensor:
        """Return all distances, float64 [R, C]: for who needs most of them."""
        one, other = self._one, self._other
        x, y = one.features.double(), other.features.double()
        norms = one.squares_as_given[:, None] + other.squares_as_given
        squares = torch.addmm(norms, x, y.T, alpha=-2)
        return squares.masked_fill_(squares < norms.mul_(ROUNDING), 0).sqrt_()

    def _distances(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the distances of some pairs, float64."""
        one, other = self._one, self._other
        if len(rows) * FEW > self._least.numel():
            return self.distances()[rows, columns]
        size = max(1, NUMBERS // one.features.shape[1])
        pairs = zip(rows.split(size), columns.split(size), strict=True)
        distances = torch.cat(
            [_distance(one.features.index_select(0, x), other.features.index_select(0, y)) for x, y in pairs]
        )
        norms = one.squares_as_given[rows] + other.squares_as_given[columns]
        return distances.masked_fill_(distances.square() < norms.mul_(ROUNDING), 0)


def _widened(limits: Tensor, scale: float) -> Tensor:
    """Return the squares of limits as float32, in the frame, so that none is too small; nothing is nearer than 0."""
    return ((limits * scale).square() * (1 + LIMIT)).masked_fill(limits <= 0, -torch.inf).float()


def _squared_norms(features: Tensor) -> Tensor:
    """Return the squared norm of each of [N, D], float64 [N]; exact of whole numbers, so that equals stay equal."""
    return features.double().square().sum(dim=1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the distance of each of [P, D] to its own of [P, D], float64 [P]."""
    distances: Tensor = torch.linalg.vector_norm(one.double().sub_(other), dim=1)
    return distances
