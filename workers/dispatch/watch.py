"""GangWatch: the gangs that a leading dispatcher watches, and what it tells the queue of them.

Every act carries the leadership's token: once another dispatcher leads, the queue refuses it with LeadershipLost.
A gang is ended only after the queue has said that its attempt is over: it is garbage then, whoever removes it.
"""

import contextlib
import logging
import time
from collections.abc import Iterator

from ganservice.errors import JobNotFound, LeaseLost
from ganservice.job import Activity, Directive, Hold, Lease, Outcome, Pulse, Reason, RunningAttempt
from ganservice.maintenance import Cordon
from ganservice.mistakes import brief
from ganservice.model import cut
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from workers.dispatch.cluster import RayCluster
from workers.dispatch.gang import Gang, Phase
from workers.dispatch.name import GangName
from workers.dispatch.reconcile import reconcile
from workers.dispatch.room import may_vacate
from workers.dispatch.troubles import Troubles

log = logging.getLogger(__name__)

# Workers import torch, which takes a minute on a busy machine; those that take longer hang.
MEETING_LIMIT_S = 600.0
# What Ray tells of a head that has just come back may lack something for a while.
MISSING_S = 4.0
# Adopting many gangs takes longer than the leadership lasts without being renewed: so much of it in one go.
ADOPT_S = 1.5
# A gang that has waited longer for its next phase waits for room, or for imports.
NEW_S = 10.0
# What is raised for a value that a job has, and so again at the next look. Ray raises many others, which pass.
OWN_FAULTS = (ArithmeticError, RecursionError, TypeError, ValueError)
DISPATCHER_DOWN = "its dispatcher went down"
# Of a gang that nobody has asked the queue about, between two looks.
HELD = Hold(is_held=True)


