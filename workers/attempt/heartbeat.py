"""Heartbeat: keeps an attempt's lease from its own thread, so that no upload and no long step can cost it."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Self

from ganservice.errors import BrokerUnreachable, LeaseLost
from ganservice.job import Activity, Checkpoint, Directive, Lease, Outcome, Progress, Pulse
from ganservice.queue import JobQueue, NewEvent
from ganservice.recipe import Precision

log = logging.getLogger(__name__)

# Of one beat: what does not fit waits for the next, so that a noisy attempt stays cheap for the broker.
MAX_LOG_LINES = 200
MAX_WAITING_LOG_LINES = 5_000
# Images/s are told of about so long a time.
PACE_S = 20.0


class Heartbeat:
    """Beats every `interval_s` and carries what the attempt reports in between.

    Calls `on_lost` once, from its thread, as soon as the lease is known to be lost or `lease.lease_s` has passed
    since the last beat that Redis answered: whatever the attempt does after that must not count.
    """

    def __init__(self, queue: JobQueue, lease: Lease, interval_s: float, on_lost: Callable[[], None]) -> None:
        self._queue = queue
        self._lease = lease
        self._interval_s = interval_s
        self._on_lost = on_lost
        self._beating = threading.Lock()  # one beat at a time
        self._pending = threading.Lock()  # guards what waits to be sent
        self._report: dict[str, Any] = {}
        self._activity = Activity.LOADING
        self._images_seen: Callable[[], int] | None = None
        self._pace: deque[tuple[float, int]] = deque()  # the last beats that found new images: when, and how many
        self._events: list[NewEvent] = []
        self._logs: list[str] = []
        self._logs_dropped = 0
        self._images_reported = 0
        self._missed = 0
        self._answered_at = time.monotonic()
        self._due = threading.Event()  # something happened that should not wait for the interval
        self._ending = threading.Event()
        self._losing = threading.Lock()  # it is lost once
        self._lost = threading.Event()
        self._directive = Directive.CONTINUE
        self._threads = [
            threading.Thread(target=self._run, name="heartbeat", daemon=True),
            # A beat may hang for as long as its connection does: whether the lease has run out is watched elsewhere.
            threading.Thread(target=self._watch, name="lease", daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._due.set()
        for thread in self._threads:
            thread.join()

    @property
    def directive(self) -> Directive:
        """What the last answer said to do."""
        return self._directive

    def does(self, activity: Activity) -> None:
        """Say what the attempt is doing from now on, by a beat that does not wait for its time."""
        self._activity = activity
        self._due.set()

    def resumed(
        self, images_seen: Callable[[], int], checkpoint: Checkpoint | None, precision: Precision | None = None
    ) -> None:
        """Say what the attempt starts from, and that it trains from here on.

        Each beat calls `images_seen` from its own thread, between two reports too: it must only read a counter.
        """
        with self._pending:
            self._images_reported = images_seen()
            self._images_seen = images_seen
            self._report |= {
                "resumed_images": self._images_reported, "checkpoint": checkpoint, "precision": precision
            }  # fmt: skip
        self.does(Activity.TRAINING)

    def progress(self, progress: Progress) -> None:
        """Report progress; only the newest is sent."""
        with self._pending:
            self._report["progress"] = progress

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Report a checkpoint that the store has."""
        with self._pending:
            self._report["checkpoint"] = checkpoint
        self.say("checkpoint", **checkpoint.model_dump())

    def say(self, kind: str, **detail: Any) -> None:
        """Add an event to the job's stream, by a beat that does not wait for its time."""
        with self._pending:
            self._events.append(NewEvent(kind, detail))
        self._due.set()

    def log(self, line: str) -> None:
        """Add a line to the job's log; the oldest are dropped if the broker does not keep up."""
        with self._pending:
            self._logs.append(line)
            excess = max(0, len(self._logs) - MAX_WAITING_LOG_LINES)
            del self._logs[:excess]
            self._logs_dropped += excess

    def hold(self) -> None:
        """Beat until Redis has answered: after it the lease is known to be ours. Raises LeaseLost."""
        self._insist(self.beat)

    def finish(self, outcome: Outcome) -> None:
        """Send what is left to report and end the attempt. No beat follows. Raises LeaseLost."""
        request = secrets.token_hex(8)

        self._insist(self._send_rest)
        # From the first asking on, the attempt may have ended: a beat would only be told so.
        with self._beating:
            self._ending.set()

        def end() -> None:
            self._check_held()
            self._queue.finish(self._lease, outcome, request)

        self._insist(end)

    def _send_rest(self) -> None:
        self.beat()
        while self._logs and not self._ending.is_set():  # more lines than fit into one beat
            self.beat()

    def _insist(self, ask: Callable[[], object]) -> None:
        while not self._answered(ask):
            time.sleep(self._interval_s)

    def _answered(self, ask: Callable[[], object]) -> bool:
        try:
            ask()
        except BrokerUnreachable as error:
            log.warning("%s", error)
            self._missed += 1
            return False
        return True

    def beat(self) -> None:
        """Beat now. Raises LeaseLost, and BrokerUnreachable with nothing of the report lost."""
        with self._beating:
            if self._ending.is_set():
                return
            self._check_held()
            with self._pending:
                report, events, logs = dict(self._report), list(self._events), self._logs[:MAX_LOG_LINES]
                logs_end = self._logs_dropped + len(logs)
                pulse = self._pulse()
            missed = self._missed
            images_trained = max(0, pulse.images - self._images_reported) if pulse.images is not None else 0
            # The moment of asking counts: a process may be frozen before it sees the answer.
            asked_at = time.monotonic()
            self._directive = self._queue.heartbeat(
                self._lease,
                pulse=pulse,
                images_trained=images_trained,
                missed_beats=missed,
                events=events,
                logs=logs,
                **report,
            )
            self._missed -= missed
            self._answered_at = asked_at
            with self._pending:
                self._images_reported += images_trained
                self._report = {name: value for name, value in self._report.items() if value is not report.get(name)}
                del self._events[: len(events)]
                del self._logs[: max(0, logs_end - self._logs_dropped)]

    def _pulse(self) -> Pulse:
        """What the attempt does and, of a training, how far and how fast it is."""
        if self._images_seen is None:
            return Pulse(activity=self._activity)
        now, images = time.monotonic(), self._images_seen()
        if not self._pace or images > self._pace[-1][1]:
            self._pace.append((now, images))
        while len(self._pace) > 3 and self._pace[1][0] <= now - PACE_S:
            self._pace.popleft()
        (since, before), (until, _) = self._pace[0], self._pace[-1]
        # Where a step takes longer than a beat, most beats find nothing new: that is no slower pace until the next
        # step takes longer than any of these did.
        longest_s = max((later - earlier for (earlier, _), (later, _) in pairwise(self._pace)), default=0.0)
        span_s = max(until, now - longest_s) - since
        images_per_s = (images - before) / span_s if images > before and span_s > 0 else None
        return Pulse(activity=self._activity, images=images, images_per_s=images_per_s)

    def _run(self) -> None:
        while True:
            self._due.wait(self._interval_s)
            self._due.clear()
            if self._ending.is_set():
                return
            try:
                self._answered(self.beat)
            except LeaseLost:
                self._lose()
                return
            except Exception:  # whatever it was may pass; if it does not, the lease runs out and the next beat says so
                log.exception("a heartbeat failed")

    def _watch(self) -> None:
        while not self._ending.wait(max(0.0, self._left_s())):
            if self._left_s() <= 0:
                self._lose()
                return

    def _check_held(self) -> None:
        if self._lost.is_set() or self._left_s() <= 0:
            raise LeaseLost(f"attempt {self._lease.attempt} of {self._lease.job_id} lost its lease")

    def _left_s(self) -> float:
        """How long the lease lasts if no beat is answered any more."""
        return self._answered_at + self._lease.lease_s - time.monotonic()

    def _lose(self) -> None:
        with self._losing:
            if not self._lost.is_set():
                self._lost.set()
                self._on_lost()
