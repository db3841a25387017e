"""Dispatcher: reaps expired leases, leases what fits, starts gangs and settles what they leave unsaid.

It keeps no state of its own: jobs are in Redis, gangs in Ray. It may be killed, paused and restarted at any time. Of
several, one leads and acts; the others wait to succeed it.
"""

import contextlib
import faulthandler
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator

from ganservice.errors import LeadershipLost, Outage, OutageKind
from ganservice.job import Capacity
from ganservice.leadership import Cluster, Leadership, Node
from ganservice.maintenance import Maintenance
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.silence import SilenceWatch
from workers.dispatch.cluster import RayCluster
from workers.dispatch.demand import JOBS_IN_DEMAND, Bundle, Demand, bundles
from workers.dispatch.pace import rest_s
from workers.dispatch.requests import Desk
from workers.dispatch.room import Placement, room
from workers.dispatch.sweeps import SweepWatch
from workers.dispatch.troubles import Troubles
from workers.dispatch.watch import GangWatch

log = logging.getLogger(__name__)

TICK_S = 0.2
# Between two looks at gangs that start, which take no more than that.
HASTE_S = 0.01
# Looks that cost a round trip for each gang or for the whole queue are made once a second.
LOOK_S = 1.0
# Ray keeps the groups it has removed in its table, which so takes ever longer to read: a twentieth of the time at most.
RECONCILE_S = 5.0
RECONCILE_SHARE, RECONCILE_REST_S = 0.05, 60.0
# A look through a queue in which nothing fits takes the longer the more jobs wait: Redis has others to answer.
LEASE_SHARE, LEASE_REST_S = 0.05, 5.0
# Placing many gangs takes longer than the leadership lasts without being renewed: so much of it in one go.
FILL_S = 1.5
# The places in which jobs are found are tended so often, and each of them is looked at so often; of a round it takes so
# much at most.
TEND_S, COMPARE_S, TEND_ROUND_S = 60.0, 3_600.0, 0.05
# Ray's calls wait for a head that is gone; a dispatcher that hangs for longer ends itself, to be started anew.
STUCK_S = 60.0
# How long a gang has to stop and store a checkpoint before it is ended.
DRAIN_S = 20.0