class GangWatch:
    """The gangs of one leadership. Its successor makes a new one, from what is in Ray and in Redis."""

    def __init__(
        self, settings: Settings, cluster: RayCluster, queue: JobQueue, token: int, troubles: Troubles
    ) -> None:
        self.token = token  # of the leadership
        self.gangs: dict[GangName, Gang] = {}
        self._settings = settings
        self._cluster = cluster
        self._queue = queue
        self._troubles = troubles
        self._missing_since: dict[GangName, float] = {}
        self.is_behind = False  # gangs are left to adopt
        self.cordons: dict[str, Cordon] = {}  # by node
        self.has_told_all = False  # every gang has been told of the cordons

    def start(self, lease: Lease) -> bool:
        """Have a gang placed. False of one that cannot be: its job is given back, with the reason."""
        log.info("starting gang %s/%d", lease.job_id, lease.attempt)
        try:
            gang = self._cluster.start(self._settings, lease, frozenset(self.cordons))
        except Exception as error:  # noqa: BLE001 # Ray raises many kinds
            # What Ray cannot even be asked for is the job's own fault.
            reason = Reason.ERROR if isinstance(error, OWN_FAULTS) else Reason.UNPLACED
            message = brief(f"its gang does not start: {type(error).__name__}: {error}", 500)
            log.error("%s/%d: %s", lease.job_id, lease.attempt, message)
            self._finish(lease, Outcome(reason=reason, message=message))
            return False
        self.gangs[gang.name] = gang
        return True

    @property
    def has_new_gangs(self) -> bool:
        """Whether a gang may take its next step to the beginning of its attempt at any moment."""
        return bool(self._new_gangs())

    def settle(self, *, look: bool) -> None:
        """Move every gang on and end those that are over; `look` also asks the queue about all."""
        gangs = list(self.gangs.values())
        holds = self._queue.look_at(gang.lease for gang in gangs) if look else [HELD] * len(gangs)
        for gang, hold in zip(gangs, holds, strict=True):
            self._settle(gang, look, hold)

    def hasten(self) -> None:
        """Move on those that start."""
        for gang in self._new_gangs():
            self._settle(gang, look=False, hold=HELD)

    def _new_gangs(self) -> list[Gang]:
        now, starts = time.monotonic(), (Phase.PLACING, Phase.SEATING, Phase.MEETING)
        return [gang for gang in self.gangs.values() if gang.phase in starts and now - gang.phase_since < NEW_S]

    def _settle(self, gang: Gang, look: bool, hold: Hold) -> None:
        with self._troubles.contained("settling the gang", str(gang.name)):
            is_over = True
            with self.failing(gang.name.job_id):
                is_over = self._is_over(gang, look, hold)
            if is_over:
                log.info("gang %s is over: %s", gang.name, gang.message or gang.phase)
                self._drop(gang)

    @contextlib.contextmanager
    def failing(self, job_id: str) -> Iterator[None]:
        """Fail the job, with the reason, of which anything in the block cannot be handled."""
        try:
            yield
        except OWN_FAULTS as error:
            log.exception("%s: cannot be handled", job_id)
            message = f"the dispatcher cannot handle it: {type(error).__name__}: {error}"
            self._queue.fail(job_id, cut(" ".join(message.split())), self.token)

    def reconcile(self) -> None:
        """Compare what is in Ray with what is in Redis, both ways, and mend what does not belong together."""
        found, began = self._cluster.gangs(), time.monotonic()  # before the attempts: see `reconcile`
        missing = [name for name, since in self._missing_since.items() if began - since >= MISSING_S]
        acts = reconcile(found, self.gangs, self._queue.running_attempts(), missing)
        self._missing_since = {name: self._missing_since.get(name, began) for name in acts.missing}
        for name in acts.remove:
            with self._troubles.contained("removing the gang", str(name)):
                log.warning("ending stray gang %s: it is of no current attempt", name)
                self._cluster.end_stray(name)
        # First those that nobody else beats for.
        to_adopt = sorted(acts.adopt, key=lambda attempt: attempt.has_begun)
        self.is_behind = False
        for attempt in to_adopt:
            if time.monotonic() - began > ADOPT_S:
                self.is_behind = True
                break
            with self._troubles.contained("adopting the gang", attempt.job_id), self.failing(attempt.job_id):
                self._adopt(attempt)
        for attempt in acts.give_back:
            with self._troubles.contained("giving back the job", attempt.job_id), self.failing(attempt.job_id):
                self._give_back(attempt, "its gang is gone")

    def heed(self, cordons: dict[str, Cordon]) -> None:
        """Have no gang placed on a cordoned node, and every gang with a worker on one that is drained leave it."""
        for gang in list(self.gangs.values()):
            with self._troubles.contained("keeping a gang off a node", str(gang.name)):
                if gang.phase is Phase.PLACING and not cordons.keys() <= gang.avoided:
                    self._yield(gang, "it is placed anew, off a node that is cordoned")
                for node in set(gang.nodes) & cordons.keys():
                    if cordons[node].drain and gang.name in self.gangs:
                        self._ask_to_yield(gang, f"its node is drained by {cordons[node].by}")
        self.cordons, self.has_told_all = cordons, not self.is_behind

    def ask_to_yield(self) -> None:
        """Have every gang give its job back, after a checkpoint if it has begun."""
        for gang in list(self.gangs.values()):
            with self._troubles.contained("asking the gang to yield", str(gang.name)):
                self._ask_to_yield(gang, DISPATCHER_DOWN)

    def yield_all(self) -> None:
        """Give every job back as it is, and end its gang."""
        for gang in list(self.gangs.values()):
            with self._troubles.contained("giving back the job", str(gang.name)):
                self._yield(gang, DISPATCHER_DOWN)

    def _ask_to_yield(self, gang: Gang, why: str) -> None:
        if gang.phase is Phase.RUNNING:
            with contextlib.suppress(LeaseLost):
                self._queue.ask_to_yield(gang.lease, self.token)
        else:
            self._yield(gang, why)

    def _yield(self, gang: Gang, why: str) -> None:
        self._finish(gang.lease, Outcome(reason=Reason.YIELDED, message=why))
        self._drop(gang)

    def _drop(self, gang: Gang) -> None:
        # First: what cannot be ended now is a stray for the next reconciliation.
        del self.gangs[gang.name]
        gang.end()

    def _is_over(self, gang: Gang, look: bool, hold: Hold) -> bool:
        phase = gang.poll()
        if phase in (Phase.BROKEN, Phase.ENDED):
            if self._queue.holds(gang.lease):  # now, for it may have told its outcome since
                message = gang.message or "its workers ended without an outcome"
                self._finish(gang.lease, Outcome(reason=Reason.WORKER_DIED, message=message))
            return True
        if phase is Phase.RUNNING:
            if hold.is_publishing and gang.holds_room and self._may_vacate(gang):
                gang.vacate()
            return not hold.is_held
        return look and not self._keep_starting(gang)

    def _may_vacate(self, gang: Gang) -> bool:
        vacated = [each.nodes for each in self.gangs.values() if not each.holds_room]
        return may_vacate(gang.nodes, self._cluster.machines(), vacated)

    def _keep_starting(self, gang: Gang) -> bool:
        """Hold the lease of a gang whose workers cannot yet do so themselves; False ends the gang."""
        activity = Activity.PLACING if gang.phase is Phase.PLACING else Activity.STARTING
        try:
            directive = self._queue.heartbeat(gang.lease, pulse=Pulse(activity=activity), leadership=self.token)
        except LeaseLost:
            return False
        if directive is Directive.STOP:
            what = "it" if gang.lease.attempt == 1 else f"attempt {gang.lease.attempt}"
            self._finish(gang.lease, Outcome(reason=Reason.CANCELLED, message=f"before {what} began"))
            return False
        waited_s = time.monotonic() - gang.phase_since
        if gang.phase is Phase.PLACING and waited_s > self._settings.placement_timeout_s:
            gang.message = f"the cluster found no room in {waited_s:.0f} s"
            self._finish(gang.lease, Outcome(reason=Reason.UNPLACED, message=gang.message))
            return False
        if gang.phase is Phase.MEETING and waited_s > MEETING_LIMIT_S:
            gang.message = f"its workers were not ready in {waited_s:.0f} s"
            self._finish(gang.lease, Outcome(reason=Reason.WORKER_DIED, message=gang.message))
            return False
        return True

    def _finish(self, lease: Lease, outcome: Outcome) -> None:
        with contextlib.suppress(LeaseLost):  # it has been told how it ended already
            self._queue.finish(lease, outcome, leadership=self.token)

    def _adopt(self, attempt: RunningAttempt) -> None:
        """Carry on with a gang that another dispatcher started.

        Raises JobUnreadable of a job of another version: as long as its lease beats, its gang is left alone.
        """
        with contextlib.suppress(JobNotFound):
            lease = self._lease_of(attempt)
            name = GangName(attempt.job_id, attempt.attempt)
            try:
                self.gangs[name] = self._cluster.adopt(self._settings, lease, has_begun=attempt.has_begun)
                self.has_told_all = False
                log.info("adopted gang %s", name)
            except ValueError as error:
                log.warning("ending gang %s: %s", name, error)
                self._give_back(attempt, str(error))
                self._cluster.end_stray(name)

    def _give_back(self, attempt: RunningAttempt, why: str) -> None:
        """End an attempt that no gang runs; one that has not begun lost nothing but its dispatcher."""
        reason = Reason.WORKER_DIED if attempt.has_begun else Reason.YIELDED
        message = why if attempt.has_begun else f"its dispatcher went down before it began: {why}"
        with contextlib.suppress(JobNotFound):
            log.warning("%s/%d: %s", attempt.job_id, attempt.attempt, message)
            self._finish(self._lease_of(attempt), Outcome(reason=reason, message=message))

    def _lease_of(self, attempt: RunningAttempt) -> Lease:
        """The lease that an attempt holds. Raises JobNotFound, JobUnreadable."""
        job = self._queue.get(attempt.job_id)
        return Lease(
            job_id=job.id,
            attempt=attempt.attempt,
            token=attempt.token,
            lease_s=self._settings.lease_s,
            spec=job.spec,
            rollbacks=job.rollbacks,
            until_images=job.until_images,
        )
