"""ganctl run: an attempt in this process, without Ray and without a dispatcher, for whoever wants to look into it."""

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import click

from ganservice.artifacts import ArtifactStore
from ganservice.cli import INTERRUPTED
from ganservice.cli.exit_codes import EXIT_CODES
from ganservice.cli.output import print_line, say
from ganservice.cli.reference import find_job, patiently
from ganservice.cli.screen import headline
from ganservice.cli.submit import resolve_spec, spec_options
from ganservice.cli.watch import tell_end
from ganservice.doubts import doubts
from ganservice.embedded.stack import Stack
from ganservice.errors import BrokerOutage, DataMissing, JobNotFound, LeaseLost, RequestError
from ganservice.files import is_there
from ganservice.job import Job, Lease, Outcome, Reason, State
from ganservice.job_search import check_reference
from ganservice.logs import start_logging
from ganservice.plain_text import plain_line
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.silence import SilenceWatch
from ganservice.spec import JobSpec, TrainSpec
from ganservice.spec_file import load_spec

STDERR = 2
# Between two looks for a new report.
LOOK_S = 2.0
# The exit code where the attempt failed and its job is tried again.
QUEUED_AGAIN = EXIT_CODES[State.FAILED]


@click.command()
@click.argument("source", metavar="SPEC|JOB")
@spec_options
def run(source: str, overrides: tuple[str, ...], origin: str | None, weights_only: bool) -> None:
    """Train here, in this process, and print the job's id; of a JOB that is queued, also evaluate.

    It is a job like any other, but needs neither Ray nor a dispatcher: breakpoints hold, an unexpected error shows its
    traceback. Where no stack is up, broker and store are started for as long as it takes. Ctrl-C, or SIGTERM, leaves
    after a checkpoint, a second Ctrl-C at once; `run JOB`, or a dispatcher, goes on.
    """
    start_logging(logging.WARNING)
    is_job = not is_there(source) and Path(source).suffix not in (".yaml", ".yml")
    if is_job and (overrides or origin or weights_only):
        raise RequestError(f"{source} is no file: --set, --from and --weights-only change a spec, not a job")
    if is_job:
        check_reference(source)  # before any server is started
    spec = None if is_job else load_spec(Path(source), overrides)
    if spec:
        _check_runs_here(spec)
    # What trains takes seconds to import, many on a busy machine: a lease's time must not run meanwhile.
    importlib.import_module("workers.attempt.process_group")
    with termination_as_interrupt(), Stack(Settings.from_environment()).servers(say):
        settings = Settings()
        queue = JobQueue(settings)
        if spec:
            spec = resolve(spec, queue, settings, origin, weights_only)
            for doubt in doubts(spec):
                say(f"warning: {doubt}")
            job_id, _ = queue.submit(spec, held_s=settings.lease_s)
            lease = queue.take(job_id)
        else:
            lease = _take_up(queue, settings, source)
        print_line(lease.job_id)
        code = _run_to_its_end(settings, queue, lease)
    sys.exit(code)


def _check_runs_here(spec: JobSpec) -> None:
    """Raise RequestError unless one process of this machine can do it all."""
    import torch

    resources = spec.resources
    if resources.workers > 1:
        raise RequestError(
            f"resources.workers: found {resources.workers}, expected 1, as `run` trains in this process alone; "
            "--set resources.workers=1 changes nothing but rounding"
        )
    if resources.gpus_per_worker and not torch.cuda.is_available():
        raise RequestError("resources.gpus_per_worker: no GPU is seen here; --set resources.gpus_per_worker=0")


def resolve(spec: TrainSpec, queue: JobQueue, settings: Settings, origin: str | None, weights_only: bool) -> TrainSpec:
    """As `submit` does; brings a known data set into the store, since `data get` needs a stack that is up."""
    from workers.commands.data import bring_data_set

    store, data = ArtifactStore(settings), spec.recipe.pictures
    try:
        return resolve_spec(spec, queue, store, origin, weights_only)
    except DataMissing:
        if data is None or data.digest:
            raise
    with contextlib.suppress(RequestError):  # not a known one
        bring_data_set(settings, data.dataset)
    return resolve_spec(spec, queue, store, origin, weights_only)


