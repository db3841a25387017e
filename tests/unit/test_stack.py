"""State folders that cannot be used: one line, and what to set."""

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ganservice.cli import ganctl
from ganservice.embedded.home import Home
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
        with pytest.raises(RequestError, match=r"cannot be written|is no folder of a stack") as caught:
            start()
        assert one_line(caught).startswith(str(place))
        assert "set GANSERVICE_STATE_DIR to " in one_line(caught)


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
    (tmp_path / "logs").mkdir()
    with pytest.raises(StackError, match="cannot be deleted whole"):
        Stack(Settings(state_dir=tmp_path)).purge()


def test_what_is_none_of_the_stacks_stays(tmp_path: Path) -> None:
    """With the stack whatever else its folder held was deleted."""
    home = Home(tmp_path / "state")
    home.prepare(Settings(state_dir=home.folder))
    (home.folder / "store" / "data").mkdir(parents=True)
    stack = Stack(Settings(state_dir=home.folder))
    (home.folder / "thesis").mkdir()
    assert stack.purge() == ["thesis"]
    assert list(home.folder.iterdir()) == [home.folder / "thesis"]
    (home.folder / "thesis").rmdir()
    home.folder.rmdir()
    home.prepare(Settings(state_dir=home.folder))
    assert stack.purge() == []
    assert not home.folder.exists()


def test_a_disk_of_its_own_is_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    home = Home(tmp_path)
    home.prepare(Settings(state_dir=tmp_path))
    assert Stack(Settings(state_dir=tmp_path)).purge() == []
    assert list(tmp_path.iterdir()) == [tmp_path / "lost+found"]


@pytest.mark.parametrize("name", ["thesis.tex", ".bashrc"])
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / name).touch()
    (tmp_path / "logs").mkdir()
    with pytest.raises(RequestError, match=f"is no folder of a stack and holds {name} already") as caught:
        Stack(Settings(state_dir=tmp_path)).supervise(threading.Event(), silence)
    one_line(caught)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_damaged_identity_is_told_without_what_it_holds(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare(Settings(state_dir=tmp_path))
    identity = tmp_path / "identity.json"
    password = home.identity().broker_password
    for damaged in ("", identity.read_text()[:-9], f'["{password}"]'):
        identity.write_text(damaged)
        with pytest.raises(StackError, match=r"is damaged.*`ganctl down --purge`") as caught:
            home.identity()
        assert password not in one_line(caught)
        assert caught.value.__cause__ is None


def test_a_stack_in_a_folder_of_a_relative_name_is_started_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor begins in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANSERVICE_STATE_DIR", "state")
    tells = "import os; print(os.environ['GANSERVICE_STATE_DIR'])"
    with pytest.raises(StackError, match=f"^{re.escape(str(tmp_path / 'state'))}$"):
        Stack(Settings.from_environment()).start_detached([sys.executable, "-c", tells], silence)


def test_nobody_is_asked_who_is_not_there(tmp_path: Path) -> None:
    Home(tmp_path).prepare(Settings(state_dir=tmp_path))
    done = CliRunner(env={"GANSERVICE_STATE_DIR": str(tmp_path)}).invoke(ganctl, ["down", "--purge"])
    assert (done.exit_code, type(done.exception)) == (1, RequestError)
    assert "add --yes" in str(done.exception)
    assert (tmp_path / "identity.json").exists()
