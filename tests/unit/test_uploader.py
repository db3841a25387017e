import threading
from collections.abc import Callable
from functools import partial

import pytest

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


def test_uploads_run_in_order_beside_the_caller() -> None:
    done: list[tuple[int, str]] = []

    def upload(number: int) -> None:
        done.append((number, threading.current_thread().name))

    with Uploader() as uploader:
        for number in range(20):
            uploader.submit(partial(upload, number))
        uploader.drain()
        assert done == [(number, "uploader") for number in range(20)]


def test_leaving_waits_for_what_was_submitted() -> None:
    gate, done = Gate(), list[str]()
    with Uploader() as uploader:
        uploader.submit(gate)
        uploader.submit(lambda: done.append("second"))
        gate.opened.set()
    assert done == ["second"]


def test_there_is_no_room_while_too_many_uploads_wait() -> None:
    gate = Gate()
    with Uploader() as uploader:
        uploader.submit(gate)
        assert gate.begun.wait(TIMEOUT_S)
        rooms = [uploader.has_room]
        for _ in range(MAX_WAITING):
            uploader.submit(lambda: None)
            rooms.append(uploader.has_room)
        gate.opened.set()
        uploader.drain()
        rooms.append(uploader.has_room)
    assert rooms == [*MAX_WAITING * [True], False, True]


def test_an_error_is_raised_wherever_the_caller_looks_and_nothing_later_is_uploaded() -> None:
    done: list[str] = []
    with Uploader() as uploader:
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
    with Uploader() as uploader:
        uploader.check()
        uploader.drain()


def abandon(uploader: Uploader, uploads: list[Callable[[], None]], when: threading.Event) -> None:
    with uploader:
        for upload in uploads:
            uploader.submit(upload)
        assert when.wait(TIMEOUT_S)
        raise Broken


def test_an_error_of_the_caller_abandons_what_waits() -> None:
    uploader, begun, done = Uploader(), threading.Event(), list[str]()

    def until_abandoned() -> None:
        begun.set()
        assert uploader._abandoned.wait(TIMEOUT_S)  # noqa: SLF001  # only the thread that it tells needs it

    with pytest.raises(Broken):
        abandon(uploader, [until_abandoned, lambda: done.append("waiting")], begun)
    assert done == []


def test_an_uploader_is_idle_once_all_is_uploaded() -> None:
    gate = Gate()
    with Uploader() as uploader:
        idle = [uploader.is_idle]
        uploader.submit(gate)
        assert gate.begun.wait(TIMEOUT_S)
        idle.append(uploader.is_idle)
        gate.opened.set()
        uploader.drain()
        assert [*idle, uploader.is_idle] == [True, False, True]
