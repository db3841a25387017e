"""Pace: how far and how fast a training is, by its counter of images, looked at once for each beat."""

from collections import deque
from collections.abc import Callable
from itertools import pairwise

# Images/s are those of about so long a time.
SPAN_S = 20.0


class Pace:
    """The speed of a training that begins at `images_seen()` images. Belongs to the thread that beats."""

    def __init__(self, images_seen: Callable[[], int]) -> None:
        """`images_seen` is called from that thread: it must only read a counter."""
        self._images_seen = images_seen
        self.first_images = images_seen()
        self._looks: deque[tuple[float, int]] = deque()  # the last that found new images: when, and how many

    def look(self, now: float) -> tuple[int, float | None]:
        """Images seen and images/s; no speed before the first step. `now` is the time of a steady clock, in s."""
        images, looks = self._images_seen(), self._looks
        if not looks or images > looks[-1][1]:
            looks.append((now, images))
        while len(looks) > 3 and looks[1][0] <= now - SPAN_S:
            looks.popleft()
        (since, before), (until, newest) = looks[0], looks[-1]
        # Where a step takes longer than a beat, most looks find nothing new: that is no slower pace until the next
        # step takes longer than any of these did.
        longest_s = max((later - earlier for (earlier, _), (later, _) in pairwise(looks)), default=0.0)
        span_s = max(until, now - longest_s) - since
        return newest, (newest - before) / span_s if newest > before and span_s > 0 else None