class Dispatcher:
    """The loop that turns queued jobs into running gangs."""

    def __init__(self, settings: Settings, cluster: RayCluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._queue = JobQueue(settings)
        self._leadership = Leadership(settings)
        self._maintenance = Maintenance(settings)
        self._desk = Desk(settings, self._queue)
        self._troubles = Troubles()
        self._sweeps = SweepWatch(settings, self._troubles)
        self._watch: GangWatch | None = None  # while this one leads
        self._demand = Demand(cluster.request)
        self._leases = SilenceWatch[int](settings.lease_s)
        self._look_at = self._reconcile_at = self._lease_at = self._tend_at = self._tick_at = 0.0
        self._compare_at = 0.0
        self._indexing: Iterator[None] = iter(())

    def run(self, stopping: threading.Event) -> None:
        """Dispatch until `stopping` is set. Running gangs are left to the next dispatcher."""
        log.info("dispatching for %s", self._settings.ray_address)
        pause_s = TICK_S
        while not stopping.wait(pause_s):
            pause_s = self._round()
        faulthandler.cancel_dump_traceback_later()

    def resign(self) -> None:
        """Let another dispatcher lead at once."""
        if self._watch is None:
            return
        try:
            self._leadership.resign(self._watch.token)
        except Outage as outage:
            log.warning("%s; the next dispatcher leads once this one's time is over", outage)
        self._watch = None

    def drain(self) -> None:
        """Have every gang checkpoint and give its job back; those that take too long end without."""
        deadline, asked = time.monotonic() + DRAIN_S, False
        while self._watch and time.monotonic() < deadline:
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            try:
                asked = self._drain(self._watch, asked)
                if self._watch is None or not self._watch.gangs:
                    break
                pause_s = TICK_S
            except LeadershipLost:
                self._step_down()
                break
            except Outage as outage:
                pause_s = self._troubles.begin(outage)
            time.sleep(pause_s)
        if self._watch:
            try:
                self._watch.yield_all()
            except (LeadershipLost, Outage) as error:
                log.warning("%s; the next dispatcher settles the gangs that are left", error)
            with self._troubles.contained("ending warm workers"):
                self._cluster.keep_warm((), 0, may_start=False)
        faulthandler.cancel_dump_traceback_later()

    def tick(self) -> bool:
        """One round: who leads, and then what has ended, what has expired, what fits; whether it asked the broker."""
        look = time.monotonic() >= self._look_at
        if look:
            self._look_at = time.monotonic() + LOOK_S
            self._lead()
        if self._watch is None:
            return look
        try:
            self._act(self._watch, look)
        except LeadershipLost:
            self._step_down()
        return True

    def _round(self) -> float:
        """A tick, or between two a look at gangs that start, that nothing ends but a hanging call; how long to wait for
        the next, in s."""
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        is_due = time.monotonic() >= self._tick_at
        try:
            with self._troubles.contained("dispatching"):
                if not is_due:
                    self._hasten()
                elif self.tick():
                    self._troubles.end()
        except Outage as outage:
            # A lease may have been granted whose answer never came; what was being compared is not over.
            self._reconcile_at = self._compare_at = 0.0
            if outage.kind is OutageKind.FULL:
                with contextlib.suppress(Outage):
                    self._desk.make_room()
            return self._troubles.begin(outage)
        now = time.monotonic()
        if is_due:
            self._tick_at = now + TICK_S
        return HASTE_S if self._watch and self._watch.has_new_gangs else max(0.0, self._tick_at - now)

    def _hasten(self) -> None:
        """Move on the gangs that start."""
        if self._watch:
            try:
                self._watch.hasten()
            except LeadershipLost:
                self._step_down()

    def _lead(self) -> None:
        """Become or stay the leader. A new one begins with what is there, whoever left it."""
        free, total = self._room()
        nodes = self._nodes()
        # Each dispatcher has a node of its own, without room for work.
        count = sum(node.total.cpus + node.total.gpus > 0 for node in nodes)
        token = self._leadership.lead(Cluster(nodes=count, total=total, free=free), nodes)
        if token == (self._watch and self._watch.token):
            return
        if token is None:
            self._step_down()
            return
        log.info("this dispatcher leads")
        self._watch = GangWatch(self._settings, self._cluster, self._queue, token, self._troubles)
        self._demand = Demand(self._cluster.request)  # the autoscaler may have been told something else meanwhile
        self._cluster.forget_warm()
        self._reconcile_at = self._tend_at = 0.0
        self._begin_indexing(token, compares=True)

    def _nodes(self) -> list[Node]:
        """The nodes with the jobs on them; one is drained once every gang that may be on it knows."""
        watch = self._watch
        jobs: dict[str, set[str]] = defaultdict(set)
        for gang in watch.gangs.values() if watch else ():
            for node_id in gang.nodes:
                jobs[node_id].add(gang.lease.job_id)
        cordons = watch.cordons if watch and watch.has_told_all else {}
        return [
            Node(
                id=machine.id,
                host=machine.host,
                address=machine.address,
                total=machine.total,
                free=machine.available,
                jobs=tuple(sorted(jobs[machine.id])),
                drains=machine.id in cordons and cordons[machine.id].drain,
            )
            for machine in self._cluster.machines()
        ]

    def _step_down(self) -> None:
        """Forget the gangs: they are another dispatcher's now."""
        log.warning("another dispatcher leads")
        self._watch = None

    def _act(self, watch: GangWatch, look: bool) -> None:
        self._reconcile(watch)
        watch.settle(look=look)  # first of all: it renews the leases of gangs that have not begun
        if look:
            silent = self._leases.look(self._queue.leases(), time.monotonic())
            for job_id in self._queue.reap(silent, watch.token):
                log.warning("%s: its lease ran out", job_id)
        if look:
            watch.heed(self._maintenance.cordons())
        self._fill(watch)
        with self._troubles.contained("answering submitters"):
            self._desk.serve(watch.token)
        if look:
            self._sweeps.advance(watch.token)
            self._tell_demand(watch)
            self._keep_warm(watch)
        self._tend(watch)

    def _tell_demand(self, watch: GangWatch) -> None:
        waiting: list[Bundle] = []
        for job in self._queue.head(JOBS_IN_DEMAND):
            with watch.failing(job.id):
                waiting += bundles(job.spec.resources)
        with self._troubles.contained("telling the autoscaler what waits"):
            self._demand.tell([gang.lease.spec.resources for gang in watch.gangs.values() if gang.holds_room], waiting)

    def _keep_warm(self, watch: GangWatch) -> None:
        """Have idle workers on the nodes that take work; while gangs start, none competes with them."""
        with self._troubles.contained("keeping workers warm"):
            nodes = {each.id for each in self._cluster.machines() if each.total.cpus and each.id not in watch.cordons}
            self._cluster.keep_warm(nodes, self._settings.warm_workers, may_start=not watch.has_new_gangs)

    def _fill(self, watch: GangWatch) -> None:
        """Lease what fits and have its gangs placed, for as long as the leadership surely lasts."""
        began = looked_at = time.monotonic()
        if began < self._lease_at:
            return
        while lease := self._queue.lease(*self._room(), watch.token, self._leadership.owner):
            if not watch.start(lease) or time.monotonic() - began > FILL_S:
                break
            looked_at = time.monotonic()
        now = time.monotonic()
        self._lease_at = now + rest_s(now - looked_at, LEASE_SHARE, longest_s=LEASE_REST_S)

    def _reconcile(self, watch: GangWatch) -> None:
        began = time.monotonic()
        if began >= self._reconcile_at:
            watch.reconcile()
            now = time.monotonic()
            pause_s = rest_s(now - began, RECONCILE_SHARE, longest_s=RECONCILE_REST_S)
            self._reconcile_at = 0.0 if watch.is_behind else now + max(RECONCILE_S, pause_s)

    def _tend(self, watch: GangWatch) -> None:
        """Tend the places in which jobs are found, for a while; the next round goes on with it."""
        began = time.monotonic()
        if began < self._tend_at:
            return
        with self._troubles.contained("tending the places of jobs"):
            for _ in self._indexing:
                if time.monotonic() - began > TEND_ROUND_S:
                    return
            self._queue.forget(watch.token)
        self._tend_at = time.monotonic() + TEND_S
        self._begin_indexing(watch.token, compares=self._tend_at >= self._compare_at)

    def _begin_indexing(self, token: int, *, compares: bool) -> None:
        self._indexing = self._queue.index(token, compares=compares)
        if compares:
            self._compare_at = time.monotonic() + COMPARE_S

    def _drain(self, watch: GangWatch, asked: bool) -> bool:
        """One round of a drain, in which the gangs have been asked to yield or not yet; True: now they have."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            self._lead()  # nobody else may take over what is being ended
        if not asked:
            watch.reconcile()
            watch.ask_to_yield()
        watch.settle(look=True)
        return True

    def _room(self) -> tuple[Capacity, Capacity]:
        """What is free of the nodes that take work, and all that they have."""
        watch = self._watch
        gangs = [gang for gang in watch.gangs.values() if gang.holds_room] if watch else []
        placements = [Placement(gang.lease.spec.resources, gang.nodes) for gang in gangs]
        return room(self._cluster.machines(), watch.cordons if watch else {}, placements)
