"""State folders that cannot be used: one line, and what to set."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ganservice.cli import ganctl
from ganservice.embedded.processes import MARK
from ganservice.embedded.stack import Stack
from ganservice.errors import RequestError, StackError
from ganservice.settings import Settings


def silence(_: str) -> None:
    """Say nothing."""


@pytest.fixture(params=["a file", "below a file", "/proc/self", "/proc/none"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where nobody can make a folder, root included."""
    file = tmp_path / "file"
    file.write_text("in the way")
    return {"a file": file, "below a file": file / "state"}.get(request.param, Path(request.param))


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    line = str(error.value)
    assert line.splitlines() == [line]
    return line


def test_a_stack_is_not_started_where_nothing_can_be_written(place: Path) -> None:
    stack = Stack(Settings(state_dir=place))
    for start in (
        lambda: stack.supervise(threading.Event(), silence),
        lambda: stack.start_detached(["false"], silence),
    ):
        with pytest.raises(RequestError, match="cannot be written") as caught:
            start()
        assert one_line(caught).startswith(str(place))
        assert "set GANSERVICE_STATE_DIR to a folder" in one_line(caught)


def test_where_nothing_can_be_written_nothing_runs(place: Path) -> None:
    stack = Stack(Settings(state_dir=place))
    assert not stack.exists
    assert not stack.down()
    assert [diagnosis.state for diagnosis in stack.examine()] == ["never started"]


def test_a_name_that_no_folder_can_have_is_told(tmp_path: Path) -> None:
    stack = Stack(Settings(state_dir=tmp_path / ("x" * 300)))
    for act in (stack.down, stack.examine, lambda: stack.supervise(threading.Event(), silence)):
        with pytest.raises(RequestError, match=r"\(File name too long\); set GANSERVICE_STATE_DIR") as caught:
            act()
        one_line(caught)


def test_the_stack_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    stack = Stack(Settings(state_dir=tmp_path))
    monkeypatch.setattr(Path, "exists", refuse)
    for look in (stack.down, stack.examine):
        with pytest.raises(RequestError, match="cannot be read") as caught:
            look()
        assert "set GANSERVICE_STATE_DIR to a folder of your own" in one_line(caught)


def test_who_waits_for_a_stack_in_vain_is_told_for_what_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said no more than where a log lies."""
    monkeypatch.setattr("ganservice.embedded.stack.READY_TIMEOUT_S", 0.5)
    stack = Stack(Settings(state_dir=tmp_path))
    started, popen = list[subprocess.Popen[bytes]](), subprocess.Popen

    def start(*given: Any, **more: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*given, **more))
        return started[-1]

    monkeypatch.setattr("subprocess.Popen", start)
    slow = "import time; print('ray is loading', flush=True); time.sleep(600)"
    try:
        with pytest.raises(StackError) as caught:
            stack.start_detached([sys.executable, "-c", slow], silence)
        line = one_line(caught)
        assert line.startswith("the stack has not come up within 2 s and waits for supervisor: ray is loading (see ")
        assert line.endswith("try `ganctl up -d` again, which goes on waiting, or `ganctl down`")
    finally:
        stack.down()
        started[0].wait(30)


@pytest.mark.parametrize(("environment", "times"), [({}, 1), ({MARK: "a:supervisor"}, 0)])
def test_a_busy_machine_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], times: int
) -> None:
    """`up -d` said so, and the stack that it starts said so again."""
    monkeypatch.setattr("psutil.cpu_percent", lambda **_: 99.0)
    monkeypatch.setattr(Stack, "supervise", lambda *_: None)
    monkeypatch.setattr("ganservice.cli.stack.stop_on_signals", threading.Event)
    done = CliRunner(env={"GANSERVICE_STATE_DIR": str(tmp_path), **environment}).invoke(ganctl, ["up"])
    assert done.exit_code == 0
    assert done.stderr.count("this machine is busy") == times


def test_what_cannot_be_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(StackError, match="cannot be deleted whole"):
        Stack(Settings(state_dir=tmp_path)).purge()
