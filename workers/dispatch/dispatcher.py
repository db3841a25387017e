"""Dispatcher: reaps expired leases, leases what fits, starts gangs and settles what they leave unsaid.

It keeps no state of its own: jobs are in Redis, gangs in Ray. It may be killed and restarted at any time. Of several,
one leads and acts; the others wait to succeed it.
"""

import contextlib
import faulthandler
import logging
import threading
import time

from ganservice.errors import BrokerOutage, JobNotFound, LeaseLost
from ganservice.job import Activity, Capacity, Directive, Lease, Outcome, Pulse, Reason, State
from ganservice.leadership import Cluster, Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.silence import SilenceWatch
from workers.dispatch.cluster import RayCluster
from workers.dispatch.demand import JOBS_IN_DEMAND, Demand
from workers.dispatch.gang import Gang, GangName, Phase

log = logging.getLogger(__name__)

TICK_S = 0.2
# Looks that cost a round trip for each gang or for the whole queue are made once a second.
LOOK_S = 1.0
# Ray's calls wait for a head that is gone; a dispatcher that hangs for longer ends itself, to be started anew.
STUCK_S = 60.0
# How long a gang has to reach its next report and store a checkpoint before it is ended.
DRAIN_S = 20.0
YIELDED = Outcome(reason=Reason.YIELDED, message="its dispatcher went down")


