"""SweepWatch: what becomes of sweeps. It keeps nothing of its own: each look begins with what Redis has."""

import logging
import time
from bisect import bisect_right
from collections.abc import Sequence

from ganservice.errors import JobNotFound, JobUnreadable, SpecInvalid
from ganservice.job import State
from ganservice.settings import Settings
from ganservice.sweep import Place
from ganservice.sweep_plan import Child, Moves, next_moves
from ganservice.sweep_queue import SweepQueue
from ganservice.sweeps import Sweep
from workers.dispatch.pace import rest_s
from workers.dispatch.troubles import Troubles

log = logging.getLogger(__name__)

# Jobs of one sweep that are submitted, and that go on or are stopped, in one look; how long a look at all sweeps takes,
# for the leadership has to be renewed; and how much of the time all looks take.
SUBMITTED_AT_ONCE, CHANGED_AT_ONCE = 20, 200
ROUND_S = 1.0
LOOK_SHARE, LOOK_REST_S = 0.05, 30.0


class SweepWatch:
    """The sweeps that are not over, as the dispatcher that leads advances them."""

    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        self._queue = SweepQueue(settings)
        self._troubles = troubles
        self._look_at = 0.0
        self._last = ""  # the sweep that was looked at last: the next look begins after it

    def advance(self, leadership: int) -> None:
        """Do what is next in each sweep, or in as many as there is time for. Raises LeadershipLost."""
        began = time.monotonic()
        if began < self._look_at:
            return
        ids = self._queue.live_sweep_ids()
        first = bisect_right(ids, self._last)
        for sweep_id in ids[first:] + ids[:first]:
            self._last = sweep_id
            with self._troubles.contained("advancing a sweep", of=sweep_id):
                self._advance(sweep_id, leadership)
            if time.monotonic() - began > ROUND_S:
                break
        now = time.monotonic()
        self._look_at = now + rest_s(now - began, LOOK_SHARE, longest_s=LOOK_REST_S)

    def _advance(self, sweep_id: str, leadership: int) -> None:
        try:
            sweep = self._queue.pin(self._queue.sweep(sweep_id), leadership)
        except JobNotFound:  # another hand has taken it away
            self._queue.settle_unreadable(sweep_id, leadership)
            return
        except JobUnreadable:
            if self._queue.sweep_field(sweep_id, "cancel_requested") != "1":
                raise
            self._cancel_unreadable(sweep_id, leadership)
            return
        children = self._queue.children(sweep)
        moves = next_moves(sweep.spec, children, is_cancelled=sweep.cancel_requested)
        if moves.end:
            message = "" if moves.end is not State.FAILED else "nothing was found of any of its jobs"
            self._queue.settle(sweep, moves.end, children, leadership, message=message)
            log.info("%s is over: %s", sweep.id, moves.end)
            return
        for child, until_images in moves.promote[:CHANGED_AT_ONCE]:
            self._queue.promote(child, until_images, leadership)
        for child, why in moves.stop[:CHANGED_AT_ONCE]:
            self._queue.stop(child.job_id, why, leadership)
        try:
            waiting_for = self._submit(sweep, moves, leadership)
        except SpecInvalid as error:  # of somebody who submitted it by other means than ours
            self._give_up(sweep, str(error), leadership)
            return
        if waiting_for != sweep.waiting_for or _over(children) != _over(sweep.children):
            self._queue.settle(sweep, State.RUNNING, children, leadership, waiting_for=waiting_for)

    def _submit(self, sweep: Sweep, moves: Moves, leadership: int) -> str | None:
        """Submit jobs that are missing. Returns what the next one waits for, if it may not be submitted now."""
        settings, spec = sweep.spec.settings(), sweep.spec
        until_images = spec.rungs[0] if spec.halving else None
        jobs = {place: spec.job(settings[place.setting], place.seed) for place in moves.submit[:SUBMITTED_AT_ONCE]}
        return self._queue.submit_children(sweep, jobs, until_images, leadership)

    def _give_up(self, sweep: Sweep, why: str, leadership: int) -> None:
        """Stop its jobs, those that are left over at the next look, and then fail it."""
        left = self._queue.live_jobs_of(sweep.id)
        for job_id in left[:CHANGED_AT_ONCE]:
            self._queue.stop(job_id, "its sweep has failed", leadership)
        if len(left) <= CHANGED_AT_ONCE:
            self._queue.settle(sweep, State.FAILED, self._queue.children(sweep), leadership, message=why)

    def _cancel_unreadable(self, sweep_id: str, leadership: int) -> None:
        """Cancel a sweep of which no more is known than its jobs."""
        left = self._queue.live_jobs_of(sweep_id)
        for job_id in left[:CHANGED_AT_ONCE]:
            self._queue.stop(job_id, "its sweep is cancelled", leadership)
        if not left:
            self._queue.settle_unreadable(sweep_id, leadership)


def _over(children: Sequence[Child]) -> set[Place]:
    """The places of the jobs of which nothing is to come."""
    return {child.place for child in children if child.is_over}
