"""Processes of an embedded stack, as its state folder tells of them."""

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ganservice.embedded.home import Home
from ganservice.embedded.parts import Part
from ganservice.embedded.processes import Pid, Processes
from ganservice.errors import StackError


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    home = Home(tmp_path)
    home.make()
    return Processes(home)


def part(name: str, script: str, check: Callable[[], None]) -> Part:
    return Part(name, "nowhere", ("sh", "-c", script), check)


def exists(path: Path) -> None:
    path.stat()


def test_what_ended_while_others_started_is_started_again_with_those_that_need_it(
    processes: Processes, tmp_path: Path
) -> None:
    """As a head of Ray on a busy machine: its port answers, then it gives up, and no dispatcher gets in."""
    said: list[str] = []
    first, second = "touch answers again", "touch lives && exec sleep 600"
    head = part("head", f"[ -e again ] && {second}; {first}", lambda: exists(tmp_path / "answers"))
    tries = "sleep 0.3; echo $$ >>tries; [ -e lives ] && touch works && exec sleep 600"
    dispatcher = part("dispatcher", tries, lambda: exists(tmp_path / "works"))
    keeps = part("keeps", "exec sleep 600", lambda: None)
    try:
        processes.start_all([keeps, head, dispatcher], threading.Event(), said.append)
        assert [line.split()[0] for line in said] == ["keeps", "head", "head", "head", "dispatcher"]
        assert said[2] == "head has ended; starting it again"
        assert len((tmp_path / "tries").read_text().split()) == 2
    finally:
        processes.end_all()


def test_a_part_that_ends_by_itself_is_no_reason_to_try_again(processes: Processes, tmp_path: Path) -> None:
    wrong = part("wrong", "echo on purpose >&2; exit 1", lambda: exists(tmp_path / "none"))
    keeps = part("keeps", "exec sleep 600", lambda: None)
    try:
        with pytest.raises(StackError, match="wrong ended at once; on purpose"):
            processes.start_all([keeps, wrong], threading.Event(), lambda _: None)
    finally:
        processes.end_all()


def test_a_part_that_does_not_work_in_time_is_told_with_how_long_and_what_to_do(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.embedded.processes.READY_TIMEOUT_S", 1)
    slow = part("slow", "echo still loading; exec sleep 600", lambda: exists(tmp_path / "none"))
    try:
        with pytest.raises(StackError) as caught:
            processes.start_all([slow], threading.Event(), lambda _: None)
        assert re.match(
            r"slow does not work 1 s after its start: .*; still loading \(see .*slow.log\)", str(caught.value)
        )
        assert str(caught.value).endswith("; where this machine is busy, end what keeps it so and start again")
    finally:
        processes.end_all()


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


def test_a_clock_that_steps_makes_nobody_another_process(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts were taken for ended, and started anew; the supervisor was never known again."""
    processes.record("supervisor", os.getpid())
    with processes.guest():
        machine_began = psutil.boot_time()
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda: machine_began + 5)
        assert processes.named("supervisor") == psutil.Process()
        assert [guest.pid for guest in processes.guests()] == [os.getpid()]


def test_a_number_that_was_given_again_is_another_process() -> None:
    own = Pid.of(os.getpid())
    assert own.process() == psutil.Process()
    assert own.model_copy(update={"began": "before"}).process() is None
    with pytest.raises(psutil.NoSuchProcess):
        Pid.of(2**22 + 1)
    assert own.model_copy(update={"pid": 2**22 + 1}).process() is None


def test_a_stack_of_an_earlier_release_is_known(processes: Processes, tmp_path: Path) -> None:
    began = psutil.Process().create_time()
    (tmp_path / "pids.json").write_text(
        json.dumps({"supervisor": {"pid": os.getpid(), "created_at": began}, "ray": {"pid": 1, "created_at": 1.5}})
    )
    assert processes.named("supervisor") == psutil.Process()
    assert processes.named("ray") is None


@pytest.mark.parametrize("damage", ["", "[]", '{"broker": {"pid": "one"}}'])
def test_records_that_the_power_took_are_none_and_are_written_anew(
    processes: Processes, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "pids.json").write_text(damage)
    (tmp_path / "guests").mkdir()
    (tmp_path / "guests" / "1").write_text(damage)
    assert processes.recorded() == {}
    assert processes.guests() == []
    processes.record("supervisor", os.getpid())
    assert processes.named("supervisor")
