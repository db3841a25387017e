"""SweepWatch: what becomes of sweeps. It keeps nothing of its own: each look begins with what Redis has."""

import logging
import time

from ganservice.errors import SpecInvalid
from ganservice.job import State
from ganservice.settings import Settings
from ganservice.sweep_plan import Moves, next_moves
from ganservice.sweep_queue import SweepQueue
from ganservice.sweeps import Sweep
from workers.dispatch.pace import rest_s
from workers.dispatch.troubles import Troubles

log = logging.getLogger(__name__)

# Jobs of one sweep that are submitted in one look, and how much of the time all looks may take.
SUBMITTED_AT_ONCE = 20
LOOK_SHARE, LOOK_REST_S = 0.05, 30.0


class SweepWatch:
    """The sweeps that are not over, as the dispatcher that leads advances them."""

    def __init__(self, settings: Settings, troubles: Troubles) -> None:
        self._queue = SweepQueue(settings)
        self._troubles = troubles
        self._look_at = 0.0

    def advance(self, leadership: int) -> None:
        """Do what is next in each sweep. Raises LeadershipLost."""
        began = time.monotonic()
        if began < self._look_at:
            return
        for sweep_id in self._queue.live_sweep_ids():
            with self._troubles.contained("advancing a sweep", of=sweep_id):
                self._advance(sweep_id, leadership)
        now = time.monotonic()
        self._look_at = now + rest_s(now - began, LOOK_SHARE, longest_s=LOOK_REST_S)

    def _advance(self, sweep_id: str, leadership: int) -> None:
        sweep = self._queue.sweep(sweep_id)
        children = self._queue.children(sweep)
        moves = next_moves(sweep.spec, children, is_cancelled=sweep.cancel_requested)
        if moves.end:
            message = "" if moves.end is not State.FAILED else "nothing was found of any of its jobs"
            self._queue.settle(sweep, moves.end, children, leadership, message=message)
            log.info("%s has %s", sweep.id, moves.end)
            return
        for child, until_images in moves.promote:
            self._queue.promote(child, until_images, leadership)
        for child, why in moves.stop:
            self._queue.stop(child, why, leadership)
        try:
            waiting_for = self._submit(sweep, moves, leadership)
        except SpecInvalid as error:  # of somebody who submitted it by other means than ours
            self._give_up(sweep, str(error), leadership)
            return
        if waiting_for != sweep.waiting_for:
            self._queue.settle(sweep, State.RUNNING, children, leadership, waiting_for=waiting_for)

    def _submit(self, sweep: Sweep, moves: Moves, leadership: int) -> str | None:
        """Submit jobs that are missing. Returns what the next one waits for, if it may not be submitted now."""
        settings, spec = sweep.spec.settings(), sweep.spec
        until_images = spec.rungs[0] if spec.halving else None
        for place in moves.submit[:SUBMITTED_AT_ONCE]:
            job = spec.job(settings[place.setting], place.seed)
            if refused := self._queue.submit_child(sweep, place, job, until_images, leadership):
                return refused
        return None

    def _give_up(self, sweep: Sweep, why: str, leadership: int) -> None:
        for child in self._queue.children(sweep):
            if not child.is_over:
                self._queue.stop(child, "its sweep has failed", leadership)
        self._queue.settle(sweep, State.FAILED, self._queue.children(sweep), leadership, message=why)
