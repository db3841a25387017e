"""From the submission of a job to its first step, s: ours, through queue, dispatcher and Ray, beside Ray's own ways.

Ours is what `ganctl submit` leads to on a stack that is up and idle, with a warm worker and without one. The others run
a script, or a function, that imports torch and builds networks of the same size; it knows neither leases nor
checkpoints.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil

from ganservice.job import EventKind
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.peers.ray_head import has_dashboard, ray_head
from tests.benchmarks.servers import own_stack
from tests.benchmarks.sides import Budget, Missing, Row, Side, child, take_turns
from tests.conftest import wait_until
from tests.gang_workers import all_workers, gang_workers

PEERS = {"Ray Jobs": "peers.ray_jobs:build", "Ray Train": "peers.ray_train:build"}
# Of a core: an idle worker looks for signals 100 times a second.
BUSY_PERCENT = 15.0
CHANGES = ("recipe.precision=fp32", "resources.cpus_per_worker=1")


def rows(budget: Budget) -> Iterator[Row]:
    with ExitStack() as ends:
        warm, cold = (ends.enter_context(own_stack(warm_workers=count)) for count in "10")
        ours = Side("ours, a warm worker", from_submission(warm, lambda: _is_warm(warm)))
        others = [Side("ours, no warm worker", from_submission(cold)), *(Side(name, _nothing) for name in PEERS)]
        if has_dashboard():
            head = ends.enter_context(ray_head())
            others[1:] = [ends.enter_context(child(*peer, head, **head.environment)) for peer in PEERS.items()]
        yield from take_turns("submission to first step, s", ours, others, budget)


def _nothing() -> float:
    raise Missing("not installed: ray[default]")


def from_submission(settings: Settings, is_ready: Callable[[], bool] = lambda: True) -> Callable[[], float]:
    """Once all is ready, submit a job, wait for its first step, and have all as it was before."""
    spec = load_spec(CONFIGS / "ring2d.yaml", CHANGES)

    def seconds() -> float:
        wait_until(is_ready)
        with JobQueue(settings) as queue:
            submitted_at = time.time()
            job_id, _ = queue.submit(spec)

            def started_at() -> float:
                return next((event.at for event in queue.events(job_id) if event.kind == EventKind.STARTED), 0.0)

            # The event has the broker's clock, which is this machine's.
            took_s = float(wait_until(started_at)) - submitted_at
            queue.cancel(job_id, now=True)
            ended_at = queue.now_s()
            wait_until(lambda: _is_idle(settings, ended_at))
        return took_s

    return seconds


def _is_idle(settings: Settings, since: float) -> bool:
    with Leadership(settings) as leadership:
        leader, cluster = leadership.leader(), leadership.cluster()
    return bool(leader and cluster and leader.looked_at > since and cluster.free == cluster.total)


def _is_warm(settings: Settings) -> bool:
    """Whether an idle worker has done with its imports, by the processor time that it takes."""
    supervisor = json.loads((settings.state_dir / "pids.json").read_text())["supervisor"]
    processes = all_workers(psutil.Process(int(supervisor["pid"])).children(recursive=True))
    idle = [process for process in processes if process not in gang_workers(processes)]
    return bool(idle) and all(process.cpu_percent(interval=1.0) < BUSY_PERCENT for process in idle)
