import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ganservice.errors import StoreOutage
from workers.attempt import uploader as module
from workers.attempt.uploader import MAX_WAITING, Uploader

TIMEOUT_S = 120


class Broken(Exception):
    """What an upload raises."""


class Gate:
    """An upload that says when it has begun and ends when it is let through."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.opened.wait(TIMEOUT_S)


def broken() -> None:
    raise Broken


def make(patience_s: float = 0.0, on_trouble: Callable[[StoreOutage], Any] = print) -> Uploader:
    return Uploader(patience_s, on_trouble)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.002)


def test_uploads_run_in_order_beside_the_caller() -> None:
    done: list[tuple[int, str]] = []

    def upload(number: int) -> None:
        done.append((number, threading.current_thread().name))

    with make() as uploader:
        for number in range(20):
            uploader.submit(partial(upload, number))
        uploader.drain()
        assert done == [(number, "uploader") for number in range(20)]


def test_leaving_waits_for_what_was_submitted() -> None:
    gate, done = Gate(), list[str]()
    with make() as uploader:
        uploader.submit(gate)
        uploader.submit(lambda: done.append("second"))
        gate.opened.set()
    assert done == ["second"]


def test_submitting_waits_while_too_many_uploads_wait() -> None:
    gate, submitted = Gate(), threading.Event()
    with make() as uploader:
        uploader.submit(gate)
        assert gate.begun.wait(TIMEOUT_S)
        for _ in range(MAX_WAITING):
            uploader.submit(lambda: None)

        def one_too_many() -> None:
            uploader.submit(lambda: None)
            submitted.set()

        thread = threading.Thread(target=one_too_many)
        thread.start()
        assert not submitted.wait(0.05)
        gate.opened.set()
        assert submitted.wait(TIMEOUT_S)
        thread.join()
        uploader.drain()


def test_an_error_is_raised_wherever_the_caller_looks_and_nothing_later_is_uploaded() -> None:
    done: list[str] = []
    with make() as uploader:
        gate = Gate()
        uploader.submit(gate)
        uploader.submit(broken)
        uploader.submit(lambda: done.append("later"))
        gate.opened.set()
        with pytest.raises(Broken):
            uploader.drain()
        with pytest.raises(Broken):
            uploader.check()
        with pytest.raises(Broken):
            uploader.submit(lambda: done.append("latest"))
    assert done == []


def test_no_error_is_no_news() -> None:
    with make() as uploader:
        uploader.check()
        uploader.drain()


class Flaky:
    """An upload to a store that does not answer the first `failures` times."""

    def __init__(self, failures: float) -> None:
        self.calls, self._failures = 0, failures

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self._failures:
            raise StoreOutage(f"call {self.calls}")


def test_a_store_that_does_not_answer_is_asked_again_and_the_trouble_is_told() -> None:
    told: list[str] = []
    upload = Flaky(failures=3)
    with make(patience_s=TIMEOUT_S, on_trouble=lambda error: told.append(str(error))) as uploader:
        uploader.submit(upload)
        uploader.drain()
    assert upload.calls == 4
    assert told == ["call 1", "call 2", "call 3"]


def test_patience_ends() -> None:
    told: list[str] = []
    upload = Flaky(failures=float("inf"))
    with make(patience_s=0.05, on_trouble=lambda error: told.append(str(error))) as uploader:
        uploader.submit(upload)
        with pytest.raises(StoreOutage):
            uploader.drain()
    assert 1 <= len(told) == upload.calls - 1


def test_patience_begins_anew_with_each_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("workers.attempt.uploader.time.monotonic", lambda: clock[0])

    def later() -> None:
        clock[0] += 100

    with make(patience_s=10) as uploader:
        for _ in range(3):
            uploader.submit(Flaky(failures=1))
            uploader.submit(later)
        uploader.drain()


def test_only_an_unreachable_store_is_asked_again() -> None:
    told: list[str] = []
    with make(patience_s=TIMEOUT_S, on_trouble=lambda error: told.append(str(error))) as uploader:
        uploader.submit(broken)
        with pytest.raises(Broken):
            uploader.drain()
    assert told == []


def abandon(uploader: Uploader, uploads: list[Callable[[], None]], when: threading.Event) -> None:
    with uploader:
        for upload in uploads:
            uploader.submit(upload)
        assert when.wait(TIMEOUT_S)
        raise Broken


def test_an_error_of_the_caller_abandons_what_waits() -> None:
    uploader, begun, done = make(), threading.Event(), list[str]()

    def until_abandoned() -> None:
        begun.set()
        assert uploader._abandoned.wait(TIMEOUT_S)  # noqa: SLF001  # only the thread that it tells needs it

    with pytest.raises(Broken):
        abandon(uploader, [until_abandoned, lambda: done.append("waiting")], begun)
    assert done == []


def test_an_error_of_the_caller_ends_the_patience_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 1000.0)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 1000.0)
    troubled, upload, waiting = threading.Event(), Flaky(failures=float("inf")), Flaky(failures=0)
    uploader = make(patience_s=10_000.0, on_trouble=lambda _: troubled.set())
    with pytest.raises(Broken):
        abandon(uploader, [upload, waiting], troubled)
    assert (upload.calls, waiting.calls) == (1, 0)
