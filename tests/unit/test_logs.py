"""Logs of an embedded stack that grow, and sessions of Ray that have ended."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ganservice.embedded import logs
from ganservice.embedded.home import Home
from ganservice.embedded.logs import OLD_LOGS, forget_sessions, turn_all_over, turn_over
from ganservice.embedded.parts import Part
from ganservice.embedded.processes import Processes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 100)


def test_a_small_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    turn_over(log)
    log.write_bytes(100 * b"x")
    turn_over(log)
    assert [path.name for path in tmp_path.iterdir()] == ["part.log"]


def test_a_large_log_becomes_an_old_one_of_which_few_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    for letter in "abcdef":
        log.write_text(101 * letter)
        turn_all_over(tmp_path)
        assert log.read_text() == ""
    kept = {path.name: path.read_text()[0] for path in tmp_path.iterdir() if path != log}
    assert kept == dict(zip([f"part.log.{number}" for number in range(1, OLD_LOGS + 1)], "fed", strict=True))


def test_a_log_is_cut_short_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "part.log"
    log.write_bytes(101 * b"x")

    def is_full(_: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", is_full)
    turn_over(log)
    assert [path.name for path in tmp_path.iterdir()] == ["part.log"]
    assert log.stat().st_size == 0


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Path]:
    """The log of a part that writes on and on, without opening it again."""
    home = Home(tmp_path)
    home.make()
    processes = Processes(home)
    processes.launch(Part("writer", "-", ("sh", "-c", "while :; do echo line; sleep 0.01; done"), check=lambda: None))
    yield home.log("writer")
    processes.end_all()


def test_a_part_goes_on_with_the_log_that_was_cut_short(writer: Path, eventually: Callable[..., Any]) -> None:
    eventually(lambda: writer.stat().st_size > 200)
    turn_over(writer)
    eventually(lambda: writer.stat().st_size > 50)
    assert set(writer.read_text().splitlines()) == {"line"}, "and not where it had come to before"


def test_a_log_that_has_grown_is_turned_over_before_its_part_starts_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    home.log("brief").write_bytes(101 * b"x")
    processes = Processes(home)
    processes.launch(Part("brief", "-", ("true",), check=lambda: None))
    processes.end_all()
    assert home.log("brief").stat().st_size == 0


def test_of_the_sessions_of_ray_the_last_is_kept(tmp_path: Path) -> None:
    forget_sessions(tmp_path / "none")
    for age, name in enumerate(["session_2026-01-03", "session_2026-01-02", "session_2026-01-01"]):
        (tmp_path / name / "logs").mkdir(parents=True)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "session_latest").symlink_to("session_2026-01-03")
    forget_sessions(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["session_2026-01-03", "session_latest"]