class Dispatcher:
    """The loop that turns queued jobs into running gangs."""

    def __init__(self, settings: Settings, cluster: RayCluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._queue = JobQueue(settings)
        self._leadership = Leadership(settings)
        self._token: int | None = None  # of the leadership; None while another leads
        self._gangs: dict[GangName, Gang] = {}
        self._demand = Demand(cluster.request)
        self._leases = SilenceWatch[int](settings.lease_s)
        self._looked_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Dispatch until `stopping` is set. Running gangs are left to the next dispatcher."""
        log.info("dispatching for %s", self._settings.ray_address)
        broker_is_down = False
        while not stopping.wait(TICK_S):
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            try:
                if self.tick():
                    broker_is_down = False
            except BrokerOutage as error:
                if not broker_is_down:
                    log.warning("%s", error)
                broker_is_down = True

    def resign(self) -> None:
        """Let another dispatcher lead at once."""
        with contextlib.suppress(BrokerOutage):
            if self._token is not None:
                self._leadership.resign(self._token)

    def drain(self) -> None:
        """Have every gang checkpoint and give its job back; those that take too long end without."""
        try:
            for gang in list(self._gangs.values()):
                self._ask_to_yield(gang)
            deadline = time.monotonic() + DRAIN_S
            while self._gangs and time.monotonic() < deadline:
                self._settle(look=True)
                time.sleep(TICK_S)
            for gang in self._gangs.values():
                with contextlib.suppress(LeaseLost):
                    self._queue.finish(gang.lease, YIELDED)
                gang.end()
        except BrokerOutage as error:
            log.warning("%s; the leases of the running gangs will run out", error)

    def tick(self) -> bool:
        """One round: who leads, and then what has ended, what has expired, what fits; whether it asked the broker."""
        look = time.monotonic() - self._looked_at >= LOOK_S
        if look:
            self._looked_at = time.monotonic()
            self._lead()
        if self._token is None:
            return look
        if look:
            silent = self._leases.look(self._queue.leases(), time.monotonic())
            for job_id in self._queue.reap(silent, self._token):
                log.warning("%s: its lease ran out", job_id)
        self._settle(look)
        while lease := self._queue.lease(*self._capacity(), self._token):
            log.info("starting gang %s/%d", lease.job_id, lease.attempt)
            gang = self._cluster.start(self._settings, lease)
            self._gangs[gang.name] = gang
        if look:
            waiting = [job.spec.resources for job in self._queue.head(JOBS_IN_DEMAND)]
            self._demand.tell([gang.lease.spec.resources for gang in self._gangs.values()], waiting)
        return look

    def _lead(self) -> None:
        """Become or stay the leader. A new one takes over the gangs of the one before."""
        free, total = self._capacity()
        token = self._leadership.lead(Cluster(nodes=self._cluster.nodes(), total=total, free=free))
        if token == self._token:
            return
        log.info("this dispatcher leads" if token else "another dispatcher leads")
        self._gangs = {}
        self._demand = Demand(self._cluster.request)  # the autoscaler may have been told something else meanwhile
        if token is not None:
            self._adopt()
        self._token = token

    def _settle(self, look: bool) -> None:
        for gang in list(self._gangs.values()):
            if self._is_over(gang, look):
                log.info("gang %s is over: %s", gang.name, gang.message or gang.phase)
                gang.end()
                del self._gangs[gang.name]

    def _ask_to_yield(self, gang: Gang) -> None:
        with contextlib.suppress(LeaseLost):
            if gang.phase is Phase.RUNNING:
                self._queue.ask_to_yield(gang.lease)
                return
            self._queue.finish(gang.lease, YIELDED)  # it has not begun
        gang.end()
        del self._gangs[gang.name]

    def _is_over(self, gang: Gang, look: bool) -> bool:
        phase = gang.poll()
        try:
            if phase is Phase.BROKEN:
                self._queue.finish(gang.lease, Outcome(reason=Reason.WORKER_DIED, message=gang.message))
                return True
            if phase in (Phase.PLACING, Phase.MEETING) and look:
                return not self._keep_starting(gang)
        except LeaseLost:
            return True
        if phase is Phase.RUNNING and look:
            return not self._owns_its_job(gang)
        return phase is Phase.ENDED

    def _keep_starting(self, gang: Gang) -> bool:
        """Hold the lease of a gang whose workers cannot yet do so themselves; False ends the gang."""
        activity = Activity.PLACING if gang.phase is Phase.PLACING else Activity.STARTING
        if self._queue.heartbeat(gang.lease, pulse=Pulse(activity=activity)) is Directive.STOP:
            self._queue.finish(gang.lease, Outcome(reason=Reason.CANCELLED, message="cancelled before it began"))
            return False
        waited_s = time.monotonic() - gang.started_at
        if gang.phase is Phase.PLACING and waited_s > self._settings.placement_timeout_s:
            gang.message = f"the cluster found no room in {waited_s:.0f} s"
            self._queue.finish(gang.lease, Outcome(reason=Reason.UNPLACED, message=gang.message))
            return False
        return True

    def _owns_its_job(self, gang: Gang) -> bool:
        try:
            job = self._queue.get(gang.lease.job_id)
        except JobNotFound:
            return False
        return job.state is State.RUNNING and job.token == gang.lease.token

    def _capacity(self) -> tuple[Capacity, Capacity]:
        """What is free and what there is. Ray's own count of what is free lags: our gangs are counted here."""
        total, available = self._cluster.total(), self._cluster.available()
        demand = [(gang.lease.spec.resources, gang.phase) for gang in self._gangs.values()]
        unplaced = [resources for resources, phase in demand if phase is Phase.PLACING]
        free = Capacity(
            cpus=min(
                total.cpus - sum(resources.cpus for resources, _ in demand),
                available.cpus - sum(resources.cpus for resources in unplaced),
            ),
            gpus=min(
                total.gpus - sum(resources.gpus for resources, _ in demand),
                available.gpus - sum(resources.gpus for resources in unplaced),
            ),
        )
        return free, total

    def _adopt(self) -> None:
        """Take over the gangs of a dispatcher that is gone; end those whose attempt is over."""
        for name in self._cluster.gangs():
            try:
                job = self._queue.get(name.job_id)
                if job.state is not State.RUNNING or job.attempt != name.attempt:
                    raise JobNotFound(f"{name} is not a current attempt")
                lease = Lease(
                    job_id=job.id,
                    attempt=job.attempt,
                    token=job.token,
                    lease_s=self._settings.lease_s,
                    spec=job.spec,
                    rollbacks=job.rollbacks,
                )
                self._gangs[name] = self._cluster.adopt(self._settings, lease)
                log.info("adopted gang %s", name)
            except (JobNotFound, ValueError) as error:
                log.info("ending stray gang %s: %s", name, error)
                self._cluster.end_stray(name)
