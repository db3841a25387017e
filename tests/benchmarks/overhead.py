"""What the service adds to a step of DCGAN 28 px on two cores: as shares of the time, each measured by itself.

The last row runs a whole attempt, with its heartbeat, health watch, reports, sample grids and a checkpoint, as often as
the shipped recipe has them, beside the trainer alone. Every side has a process of its own, with a worker's environment.
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
CHECKPOINT_REPORTS = 25  # between two checkpoints, likewise


def rows(budget: Budget) -> Iterator[Row]:
    batch, steps, reports = budget.size(64, 4), budget.size(STEPS, 1), budget.size(CHECKPOINT_REPORTS, 2)
    changes = [
        "recipe.precision=fp32",
        "recipe.data.dataset=random",
        f"recipe.batch_size={batch}",
        f"images={(reports + 1) * steps * batch}",
        f"report_every_images={steps * batch}",
        f"checkpoints.every_images={reports * steps * batch}",
        f"samples.every_images={reports * steps * batch // 2}",
    ]
    if budget.is_tiny:
        changes += ["recipe.generator.widths=[8, 4, 4]", "recipe.discriminator.widths=[4, 4, 8]"]
    spec = load_spec(CONFIGS / "fashion-dcgan.yaml", changes)
    with own_servers("broker", "store") as settings, ExitStack() as ends:

        def side(name: str, *build: Any) -> Side:
            return ends.enter_context(child(name, *build, **ALLOCATOR))

        def one(name: str, method: str) -> Side:
            return side(name, "overhead:part", settings, spec, steps, method)

        step, span = one("a step", "step_s"), one("the steps of a report", "span_s")
        interval = Side("its interval", lambda: settings.heartbeat_s)
        for what, ours, other in (
            ("checkpoint, s", one("training stalls", "stall_s"), step),
            ("health watch, s", one("examining 100 reports", "watch_s"), span),
            ("metrics, s", one("samples and machine", "metrics_s"), span),
            ("heartbeat, s", one("a beat on the CPU", "beat_s"), interval),
        ):
            yield from take_turns(what, ours, [other], budget.share(6))
        whole = side("attempt", "overhead:attempt", settings, spec)
        alone = side("trainer alone", "overhead:alone", spec)
        yield from take_turns("a step, s", whole, [alone], budget.share(3))


def part(settings: Settings, spec: TrainSpec, steps: int, method: str) -> Callable[[], float]:
    """One of the parts."""
    measure: Callable[[], float] = getattr(Parts(settings, spec, steps), method)
    return measure


class Parts:
    """Each thing that is done besides steps, and the time within which it is done once, s."""

    def __init__(self, settings: Settings, spec: TrainSpec, steps: int) -> None:
        use_cores()
        self._settings = settings
        self._spec = spec
        self._steps = steps
        examples = Examples(pictures(spec.recipe))
        self._trainer = Trainer(spec.recipe, examples, spec.seed, CPU)
        self._report = go_on(self._trainer, spec.recipe.images_per_step)
        self._domain = build_domain(spec, examples)
        self._usage = Usage(CPU)

    def stall_s(self) -> float:
        """What the training thread does for a checkpoint."""
        return seconds(lambda: snapshot(self._trainer.state_dict()))

    def watch_s(self) -> float:
        """A look at the health of a long training."""
        history, spec = [self._report] * REPORTS, self._spec
        return seconds(lambda: examine(history, spec.health, spec.total_images, spec.recipe.loss, []))

    def metrics_s(self) -> float:
        """What a report measures besides the steps."""

        def measure() -> None:
            self._domain.measure(self._trainer)
            mean_usage(self._usage, WorkerGroup())

        return seconds(measure)

    def step_s(self) -> float:
        """A step."""
        return go_on(self._trainer, 5 * self._spec.recipe.images_per_step).step_s

    def span_s(self) -> float:
        """The steps of a report."""
        return self._steps * self.step_s()

    def beat_s(self) -> float:
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
