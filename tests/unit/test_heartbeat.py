"""The heartbeat against a queue in memory that fails as it is told; the real queue has its own tests."""

import itertools
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest

from ganservice.errors import BrokerOutage, LeaseLost, OutageKind
from ganservice.job import Activity, Checkpoint, Directive, EventKind, Lease, Outcome, Progress, Pulse, Reason, State
from ganservice.queue import JobQueue, NewEvent, Report
from ganservice.spec import TrainSpec
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.outbox import MAX_EVENTS, MAX_LOG_LINES, MAX_WAITING_LOG_LINES

TIMEOUT_S = 120
NEVER_S = 1_000.0
SUCCEEDED = Outcome(reason=Reason.SUCCEEDED)
CHECKPOINT = Checkpoint(key="k", images=100, bytes=1, seconds=0.5)


class FakeQueue:
    """Records each beat it answers, and what an end carries as one; `faults` are raised first, one for each call, by an
    end `faults_of_end` too."""

    def __init__(self) -> None:
        self.faults: deque[Exception] = deque()
        self.faults_of_end: deque[Exception] = deque()
        self.beats: list[dict[str, Any]] = []
        self.finished: list[Outcome] = []
        self.requests: list[str] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []  # also what was not answered
        self.directive = Directive.CONTINUE
        self.before_answer: Callable[[], Any] = lambda: None
        self.calls = 0
        self._called = threading.Condition()

    def heartbeat(self, _: Lease, *, request: str, **report: Any) -> Directive:
        self.sent.append((request, report))
        self._call()
        self.before_answer()
        self.beats.append(report)
        return self.directive

    def finish(self, _: Lease, outcome: Outcome, request: str, report: Report | None) -> State:
        self.requests.append(request)
        self._call()
        if self.faults_of_end:
            raise self.faults_of_end.popleft()
        self.beats += [dict(report)] if report else []
        self.finished.append(outcome)
        return State.SUCCEEDED

    def _call(self) -> None:
        with self._called:
            self.calls += 1
            self._called.notify_all()
        if self.faults:
            raise self.faults.popleft()

    def await_calls(self, count: int) -> None:
        """Wait until the queue was called `count` times in all."""
        with self._called:
            assert self._called.wait_for(lambda: self.calls >= count, TIMEOUT_S)

    def told(self, what: str) -> list[Any]:
        """All that the beats carried of one kind, in order; of events, their kinds."""
        if what in ("events", "logs"):
            told = [entry for beat in self.beats for entry in beat[what]]
            return [entry.kind if isinstance(entry, NewEvent) else entry for entry in told]
        return [beat[what] for beat in self.beats if what in beat]


class FakeClock:
    """A clock that stands unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Lost:
    """Counts how often the lease was said to be lost."""

    def __init__(self) -> None:
        self.count, self.event = 0, threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.event.set()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def lost() -> Lost:
    return Lost()


@pytest.fixture
def make(spec: TrainSpec, queue: FakeQueue, lost: Lost) -> Callable[..., Heartbeat]:
    """make(interval_s, lease_s): a heartbeat; without arguments it beats only when asked."""

    def make(interval_s: float = NEVER_S, lease_s: float = NEVER_S, **options: Any) -> Heartbeat:
        lease = Lease(job_id="tiny-abc", attempt=1, token=7, lease_s=lease_s, spec=spec)
        # It has all that a heartbeat calls.
        return Heartbeat(cast(JobQueue, queue), lease, interval_s, lost, **options)

    return make


Make = Callable[..., Heartbeat]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The only element is the time that heartbeats see."""
    now = [0.0]
    monkeypatch.setattr("workers.attempt.heartbeat.time.monotonic", lambda: now[0])
    return now


def progress(images: int) -> Progress:
    return Progress(
        images=images, step=1, loss_g=1.0, loss_d=1.5, score_real=1.0, score_fake=-1.0,
        d_real=0.6, d_fake=0.4, value=-1.3, grad_norm_g=2.0, grad_norm_d=3.0, images_per_s=100.0, step_s=0.08,
    )  # fmt: skip


