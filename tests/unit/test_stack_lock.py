"""The lock that whoever starts or ends parts of an embedded stack holds."""

import errno
import fcntl
import threading
from pathlib import Path

import pytest

from ganservice.embedded.home import Home
from ganservice.embedded.stack import Stack
from ganservice.errors import StackError
from ganservice.file_lock import file_lock
from ganservice.settings import Settings


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(Settings(state_dir=tmp_path / "state"))


def supervise(stack: Stack) -> None:
    stack.supervise(threading.Event(), lambda _: None)


def test_a_disk_that_knows_no_locks_is_named_and_nothing_is_started(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StackError, match=r"no lock can be had there.*set GANSERVICE_STATE_DIR"):
        supervise(stack)
    with pytest.raises(StackError, match="no lock can be had there"), stack.servers(lambda _: None):
        pass
    assert not stack.is_up


def test_one_supervisor_runs_in_a_folder(stack: Stack) -> None:
    home = Home(stack.folder)
    home.make()
    with (
        file_lock(home.folder / "lock", lambda: False),
        pytest.raises(StackError, match=r"a stack is already up in .*; `ganctl down` ends it"),
    ):
        supervise(stack)
