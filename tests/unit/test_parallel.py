"""Calls side by side."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from ganservice.parallel import side_by_side

Check = Callable[[], None]


def test_all_calls_are_made_some_at_once() -> None:
    meeting, made = threading.Barrier(3), list[int]()

    def call(number: int, check: Check) -> None:
        meeting.wait(timeout=30)  # three must be under way together
        check()
        made.append(number)

    side_by_side([partial(call, number) for number in range(9)], at_once=3)
    assert sorted(made) == list(range(9))


def test_none_are_no_calls() -> None:
    side_by_side([])


def test_the_first_that_fails_ends_the_others() -> None:
    begun, ended = threading.Event(), list[str]()

    def fail(_: Check) -> None:
        begun.wait(timeout=30)
        raise ValueError("on purpose")

    def go_on(check: Check) -> None:
        begun.set()
        while True:
            try:
                check()
            except Exception as error:
                ended.append(type(error).__name__)
                raise

    def never(_: Check) -> None:
        ended.append("begun after the failure")

    with pytest.raises(ValueError, match="on purpose"):
        side_by_side([fail, go_on, never], at_once=2)
    assert ended == ["Stopped"]
