"""How an attempt waits for its servers: what it tells meanwhile, and what ends the wait."""

import itertools
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from ganservice.errors import BrokerOutage, LeaseLost, Outage, OutageKind, StoreOutage
from ganservice.job import Directive, EventKind, Reason
from ganservice.patience import patient
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.interruption import Interruption
from workers.attempt.patience import FollowerPatience, LeaderPatience

TIMEOUT_S = 120
LIMIT_S = 10_000.0
FULL = StoreOutage("the disk is full", OutageKind.FULL)


class FakeHeartbeat:
    """All that patience asks of a heartbeat; keeps what it is told."""

    def __init__(self) -> None:
        self.hurry = threading.Event()
        self.directive = Directive.CONTINUE
        self.stored_images: int | None = None
        self.is_lost = False
        self.events: list[tuple[EventKind, dict[str, Any]]] = []
        self.waits: list[str | None] = []

    def check_lease(self) -> None:
        if self.is_lost:
            raise LeaseLost("another attempt has it")

    def say(self, kind: EventKind, /, **detail: Any) -> None:
        self.events.append((kind, detail))

    def waits_for(self, what: str | None) -> None:
        self.waits.append(what)


class Flaky:
    """A call that meets `outages` first."""

    def __init__(self, *outages: Outage, then: Callable[[], object] = lambda: "done") -> None:
        self.calls, self._outages, self._then = 0, list(outages), then

    def __call__(self) -> object:
        self.calls += 1
        if self._outages:
            raise self._outages.pop(0)
        return self._then()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.patience.pauses", lambda: itertools.repeat(0.001))


@pytest.fixture
def heartbeat() -> FakeHeartbeat:
    return FakeHeartbeat()


@pytest.fixture
def patience(heartbeat: FakeHeartbeat) -> LeaderPatience:
    return LeaderPatience(LIMIT_S, cast(Heartbeat, heartbeat))


@pytest.mark.parametrize("kind", OutageKind)
def test_an_outage_of_any_kind_is_waited_for_and_told_once(
    patience: LeaderPatience, heartbeat: FakeHeartbeat, kind: OutageKind
) -> None:
    call = Flaky(*(StoreOutage(f"try {number}", kind) for number in range(3)))
    assert (patience(call), call.calls) == ("done", 4)
    assert heartbeat.events == [(EventKind.STORE_UNREACHABLE, {"kind": kind, "message": "try 0"})]
    what = f"the store ({kind.replace('_', ' ')})"
    assert heartbeat.waits == [what, what, what, None]


def test_a_broker_is_waited_for_too(patience: LeaderPatience, heartbeat: FakeHeartbeat) -> None:
    assert patience(Flaky(BrokerOutage("away"))) == "done"
    assert (heartbeat.events, heartbeat.waits) == ([], ["the broker (unreachable)", None])


def test_without_an_outage_nothing_is_told(patience: LeaderPatience, heartbeat: FakeHeartbeat) -> None:
    assert patience(Flaky()) == "done"
    assert (heartbeat.events, heartbeat.waits) == ([], [])


def test_what_is_no_outage_is_raised_at_once(patience: LeaderPatience) -> None:
    call = Flaky(then=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        patience(call)
    assert call.calls == 1


def test_two_threads_that_wait_for_one_outage_tell_it_once(patience: LeaderPatience, heartbeat: FakeHeartbeat) -> None:
    met, ended = threading.Event(), threading.Event()

    def wait_for_end() -> object:
        met.set()
        assert ended.wait(TIMEOUT_S)
        return patience(Flaky()) and "other"

    other = threading.Thread(target=lambda: patience(Flaky(FULL, then=wait_for_end)))
    other.start()
    assert met.wait(TIMEOUT_S)
    assert patience(Flaky(FULL)) == "done"
    assert heartbeat.waits[-1] == "the store (full)", "the other thread still waits"
    ended.set()
    other.join()
    assert len(heartbeat.events) == 1
    assert heartbeat.waits[-1] is None


def test_an_outage_that_outlasts_the_limit_is_raised(heartbeat: FakeHeartbeat) -> None:
    patience = LeaderPatience(0.0, cast(Heartbeat, heartbeat))
    with pytest.raises(StoreOutage, match="the disk is full"):
        patience(Flaky(FULL))
    assert heartbeat.waits[-1] is None


def always(outage: Outage) -> Callable[[], object]:
    def call() -> object:
        raise outage

    return call


@pytest.mark.parametrize(
    ("directive", "reason"), [(Directive.STOP, Reason.CANCELLED), (Directive.YIELD, Reason.YIELDED)]
)
@pytest.mark.parametrize("images", [None, 0, 1_280])
def test_a_directive_ends_the_wait(
    patience: LeaderPatience, heartbeat: FakeHeartbeat, directive: Directive, reason: Reason, images: int | None
) -> None:
    heartbeat.stored_images = images

    def direct() -> None:
        heartbeat.directive = directive
        heartbeat.hurry.set()

    heartbeat.say = lambda *_, **__: direct()  # type: ignore[method-assign]
    with pytest.raises(Interruption) as caught:
        patience(always(FULL))
    outcome = caught.value.outcome
    assert outcome.reason is reason
    assert "while it waited for the store (full)" in outcome.message
    assert ("its last stored checkpoint is at 1,280 images" in outcome.message) == bool(images)


def test_a_lost_lease_ends_the_wait(patience: LeaderPatience, heartbeat: FakeHeartbeat) -> None:
    heartbeat.is_lost = True
    heartbeat.hurry.set()
    with pytest.raises(LeaseLost):
        patience(always(FULL))


def test_an_error_of_the_training_ends_the_waits_of_its_uploads(patience: LeaderPatience) -> None:
    raised: list[Outage] = []

    def upload() -> None:
        try:
            patience(always(FULL))
        except StoreOutage as outage:
            raised.append(outage)

    thread = threading.Thread(target=upload)

    def fail() -> None:
        with patience:
            thread.start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    thread.join(TIMEOUT_S)
    assert raised == [FULL]


def test_a_worker_without_a_heartbeat_waits_too() -> None:
    motion = threading.Event()
    assert FollowerPatience(LIMIT_S, threading.Event(), motion)(Flaky(FULL, BrokerOutage("away"))) == "done"
    assert motion.is_set(), "its gang hears of it"
    with pytest.raises(StoreOutage):
        FollowerPatience(0.0, threading.Event(), motion)(always(FULL))


def test_each_call_of_a_server_seen_through_patience_waits(patience: LeaderPatience) -> None:
    class Server:
        def __init__(self) -> None:
            self.asked = list[tuple[object, ...]]()

        def ask(self, *what: str, how: str) -> str:
            self.asked.append((*what, how))
            if len(self.asked) < 3:
                raise FULL
            return "answer"

    server = Server()
    assert patient(server, patience).ask("a", "b", how="c") == "answer"
    assert server.asked == 3 * [("a", "b", "c")]
