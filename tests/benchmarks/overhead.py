"""What the service adds to a step of DCGAN 28 px on two cores: as shares of the time, each measured by itself.

The last row runs a whole attempt, with its heartbeat, health watch, reports, sample grids and a checkpoint each 50
steps, which is a twelfth of the steps of the shipped recipe, beside the trainer alone.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ganservice.artifacts import ArtifactStore
from ganservice.health import examine
from ganservice.job import Outcome, Reason
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.spec_file import load_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.servers import own_servers
from tests.benchmarks.sides import Budget, Row, Side, child, seconds, take_turns
from tests.benchmarks.training import CPU, go_on, pictures, use_cores
from workers.attempt.context import LeaderContext
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.leader import Leader
from workers.attempt.restore import Restored
from workers.attempt.training import train
from workers.attempt.uploader import Uploader
from workers.attempt.usage import Usage, mean_usage
from workers.dispatch.allocator import ALLOCATOR
from workers.gan.checkpoint import snapshot
from workers.gan.data.examples import Examples
from workers.gan.data.image_set import ImageSet, Split
from workers.gan.domain import build_domain
from workers.gan.trainer import Trainer
from workers.gan.worker_group import WorkerGroup

REPORTS = 100  # of a whole training
STEPS = 25  # between two reports, as the shipped recipe has it


def rows(budget: Budget) -> Iterator[Row]:
    batch, steps = budget.size(64, 4), budget.size(STEPS, 1)
    reports = budget.size(4, 2)
    changes = [
        "recipe.precision=fp32",
        "recipe.data.dataset=random",
        f"recipe.batch_size={batch}",
        f"images={(reports + 1) * steps * batch}",
        f"report_every_images={steps * batch}",
        f"checkpoints.every_images={2 * steps * batch}",
        f"samples.every_images={4 * steps * batch}",
    ]
    if budget.is_tiny:
        changes += ["recipe.generator.widths=[8, 4, 4]", "recipe.discriminator.widths=[4, 4, 8]"]
    spec = load_spec(CONFIGS / "fashion-dcgan.yaml", changes)
    with own_servers("broker", "store") as settings, ExitStack() as ends:
        parts = Parts(settings, spec, steps)
        for what, part, whole in parts.pairs():
            yield from take_turns(what, part, [whole], budget.share(6))
        attempt = ends.enter_context(child("attempt", "overhead:attempt", settings, spec, **ALLOCATOR))
        alone = ends.enter_context(child("trainer alone", "overhead:alone", spec, **ALLOCATOR))
        yield from take_turns("a step, s", attempt, [alone], budget.share(3))


class Parts:
    """Each thing that is done besides steps, and the time within which it is done once."""

    def __init__(self, settings: Settings, spec: TrainSpec, steps: int) -> None:
        use_cores()
        self._settings = settings
        self._spec = spec
        self._steps = steps
        self._examples = Examples(pictures(spec.recipe))
        self._trainer = Trainer(spec.recipe, self._examples, spec.seed, CPU)
        self._report = go_on(self._trainer, spec.recipe.images_per_step)

    def pairs(self) -> Iterator[tuple[str, Side, Side]]:
        step = Side("a step", self._step_s)
        span = Side("the steps of a report", lambda: self._steps * self._step_s())
        domain, usage = build_domain(self._spec, self._examples), Usage(CPU)
        history = [self._report] * REPORTS

        def watch() -> None:
            examine(history, self._spec.health, self._spec.total_images, self._spec.recipe.loss, [])

        def measure() -> None:
            domain.measure(self._trainer)
            mean_usage(usage, WorkerGroup())

        state = self._trainer.state_dict
        yield "checkpoint, s", Side("training stalls", lambda: seconds(lambda: snapshot(state()))), step
        yield "health watch, s", Side("examining 100 reports", lambda: seconds(watch)), span
        yield "metrics, s", Side("samples and machine", lambda: seconds(measure)), span
        interval_s = self._settings.heartbeat_s
        yield "heartbeat, s", Side("a beat on the CPU", self._beat_s), Side("its interval", lambda: interval_s)

    def _step_s(self) -> float:
        return go_on(self._trainer, 5 * self._spec.recipe.images_per_step).step_s

    def _beat_s(self) -> float:
        """The CPU time that a beat with a report takes from this process: the rest of it is waiting."""
        with JobQueue(self._settings) as queue:
            job_id, _ = queue.submit(self._spec)
            lease = queue.take(job_id)
            heartbeat = Heartbeat(queue, lease, self._settings.heartbeat_s, lambda: None)
            began, beats = time.thread_time(), 20
            for _ in range(beats):
                heartbeat.progress(self._report)
                heartbeat.beat()
            took_s = (time.thread_time() - began) / beats
            queue.finish(lease, Outcome(reason=Reason.SUCCEEDED))
        return took_s


def alone(spec: TrainSpec) -> Callable[[], float]:
    """The trainer, which reports to nobody; returns what gives the length of its steps, after the first report."""
    use_cores()
    examples = Examples(pictures(spec.recipe))

    def step_s() -> float:
        trainer = Trainer(spec.recipe, examples, spec.seed, CPU)
        moments = [time.perf_counter() for _ in trainer.train(spec.total_images, spec.report_every_images)]
        return _step_s(spec, moments)

    return step_s


def attempt(settings: Settings, spec: TrainSpec) -> Callable[[], float]:
    """An attempt as workers run it, up to its publication; returns the same of it."""
    from workers.commands.image_storage import store_image_set  # noqa: PLC0415 # only here

    use_cores()
    images = ImageSet("random", {"train": Split(np.asarray(pictures(spec.recipe)))}, (), "random numbers")
    with contextlib.redirect_stderr(io.StringIO()):  # it says what it has stored
        store_image_set(settings, images, "random")
    store = ArtifactStore(settings)

    def step_s() -> float:
        with JobQueue(settings) as queue:
            job_id, _ = queue.submit(spec)
            lease = queue.take(job_id)
            heartbeat = Heartbeat(queue, lease, settings.heartbeat_s, lambda: None)
            with heartbeat, Uploader() as uploader:
                leaving = threading.Event()
                context = LeaderContext(settings, lease, store, WorkerGroup(), CPU, leaving, queue, heartbeat, uploader)
                leader = _lead(context, spec)
                heartbeat.finish(Outcome(reason=Reason.SUCCEEDED))
        return _step_s(spec, leader.moments)

    return step_s


def _lead(context: LeaderContext, spec: TrainSpec) -> "Stopwatch":
    """Train to the end; returns the leader with its moments."""
    leaders: list[Stopwatch] = []

    def begin(trainer: Trainer, examples: Examples, held_out: Examples | None, restored: Restored) -> Stopwatch:
        context.heartbeat.resumed(lambda: trainer.images_seen, restored.checkpoint, trainer.precision)
        domain = build_domain(spec, examples, held_out)
        leaders.append(Stopwatch(context, spec, trainer, domain, examples, restored))
        return leaders[0]

    train(context, spec, lambda: None, lambda: None, begin)
    return leaders[0]


class Stopwatch(Leader):
    """A leader that takes note of the moments at which it is done with a report, and publishes nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.moments: list[float] = []

    def save(self) -> None:
        """Store what is due."""
        super().save()
        self.moments.append(time.perf_counter())

    def succeed(self) -> Outcome:
        """Wait for the uploads."""
        self._context.uploader.drain()
        return Outcome(reason=Reason.SUCCEEDED)


def _step_s(spec: TrainSpec, moments: list[float]) -> float:
    """The length of a step, with all that is done besides, from the first report to the last."""
    steps = (len(moments) - 1) * spec.report_every_images / spec.recipe.images_per_step
    return (moments[-1] - moments[0]) / steps
