"""A lock by a file, which no dead process keeps."""

import errno
import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ganservice.file_lock import Holder, file_lock

HOLD = """
import sys, time
from pathlib import Path
from ganservice.file_lock import file_lock
with file_lock(Path(sys.argv[1]), lambda: True):
    print("held", flush=True)
    time.sleep(600)
"""


def never() -> bool:
    raise AssertionError("there is nobody to wait for")


def test_one_waits_until_the_other_is_done(tmp_path: Path) -> None:
    path, story, asked, done = tmp_path / "lock", list[str](), threading.Event(), threading.Event()

    def wait() -> bool:
        asked.set()
        return not done.wait(timeout=0.01)

    def second() -> None:
        with file_lock(path, wait):
            story.append("second")

    with file_lock(path, never):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert asked.wait(timeout=30)
        story.append("first")
    waiting.join()
    assert story == ["first", "second"]
    with file_lock(path, never):
        pass


def test_whoever_is_tired_of_waiting_goes_on_beside_the_other(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock", never), file_lock(tmp_path / "lock", lambda: False):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        looks = []

        def wait() -> bool:
            looks.append(holder.poll())
            holder.kill()
            holder.wait()
            return True

        with file_lock(path, wait):
            assert looks == [None]
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_the_disk_knows_no_locks_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = False
    with file_lock(tmp_path / "lock", never):
        ran = True
    assert ran


def test_where_no_file_can_be_made_nobody_waits(tmp_path: Path) -> None:
    ran = False
    with file_lock(tmp_path / "missing" / "lock", never):
        ran = True
    assert ran


def test_whoever_is_in_the_block_knows_who_has_the_lock(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock", never) as first, file_lock(tmp_path / "lock", lambda: False) as second:
        assert (first, second) == (Holder.WE, Holder.ANOTHER)
    with file_lock(tmp_path / "missing" / "lock", never) as holder:
        assert holder is Holder.NOBODY


def test_the_lock_of_a_file_that_is_gone_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock = tmp_path / "lock", fcntl.flock

    def lock_too_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    with file_lock(path, never), file_lock(path, lambda: False) as holder:
        assert holder is Holder.ANOTHER


def test_an_error_in_the_block_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), file_lock(tmp_path / "lock", never):
        raise ZeroDivisionError
    with file_lock(tmp_path / "lock", never):
        pass
