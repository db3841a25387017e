"""Processes of an embedded stack, as its state folder tells of them."""

from pathlib import Path

import pytest

from ganservice.embedded.home import Home
from ganservice.embedded.processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(Home(tmp_path))


def test_a_guest_is_known_while_it_is_inside(processes: Processes) -> None:
    assert not processes.guests()
    with processes.guest():
        assert len(processes.guests()) == 1
    assert not processes.guests()


def test_a_guest_that_leaves_while_others_are_counted_is_passed_over(processes: Processes, tmp_path: Path) -> None:
    with processes.guest():
        # It is listed with the others, and gone when it is read.
        (tmp_path / "guests" / "1").symlink_to("gone")
        assert len(processes.guests()) == 1
