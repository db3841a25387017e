"""Course: how far an evaluation is and how long the rest takes, from its parts."""

import time
from collections.abc import Callable, Mapping

from workers.gan.evaluation.parts import Part

# Before so much is done, nothing is known of how long the rest takes.
LEAST_SHARE = 0.02


class Course:
    """What is done of each part. `tell` hears of each step: the share of all that is done, and s that are left."""

    def __init__(
        self, tell: Callable[[float, float | None], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._costs: dict[Part, float] = {}
        self._done: dict[Part, float] = {}
        self._began_at = clock()

    def begin(self, costs: Mapping[Part, float]) -> None:
        """The parts are known, by about how long each takes beside the others."""
        self._costs = dict(costs)
        self._began_at = self._clock()

    def skip(self, part: Part) -> None:
        """Leave a part out, for its result is there already."""
        self._costs.pop(part, None)

    def advance(self, part: Part, share_done: float) -> None:
        """So much of a part is done, 0 to 1."""
        if part not in self._costs:
            return
        self._done[part] = share_done
        total = sum(self._costs.values())
        done = sum(cost * self._done.get(part, 0.0) for part, cost in self._costs.items())
        share = min(1.0, done / total) if total else 0.0
        spent_s = self._clock() - self._began_at
        self._tell(share, spent_s * (1 - share) / share if share >= LEAST_SHARE else None)
