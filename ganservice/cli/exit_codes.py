"""What `wait` and `watch` tell a script, and which of several exit codes counts."""

from collections.abc import Iterable

from ganservice.errors import JobNotFound
from ganservice.job import State

EXIT_CODES = {State.SUCCEEDED: 0, State.FAILED: 100, State.CANCELLED: 103}
NOT_IN_TIME = 101
# Of `wait --healthy`, for a success with a reservation.
RESERVED = 104
# From the best to the worst; whatever is not among them is worse.
IN_ORDER = (0, RESERVED, EXIT_CODES[State.CANCELLED], NOT_IN_TIME, EXIT_CODES[State.FAILED], JobNotFound.exit_code)


def worst(codes: Iterable[int]) -> int:
    """The worst of several exit codes; 0 of none."""
    return max(codes, key=lambda code: IN_ORDER.index(code) if code in IN_ORDER else len(IN_ORDER), default=0)