def _take_up(queue: JobQueue, settings: Settings, reference: str) -> Lease:
    """Lease a job that is queued, or whose last attempt has died."""
    job = queue.get(find_job(queue, reference))
    _check_runs_here(job.spec)
    if job.state is State.RUNNING:
        _await_end_of_lease(queue, job, settings.lease_s)
    return queue.take(job.id)


def _await_end_of_lease(queue: JobQueue, job: Job, lease_s: float) -> None:
    """Wait for a lease to be silent for its whole length, since there may be no dispatcher to see it, and end it.

    Raises RequestError as soon as a heartbeat moves it: somebody runs the job.
    """
    say(f"{job.id} was run by {job.owner}; waiting {lease_s:g} s for a sign of life")
    watch = SilenceWatch[int](lease_s)
    first = end = queue.leases().get(job.id)
    while end is not None and end == first:
        if queue.reap(watch.look({job.id: end}, time.monotonic())):
            return
        time.sleep(min(LOOK_S, lease_s / 4))
        end = queue.leases().get(job.id)
    if end is not None:
        raise RequestError(f"{job.id} is run by {job.owner}, which is alive; see `ganctl watch {job.id}`")


def _run_to_its_end(settings: Settings, queue: JobQueue, lease: Lease) -> int:
    """Run the attempt, and those that follow a rollback; returns the exit code."""
    while True:
        with _polite_signals() as leaving, _report_lines(queue, lease.job_id):
            _attempt(settings, queue, lease, leaving)
        job = patiently(partial(queue.get, lease.job_id))
        if job.state is not State.QUEUED:
            tell_end(queue, job)
            return EXIT_CODES[job.state]
        say(f"{job.id} is queued again: {job.reason}: {job.message}")
        if job.reason is not Reason.ROLLED_BACK or leaving.is_set():
            say(f"next: ganctl run {job.id}")
            return INTERRUPTED if leaving.is_set() else QUEUED_AGAIN
        lease = patiently(partial(queue.take, job.id))


def _attempt(settings: Settings, queue: JobQueue, lease: Lease, leaving: threading.Event) -> None:
    """One attempt; what ends it from outside gives its job back."""
    from workers.attempt.process_group import run_worker

    def end_process() -> None:
        # As a worker does: whatever this thread of the training is deep in must not write a thing once it returns.
        say(f"error: the lease of {lease.job_id} is lost; next: ganctl run {lease.job_id}")
        os._exit(LeaseLost.exit_code)

    try:
        run_worker(settings, lease, 0, meeting_point="", own_address="", on_lost=end_process, leaving=leaving)
    except LeaseLost:
        raise
    except BaseException as error:
        reason = Reason.YIELDED if isinstance(error, KeyboardInterrupt) else Reason.ERROR
        with contextlib.suppress(LeaseLost, BrokerOutage):
            queue.finish(lease, Outcome(reason=reason, message=plain_line(f"{type(error).__name__} {error}".strip())))
        raise


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does: a process that just ended would leave its servers up and its job leased."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        on_interrupt = signal.getsignal(signal.SIGINT)
        if not callable(on_interrupt):  # it is ignored, as shells have it for what runs in the background
            raise KeyboardInterrupt
        on_interrupt(number, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _polite_signals() -> Iterator[threading.Event]:
    """Have SIGTERM and Ctrl-C set the event, by which the attempt leaves after a checkpoint."""
    leaving = threading.Event()

    def on_signal(number: int, _: object) -> None:
        if number == signal.SIGINT and leaving.is_set():
            raise KeyboardInterrupt
        leaving.set()
        # Not by `say`: this thread may be in the midst of writing.
        os.write(STDERR, b"leaving after a checkpoint; Ctrl-C ends at once\n")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield leaving
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _report_lines(queue: JobQueue, job_id: str) -> Iterator[None]:
    """A line for each new report, from a thread of its own; none while a debugger holds the training."""
    ended = threading.Event()

    def tell() -> None:
        newest = None
        while not ended.wait(LOOK_S):
            with contextlib.suppress(BrokerOutage, JobNotFound):
                job = queue.get(job_id)
                if job.progress != newest:
                    newest = job.progress
                    say(headline(job))

    thread = threading.Thread(target=tell, name="reports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
