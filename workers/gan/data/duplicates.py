"""Pictures that are the same, pixel for pixel."""

import numpy as np
from numpy.typing import NDArray


def first_of_each(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each of digests [N, 2] the place of the first that is equal; -1 of those that are zero, which are none."""
    # Equal digests stand side by side then, each first one before its later ones: the sort is stable.
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    is_new = np.ones(len(digests), bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_new)
    first = np.empty(len(digests), np.int64)
    first[order] = order[starts[np.cumsum(is_new) - 1]]
    first[~digests.any(axis=1)] = -1
    return first
