"""Heartbeat: keeps an attempt's lease from its own thread, so that no upload and no long step can cost it."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

from ganservice.errors import BrokerOutage, LeaseLost
from ganservice.job import Activity, Checkpoint, Directive, EventKind, Lease, Outcome, Progress, Pulse, Reason
from ganservice.queue import JobQueue, NewEvent, Report
from ganservice.recipe import Precision
from workers.attempt.motion import Motion
from workers.attempt.outbox import Mail, Outbox
from workers.attempt.pace import Pace

log = logging.getLogger(__name__)

PREPARING = (Activity.LOADING, Activity.RESTORING)


@dataclass(frozen=True)
class _Beat:
    """What is sent at once, and again unchanged until it is answered: only so is none of it counted twice."""

    request: str
    sent_at: float  # the first time
    report: Report
    mail: Mail


class Heartbeat:
    """Beats every `interval_s` and carries what the attempt reports in between.

    Calls `on_lost` once, from its thread, as soon as the lease is known to be lost or `lease.lease_s` has passed
    since the last beat that Redis answered: whatever the attempt does after that must not count. So it is once nothing
    of the attempt has come further for `stall_limit_s`, while it waited for no server: its job is given back then.
    """

    def __init__(
        self,
        queue: JobQueue,
        lease: Lease,
        interval_s: float,
        on_lost: Callable[[], None],
        leaving: threading.Event | None = None,
        stall_limit_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`leaving` is set when this process was told to leave, which is as good as a directive. By `clock` is seen
        whether the attempt comes further."""
        self._queue = queue
        self._lease = lease
        self._interval_s = interval_s
        self._on_lost = on_lost
        self._leaving = leaving or threading.Event()
        self._stall_limit_s = stall_limit_s
        self._device: str | None = None
        self._motion = Motion(clock)
        self._course: tuple[float, float | None] | None = None  # of an evaluation: share done, s left
        self._beating = threading.Lock()  # one beat at a time
        self._outbox = Outbox()
        self._activity = Activity.LOADING
        self._waits_for: str | None = None
        self._stored_images: int | None = None
        self._pace: Pace | None = None  # of a training that takes its steps
        self._images: int | None = None  # that the last beat told
        self._missed = 0
        self._unanswered: _Beat | None = None
        self._answered_at = time.monotonic()
        self._due = threading.Event()  # something happened that should not wait for the interval
        self._ending = threading.Event()
        self._losing = threading.Lock()  # it is lost once
        self._lost = threading.Event()
        self._directive = Directive.CONTINUE
        self.hurry = threading.Event()  # a directive or a signal says so, or the lease is lost: nobody waits any longer
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._due.set()
        self._thread.join()

    @property
    def directive(self) -> Directive:
        """What the last answer said to do, or else a signal to this process."""
        is_yield = self._directive is Directive.CONTINUE and self._leaving.is_set()
        return Directive.YIELD if is_yield else self._directive

    @property
    def is_preparing(self) -> bool:
        """Whether the attempt brings what it begins with, and has nothing yet that a checkpoint would keep."""
        return self._activity in PREPARING

    @property
    def stored_images(self) -> int | None:
        """Images of the newest checkpoint that is stored; None where the attempt does not know yet."""
        return self._stored_images

    def does(self, activity: Activity) -> None:
        """Say what the attempt is doing from now on, by a beat that does not wait for its time."""
        if activity is not self._activity:
            self._motion.begin()
        self._activity = activity
        self._due.set()

    def begin(self) -> None:
        """Take note that the attempt begins with something else, of which no pace is usual yet."""
        self._motion.begin()

    def computes_on(self, device: str) -> None:
        """Say on what kind of device the attempt computes, `cpu` or `cuda`, by the next beat."""
        self._device = device

    def advance(self, share_done: float, left_s: float | None) -> None:
        """Say how much of an evaluation is done, 0 to 1, and how long the rest will take, s, where that is known."""
        self._course = share_done, left_s
        self._motion.report()

    def move(self) -> None:
        """Take note that something has come further, if only bytes to the store or from it."""
        self._motion.move()

    def waits_for(self, what: str | None) -> None:
        """Say what the attempt waits for, or that it waits no more, by a beat that does not wait for its time."""
        if what != self._waits_for:
            self._motion.move()
            self._waits_for = what
            self._due.set()

    def resumed(
        self, images_seen: Callable[[], int], checkpoint: Checkpoint | None, precision: Precision | None = None
    ) -> None:
        """Say what the attempt starts from, and that it trains from here on.

        Each beat calls `images_seen` from its own thread, between two reports too: it must only read a counter.
        """
        pace = Pace(images_seen)
        self._outbox.put(resumed_images=images_seen(), checkpoint=checkpoint, precision=precision)
        self._pace = pace
        self._stored_images = checkpoint.images if checkpoint else 0
        self.does(Activity.TRAINING)

    def gives_steps(self, engine: str) -> None:
        """Say how the device is given its steps, and why."""
        self._outbox.put(engine=engine)

    def progress(self, progress: Progress) -> None:
        """Report progress; only the newest is sent."""
        self._motion.report()
        self._outbox.put(progress=progress)

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Report a checkpoint that the store has."""
        self._stored_images = checkpoint.images
        self._outbox.put(checkpoint=checkpoint)
        self.say(EventKind.CHECKPOINT, **checkpoint.model_dump())

    def say(self, kind: EventKind, /, **detail: Any) -> None:
        """Add an event to the job's stream, by a beat that does not wait for its time."""
        self._outbox.add_event(NewEvent(kind, detail))
        self._due.set()

    def log(self, line: str) -> None:
        """Add a line to the job's log; the oldest are dropped if the broker does not keep up."""
        self._outbox.add_log(line)

    def hold(self) -> None:
        """Beat until Redis has answered: after it the lease is known to be ours. Raises LeaseLost."""
        self._insist(self.beat)

    def finish(self, outcome: Outcome) -> None:
        """Send what is left to report and end the attempt, whatever is in the way while the lease holds. No beat
        follows. Raises LeaseLost."""
        request = secrets.token_hex(8)
        last: Report | None = None

        def send_rest() -> None:
            nonlocal last
            # What follows a failure is decided by what was told before it.
            with_end = outcome.reason is Reason.SUCCEEDED
            if not with_end:
                self.beat()
            while not self._ending.is_set() and (self._outbox.overflows if with_end else self._outbox.has_more):
                self.beat()
            with self._beating:
                if self._unanswered:
                    self._send(self._unanswered)
                # From the first asking on, the attempt may have ended: a beat would only be told so.
                self._ending.set()
                last = self._write().report if with_end else None

        def end() -> None:
            self.check_lease()
            self._queue.finish(self._lease, outcome, request, report=last)

        self._insist(send_rest)
        self._insist(end)

    def _insist(self, ask: Callable[[], object]) -> None:
        while not self._answered(ask):
            time.sleep(self._interval_s)

    def _answered(self, ask: Callable[[], object]) -> bool:
        try:
            ask()
        except LeaseLost:
            raise
        except BrokerOutage as error:
            log.warning("%s", error)
        except Exception:  # whatever it was may pass; if it does not, the lease runs out and the next beat says so
            log.exception("a heartbeat failed")
        else:
            return True
        self._missed += 1
        return False

    def beat(self) -> None:
        """Beat now; a beat that was not answered goes first, as it was. Raises LeaseLost, and BrokerOutage with
        nothing of the report lost."""
        with self._beating:
            if self._ending.is_set():
                return
            if self._unanswered:
                self._send(self._unanswered)
            # Also after one that was sent again: its answer may be as old as it is, and renews as little.
            self._send(self._write())

    def _write(self) -> _Beat:
        mail, pace, now = self._outbox.look(), self._pace, time.monotonic()
        images, images_per_s = pace.look(now) if pace else (None, None)
        if images != self._images:
            self._images = images
            self._motion.move()
        share_done, left_s = self._course or (None, None)
        ages = self._motion.ages()
        report: Report = {
            "pulse": Pulse(
                activity=self._activity,
                waits_for=self._waits_for,
                device=self._device,
                images=images,
                images_per_s=images_per_s,
                share_done=share_done,
                left_s=left_s,
                report_age_s=ages.report_s,
                report_every_s=ages.usual_s,
                still_s=ages.still_s,
            ),
            "trained_images": images - pace.first_images if pace and images is not None else 0,
            "missed_beats": self._missed,
            "events": mail.events,
            "logs": mail.logs,
            **cast(Report, mail.fields),
        }
        return _Beat(secrets.token_hex(8), now, report, mail)

    def _send(self, beat: _Beat) -> None:
        self.check_lease()
        self._unanswered = beat
        self._directive = self._queue.heartbeat(self._lease, request=beat.request, **beat.report)
        self._unanswered = None
        self._missed -= beat.report["missed_beats"]
        # The moment of asking counts: a process may be frozen before it sees the answer.
        self._answered_at = beat.sent_at
        self._outbox.remove(beat.mail)
        if self._directive is not Directive.CONTINUE:
            self.hurry.set()

    def _run(self) -> None:
        self._due.wait(min(self._interval_s, self._left_s()))
        if self._ending.is_set():
            return
        try:
            # A beat may hang for as long as its connection does: whether the lease has run out is watched elsewhere.
            watch = threading.Thread(target=self._watch, name="lease", daemon=True)
            watch.start()
            self._due.set()
            self._beat_on()
        except Exception:  # such as no thread or no memory to be had
            log.exception("the heartbeat cannot go on")
            self._lose()
        else:
            watch.join()

    def _beat_on(self) -> None:
        """Beat until the attempt ends or has lost its lease."""
        while True:
            self._due.wait(self._interval_s)
            self._due.clear()
            if self._ending.is_set():
                return
            if self._leaving.is_set():
                self.hurry.set()
            try:
                self._answered(self.beat)
                self._check_motion()
            except LeaseLost:
                self._lose()
                return

    def _check_motion(self) -> None:
        """Give the job back where the attempt stands still. Raises LeaseLost then."""
        still_s = self._motion.ages().still_s
        if still_s < self._stall_limit_s or self._waits_for:
            return
        message = f"came no further for {still_s:.0f} s, while it was {self._activity}"
        log.error("the attempt %s: its job is given back", message)
        self.finish(Outcome(reason=Reason.STALLED, message=message))
        raise LeaseLost(f"attempt {self._lease.attempt} of {self._lease.job_id} {message}")

    def _watch(self) -> None:
        while not self._ending.wait(max(0.0, self._left_s())):
            if self._left_s() <= 0:
                self._lose()
                return

    def check_lease(self) -> None:
        """Raise LeaseLost where the lease is known to be lost."""
        if self._lost.is_set() or self._left_s() <= 0:
            raise LeaseLost(f"attempt {self._lease.attempt} of {self._lease.job_id} lost its lease")

    def _left_s(self) -> float:
        """How long the lease lasts if no beat is answered any more."""
        return self._answered_at + self._lease.lease_s - time.monotonic()

    def _lose(self) -> None:
        with self._losing:
            if not self._lost.is_set():
                self._lost.set()
                self.hurry.set()
                self._on_lost()