# What a beat carries


def test_more_events_than_fit_into_a_beat_follow_with_the_next_and_before_the_end(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    for place in range(2 * MAX_EVENTS + 1):
        heartbeat.say(EventKind.SAMPLES, place=place)
    heartbeat.finish(SUCCEEDED)
    assert [len(beat["events"]) for beat in queue.beats] == [MAX_EVENTS, MAX_EVENTS, 1]
    sent = [event.detail["place"] for beat in queue.beats for event in beat["events"]]
    assert sent == list(range(2 * MAX_EVENTS + 1))
    assert queue.finished == [SUCCEEDED]


def test_a_line_is_cut_before_it_waits(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    heartbeat.log("x" * 10**6)
    heartbeat.beat()
    [line] = queue.told("logs")
    assert len(line) == 2_000
    assert line.endswith("x... (1,000,000 characters)")


def test_a_report_is_sent_once_and_only_the_newest_progress(make: Make, queue: FakeQueue) -> None:
    heartbeat, counter = make(), [50]
    heartbeat.resumed(lambda: counter[0], CHECKPOINT, "fp32")
    heartbeat.progress(progress(60))
    heartbeat.progress(progress(70))
    counter[0] = 70
    heartbeat.beat()
    heartbeat.beat()
    assert [beat.pop("pulse").images for beat in queue.beats] == [70, 70]
    assert queue.beats == [
        {
            "resumed_images": 50, "checkpoint": CHECKPOINT, "precision": "fp32", "progress": progress(70),
            "trained_images": 20, "missed_beats": 0, "events": [], "logs": [],
        },
        {"trained_images": 20, "missed_beats": 0, "events": [], "logs": []},
    ]  # fmt: skip


def test_a_beat_tells_what_the_attempt_does(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    heartbeat.beat()
    heartbeat.does(Activity.RESTORING)
    heartbeat.beat()
    heartbeat.does(Activity.VIEWING)
    heartbeat.computes_on("cuda")
    heartbeat.advance(0.25, 90.0)
    heartbeat.beat()
    told: list[Pulse] = queue.told("pulse")
    assert [pulse.device for pulse in told] == [None, None, "cuda"]
    assert [pulse.activity for pulse in told] == [Activity.LOADING, Activity.RESTORING, Activity.VIEWING]
    assert [pulse.share_done for pulse in told] == [None, None, 0.25]
    assert told[-1].left_s == 90.0


def test_an_attempt_that_only_beats_is_given_back(make: Make, queue: FakeQueue, lost: Lost) -> None:
    with make(interval_s=0.001, stall_limit_s=0.05) as heartbeat:
        heartbeat.does(Activity.MEASURING)
        assert lost.event.wait(TIMEOUT_S)
    [outcome] = queue.finished
    assert outcome.reason is Reason.STALLED
    assert re.fullmatch(r"came no further for \d+ s, while it was generating and measuring pictures", outcome.message)


@pytest.mark.parametrize("sign", ["images", "progress", "advance", "bytes", "waits"])
def test_an_attempt_that_comes_further_or_waits_for_a_server_is_none_that_only_beats(
    make: Make, queue: FakeQueue, lost: Lost, sign: str
) -> None:
    images = itertools.count()
    signs: dict[str, Callable[[Heartbeat], None]] = {
        "images": lambda _: None,  # each beat counts them
        "progress": lambda heartbeat: heartbeat.progress(progress(60)),
        "advance": lambda heartbeat: heartbeat.advance(0.5, None),
        "bytes": lambda heartbeat: heartbeat.move(),
        "waits": lambda heartbeat: heartbeat.waits_for("the store (away)"),
    }
    clock = FakeClock()
    with make(interval_s=NEVER_S, stall_limit_s=60.0, clock=clock) as heartbeat:
        if sign == "images":
            heartbeat.resumed(lambda: next(images), None)
        for _ in range(5):
            clock.now_s += 50.0
            signs[sign](heartbeat)
            heartbeat.say(EventKind.SAMPLES)  # has it beat at once
            queue.await_calls(queue.calls + 1)
    assert (lost.count, queue.finished) == (0, [])


def test_a_beat_tells_how_long_ago_the_last_report_was_and_what_is_usual(make: Make, queue: FakeQueue) -> None:
    clock = FakeClock()
    heartbeat = make(clock=clock)
    heartbeat.resumed(lambda: 0, None)
    for pause_s in (40.0, 2.0, 2.0, 3.0, 2.0):
        clock.now_s += pause_s
        heartbeat.progress(progress(60))
    heartbeat.beat()
    clock.now_s += 45.0
    heartbeat.beat()
    pulse = queue.told("pulse")[-1]
    assert (pulse.report_age_s, pulse.report_every_s, pulse.still_s) == (45.0, 2.0, 45.0)
    # Of what it does next nothing is usual yet.
    heartbeat.does(Activity.PUBLISHING)
    heartbeat.beat()
    pulse = queue.told("pulse")[-1]
    assert (pulse.report_age_s, pulse.report_every_s, pulse.still_s) == (0.0, None, 0.0)


def test_an_attempt_that_does_something_else_says_so_at_once(make: Make, queue: FakeQueue) -> None:
    with make(interval_s=NEVER_S) as heartbeat:
        heartbeat.does(Activity.PUBLISHING)
        queue.await_calls(1)
    assert queue.told("pulse")[-1].activity is Activity.PUBLISHING


def test_beats_count_images_and_their_pace_between_reports(make: Make, queue: FakeQueue, clock: list[float]) -> None:
    heartbeat, counter = make(), [1_000]
    heartbeat.resumed(lambda: counter[0], None)
    for now, images in ((0.0, 1_000), (2.0, 1_000), (4.0, 1_060), (10.0, 1_150), (20.0, 1_300), (30.0, 1_700)):
        clock[0], counter[0] = now, images
        heartbeat.beat()
    assert [pulse.images for pulse in queue.told("pulse")] == [1_000, 1_000, 1_060, 1_150, 1_300, 1_700]
    # The last is of the 20 s before it only.
    assert [pulse.images_per_s for pulse in queue.told("pulse")] == [None, None, 15.0, 15.0, 15.0, 27.5]
    assert queue.told("trained_images") == [0, 0, 60, 150, 300, 700]
    assert queue.told("progress") == []


def test_steps_that_take_longer_than_a_beat_have_a_steady_pace(
    make: Make, queue: FakeQueue, clock: list[float]
) -> None:
    heartbeat, counter = make(), [0]
    heartbeat.resumed(lambda: counter[0], None)
    for now in range(0, 60, 2):
        clock[0], counter[0] = float(now), 75 * (now // 5)
        heartbeat.beat()
    paces = [pulse.images_per_s for pulse in queue.told("pulse")][3:]
    assert min(paces) >= 12
    assert max(paces) <= 15


def test_the_pace_of_a_training_that_stands_still_falls(make: Make, queue: FakeQueue, clock: list[float]) -> None:
    heartbeat, counter = make(), [0]
    heartbeat.resumed(lambda: counter[0], None)
    for now, images in ((0.0, 0), (2.0, 30), (10.0, 30), (22.0, 30), (42.0, 30)):
        clock[0], counter[0] = now, images
        heartbeat.beat()
    assert [pulse.images_per_s for pulse in queue.told("pulse")] == [None, 15.0, 3.75, 1.5, 0.75]


def test_a_checkpoint_is_reported_and_said(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    heartbeat.checkpointed(CHECKPOINT)
    heartbeat.beat()
    assert queue.told("checkpoint") == [CHECKPOINT]
    assert queue.beats[0]["events"] == [NewEvent(EventKind.CHECKPOINT, CHECKPOINT.model_dump())]


def test_nothing_is_lost_or_said_twice_when_the_broker_is_away(make: Make, queue: FakeQueue) -> None:
    heartbeat, counter, kinds = make(), [0], list(EventKind)[:4]
    heartbeat.resumed(lambda: counter[0], None)
    for number, kind in enumerate(kinds):
        counter[0] += 10
        heartbeat.say(kind)
        heartbeat.log(f"line {number}")
        heartbeat.progress(progress(10 * (number + 1)))
        if number in (1, 2):
            queue.faults.append(BrokerOutage("away"))
            with pytest.raises(BrokerOutage):
                heartbeat.beat()
        else:
            heartbeat.beat()
    assert queue.told("events") == kinds
    assert queue.told("logs") == ["line 0", "line 1", "line 2", "line 3"]
    assert queue.told("progress") == [progress(10), progress(20), progress(40)]
    assert queue.told("trained_images") == [10, 20, 40]
    assert queue.told("resumed_images") == [0]


def test_a_beat_that_is_not_answered_is_sent_again_as_it_was_and_what_is_new_follows_at_once(
    make: Make, queue: FakeQueue
) -> None:
    heartbeat, counter = make(), [0]
    heartbeat.resumed(lambda: counter[0], None)
    for number in range(4):
        counter[0] += 10
        heartbeat.checkpointed(CHECKPOINT)
        heartbeat.log(f"line {number}")
        if number < 3:
            queue.faults.append(BrokerOutage("away"))
            with pytest.raises(BrokerOutage):
                heartbeat.beat()
    heartbeat.beat()
    first, *again, latest = queue.sent
    assert again == 3 * [first]
    assert (first[1]["trained_images"], first[1]["logs"], len(first[1]["events"])) == (10, ["line 0"], 1)
    assert latest[0] != first[0]
    assert (latest[1]["trained_images"], len(latest[1]["logs"]), len(latest[1]["events"])) == (40, 3, 3)
    heartbeat.beat()
    assert queue.told("events") == 4 * [EventKind.CHECKPOINT]


def test_an_answer_to_a_beat_sent_again_renews_from_the_first_time_it_was_sent(
    make: Make, queue: FakeQueue, clock: list[float]
) -> None:
    heartbeat = make(lease_s=30)
    clock[0] = 5
    queue.faults.append(BrokerOutage("the answer is lost"))
    with pytest.raises(BrokerOutage):
        heartbeat.beat()
    # The broker answers what it has heard before, and nothing else.
    clock[0] = 25
    queue.before_answer = lambda: queue.faults.append(BrokerOutage("away"))
    with pytest.raises(BrokerOutage):
        heartbeat.beat()
    assert len(queue.beats) == 1
    clock[0] = 36
    with pytest.raises(LeaseLost):
        heartbeat.beat()
    assert len(queue.sent) == 3


def test_what_is_reported_during_a_beat_goes_with_the_next(make: Make, queue: FakeQueue) -> None:
    heartbeat, counter = make(), [0]
    heartbeat.resumed(lambda: counter[0], None)
    counter[0] = 10
    heartbeat.progress(progress(10))
    heartbeat.say(EventKind.STARTED)
    heartbeat.log("started")

    def report_more() -> None:
        counter[0] = 30
        heartbeat.progress(progress(30))
        heartbeat.say(EventKind.HEALTH)
        heartbeat.log("health")

    queue.before_answer = report_more
    heartbeat.beat()
    queue.before_answer = lambda: None
    heartbeat.beat()
    assert queue.told("progress") == [progress(10), progress(30)]
    assert queue.told("trained_images") == [10, 30]
    assert queue.told("events") == queue.told("logs") == ["started", "health"]


def test_images_are_those_that_this_attempt_has_trained_so_far(make: Make, queue: FakeQueue) -> None:
    heartbeat, counter = make(), [100]
    heartbeat.resumed(lambda: counter[0], CHECKPOINT)
    for images in (100, 108, 124, 124):
        counter[0] = images
        heartbeat.beat()
    heartbeat.beat()
    assert queue.told("trained_images") == [0, 8, 24, 24, 24]


def test_a_noisy_attempt_sends_its_log_in_parts_and_in_order(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    lines = [str(number) for number in range(2 * MAX_LOG_LINES + 1)]
    for line in lines:
        heartbeat.log(line)
    for _ in range(3):
        heartbeat.beat()
    assert [len(beat["logs"]) for beat in queue.beats] == [MAX_LOG_LINES, MAX_LOG_LINES, 1]
    assert queue.told("logs") == lines


def test_the_oldest_lines_go_when_too_many_wait(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    for number in range(MAX_WAITING_LOG_LINES + 3):
        heartbeat.log(str(number))
    heartbeat.beat()
    assert queue.told("logs")[0] == "3"


def test_lines_that_come_while_too_many_wait_cost_the_oldest_only(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    for number in range(MAX_WAITING_LOG_LINES):
        heartbeat.log(str(number))
    queue.before_answer = lambda: heartbeat.log("one too many")
    heartbeat.beat()
    heartbeat.beat()
    assert queue.told("logs") == [str(number) for number in range(2 * MAX_LOG_LINES)]


def test_a_directive_to_stop_is_seen(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    for directive in (Directive.CONTINUE, Directive.STOP):
        queue.directive = directive
        heartbeat.beat()
        assert heartbeat.directive is directive


def test_it_tells_at_once_what_the_attempt_waits_for_and_when_it_waits_no_more(make: Make, queue: FakeQueue) -> None:
    with make(interval_s=NEVER_S) as heartbeat:
        heartbeat.waits_for("the store (full)")
        queue.await_calls(1)
        heartbeat.waits_for(None)
        queue.await_calls(2)
    assert [pulse.waits_for for pulse in queue.told("pulse")] == ["the store (full)", None]


@pytest.mark.parametrize("directive", [Directive.STOP, Directive.YIELD])
def test_who_waits_is_told_to_leave_by_a_directive(make: Make, queue: FakeQueue, directive: Directive) -> None:
    heartbeat, told = make(), list[bool]()
    for queue.directive in (Directive.CONTINUE, directive):
        heartbeat.beat()
        told.append(heartbeat.hurry.is_set())
    assert told == [False, True]


def test_who_waits_is_told_to_leave_by_the_loss_of_the_lease(make: Make, queue: FakeQueue, lost: Lost) -> None:
    queue.faults.append(LeaseLost("another attempt has it"))
    with make(interval_s=0.001) as heartbeat:
        assert lost.event.wait(TIMEOUT_S)
        assert heartbeat.hurry.is_set()


def test_it_knows_the_newest_checkpoint_that_is_stored(make: Make) -> None:
    heartbeat = make()
    known = [heartbeat.stored_images]
    heartbeat.resumed(lambda: 0, None)
    known.append(heartbeat.stored_images)
    heartbeat.checkpointed(CHECKPOINT)
    known.append(heartbeat.stored_images)
    assert known == [None, 0, 100]


# The thread


def test_it_beats_by_itself_until_it_is_left(make: Make, queue: FakeQueue, lost: Lost) -> None:
    before = set(threading.enumerate())
    with make(interval_s=0.001):
        queue.await_calls(3)
    assert set(threading.enumerate()) <= before
    assert lost.count == 0


def test_an_event_does_not_wait_for_the_next_beat(make: Make, queue: FakeQueue) -> None:
    with make(interval_s=NEVER_S) as heartbeat:
        heartbeat.say(EventKind.STARTED)
        queue.await_calls(1)
    assert queue.told("events") == [EventKind.STARTED]


def test_it_goes_on_while_the_broker_is_away_or_takes_no_writes(make: Make, queue: FakeQueue, lost: Lost) -> None:
    queue.faults.extend([BrokerOutage("away"), BrokerOutage("no room", OutageKind.FULL), BrokerOutage("away")])
    heartbeat = make(interval_s=0.001)
    heartbeat.say(EventKind.HEALTH)
    with heartbeat:
        queue.await_calls(6)
    assert queue.told("events") == [EventKind.HEALTH]
    assert sum(beat["missed_beats"] for beat in queue.beats) == 3, "those that were not answered are counted"
    assert lost.count == 0


# The lease


def test_a_lost_lease_is_told_once_and_ends_the_beats(make: Make, queue: FakeQueue, lost: Lost) -> None:
    queue.faults.append(LeaseLost("another attempt has it"))
    with make(interval_s=0.001) as heartbeat:
        assert lost.event.wait(TIMEOUT_S)
        for ask in (heartbeat.beat, heartbeat.hold, lambda: heartbeat.finish(SUCCEEDED)):
            with pytest.raises(LeaseLost):
                ask()
    assert (lost.count, queue.calls, queue.finished) == (1, 1, [])


def test_a_silence_longer_than_the_lease_loses_it_even_if_the_broker_answers_again(
    make: Make, queue: FakeQueue, clock: list[float]
) -> None:
    heartbeat = make(lease_s=30)
    heartbeat.beat()
    clock[0] = 29
    queue.faults.append(BrokerOutage("away"))
    with pytest.raises(BrokerOutage):
        heartbeat.beat()
    clock[0] = 31
    with pytest.raises(LeaseLost):
        heartbeat.beat()
    assert len(queue.beats) == 1


def test_the_thread_tells_of_a_silence_longer_than_the_lease(make: Make, queue: FakeQueue, lost: Lost) -> None:
    queue.faults.extend(BrokerOutage("away") for _ in range(100_000))
    with make(interval_s=0.001, lease_s=0.05):
        assert lost.event.wait(TIMEOUT_S)
    assert (lost.count, queue.beats) == (1, [])


def test_a_broker_that_never_answers_costs_the_lease_on_time(make: Make, queue: FakeQueue, lost: Lost) -> None:
    answer = threading.Event()
    queue.before_answer = answer.wait
    with make(interval_s=0.001, lease_s=0.05):
        told_while_it_waited = lost.event.wait(TIMEOUT_S)
        answer.set()
    assert told_while_it_waited
    assert lost.count == 1


@pytest.mark.parametrize("which", ["lease", "heartbeat"])
def test_a_thread_that_cannot_go_on_loses_the_lease(
    which: str, make: Make, lost: Lost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "lease":
            raise RuntimeError("can't start new thread")
        start(thread)

    def fail(_: Heartbeat) -> None:
        raise MemoryError

    if which == "lease":
        monkeypatch.setattr(threading.Thread, "start", refuse)
    else:
        monkeypatch.setattr(Heartbeat, "_check_motion", fail)
    with make(interval_s=0.01) as heartbeat:
        assert lost.event.wait(TIMEOUT_S)
    assert "the heartbeat cannot go on" in caplog.text
    with pytest.raises(LeaseLost):
        heartbeat.check_lease()
    assert lost.count == 1


def test_an_answer_seen_after_a_freeze_renews_from_the_moment_of_asking(
    make: Make, queue: FakeQueue, clock: list[float]
) -> None:
    heartbeat = make(lease_s=30)

    def freeze() -> None:
        clock[0] = 40

    clock[0] = 5
    queue.before_answer = freeze
    heartbeat.beat()
    with pytest.raises(LeaseLost):
        heartbeat.beat()
    assert len(queue.beats) == 1


def test_each_answer_renews_for_one_lease(make: Make, queue: FakeQueue, clock: list[float]) -> None:
    heartbeat = make(lease_s=30)
    for now in (20, 40, 69, 98):
        clock[0] = now
        heartbeat.beat()
    assert len(queue.beats) == 4


# Holding and finishing


def test_finishing_sends_what_is_left_and_no_beat_follows(make: Make, queue: FakeQueue) -> None:
    with make(interval_s=0.001) as heartbeat:
        heartbeat.say(EventKind.SAMPLES)
        heartbeat.finish(SUCCEEDED)
        calls = queue.calls
        heartbeat.say(EventKind.HEALTH)
        heartbeat.beat()
    assert queue.calls == calls
    assert queue.told("events") == [EventKind.SAMPLES]
    assert queue.finished == [SUCCEEDED]


def test_finishing_sends_every_line_that_waits(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    lines = [str(number) for number in range(2 * MAX_LOG_LINES + 1)]
    for line in lines:
        heartbeat.log(line)
    heartbeat.finish(SUCCEEDED)
    assert queue.told("logs") == lines


def test_finishing_waits_for_the_broker(make: Make, queue: FakeQueue) -> None:
    queue.faults.extend(BrokerOutage("away") for _ in range(2))
    queue.faults_of_end.append(BrokerOutage("away"))
    heartbeat = make(interval_s=0.001)
    heartbeat.say(EventKind.SAMPLES)
    heartbeat.finish(SUCCEEDED)
    assert queue.finished == [SUCCEEDED]
    assert queue.told("events") == [EventKind.SAMPLES]
    # The end, with what was left to tell, was asked four times, as the same request.
    assert (len(queue.sent), len(queue.requests), len(set(queue.requests))) == (0, 4, 1)


def test_a_beat_that_is_not_answered_goes_before_the_end(make: Make, queue: FakeQueue) -> None:
    queue.faults.extend(BrokerOutage("away") for _ in range(2))
    heartbeat = make(interval_s=0.001)
    heartbeat.say(EventKind.SAMPLES)
    with pytest.raises(BrokerOutage):
        heartbeat.beat()
    heartbeat.say(EventKind.HEALTH)
    heartbeat.finish(SUCCEEDED)
    assert queue.told("events") == [EventKind.SAMPLES, EventKind.HEALTH]
    assert (len(queue.sent), len({request for request, _ in queue.sent}), len(queue.requests)) == (3, 1, 1)


def test_what_a_failure_follows_is_told_before_it(make: Make, queue: FakeQueue) -> None:
    heartbeat = make()
    heartbeat.checkpointed(CHECKPOINT)
    heartbeat.finish(Outcome(reason=Reason.ERROR))
    assert [beat["checkpoint"] for beat in queue.beats] == [CHECKPOINT]
    assert (len(queue.sent), len(queue.requests)) == (1, 1)


def test_an_attempt_that_ends_at_once_starts_one_thread_and_asks_once(
    make: Make, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, start = list[str](), threading.Thread.start

    def counting(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counting)
    with make() as heartbeat:
        heartbeat.finish(SUCCEEDED)
    assert (started, queue.calls) == (["heartbeat"], 1)


@pytest.mark.parametrize(
    "fault",
    [*(BrokerOutage("no", kind) for kind in OutageKind), ValueError("an answer that is none")],
    ids=lambda fault: getattr(fault, "kind", "unexpected"),
)
def test_nothing_that_passes_keeps_an_outcome_from_being_told(make: Make, queue: FakeQueue, fault: Exception) -> None:
    queue.faults.append(fault)
    queue.faults_of_end.append(fault)
    make(interval_s=0.001).finish(SUCCEEDED)
    assert queue.finished == [SUCCEEDED]


def test_the_lease_is_known_to_be_held_by_a_new_beat_only(make: Make, queue: FakeQueue) -> None:
    heartbeat = make(interval_s=0.001)
    queue.faults.append(BrokerOutage("the answer is lost"))
    with pytest.raises(BrokerOutage):
        heartbeat.beat()
    heartbeat.hold()
    assert len({request for request, _ in queue.sent}) == 2


def test_holding_returns_as_soon_as_the_broker_has_answered(make: Make, queue: FakeQueue) -> None:
    queue.faults.extend(BrokerOutage("away") for _ in range(3))
    make(interval_s=0.001).hold()
    # The one that was sent four times, and the new one that follows it.
    assert (len(queue.beats), queue.calls) == (2, 5)


@pytest.mark.parametrize("end", ["hold", "finish"])
def test_patience_with_the_broker_ends_with_the_lease(make: Make, queue: FakeQueue, end: str) -> None:
    queue.faults.extend(BrokerOutage("away") for _ in range(100_000))
    heartbeat = make(interval_s=0.001, lease_s=0.05)
    with pytest.raises(LeaseLost):
        heartbeat.hold() if end == "hold" else heartbeat.finish(SUCCEEDED)
    assert queue.finished == []
