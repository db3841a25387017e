"""A node that is told to end: it and the workers on it hear of it at once, and it is waited for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.lifetime import bound
from workers.dispatch.node import nodes_under

# In the place of `ray start`: it has one worker, under the title that Ray gives it, and one other process. Each writes
# down that it was told to end; like Ray's node this one ends when its worker has.
NODE = """
import signal, subprocess, sys
from pathlib import Path
folder, name, title = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def told(*_):
    (folder / f"{name} was told").touch()
    if name != "node":
        sys.exit()
signal.signal(signal.SIGTERM, told)
children = []
if name == "node":
    names = {"worker": "ray::Worker.run", "agent": "ray::Agent"}
    children = [subprocess.Popen([sys.executable, __file__, folder, *each]) for each in names.items()]
(folder / f"{name} is up").touch()
if children:
    children[0].wait()
    children[1].kill()
else:
    signal.pause()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "ray").write_text(NODE)
    return tmp_path / "ray"


def up(folder: Path) -> bool:
    return all((folder / f"{name} is up").exists() for name in ("node", "worker", "agent"))


def heard(folder: Path) -> list[str]:
    return sorted(path.name.split()[0] for path in folder.glob("* was told"))


def test_a_hook_finds_the_node_of_its_container_alone(script: Path, eventually: Callable[..., Any]) -> None:
    folder = script.parent
    shell = ["bash", "-c", f"{sys.executable} {script} start {folder} node; true"]
    script.write_text("import signal; signal.pause()")
    with subprocess.Popen(bound(shell)) as process:
        first = psutil.Process(process.pid)
        try:
            eventually(lambda: nodes_under(first))
            [node] = nodes_under(first)
            assert node.cmdline()[1:3] == [str(script), "start"]
            assert nodes_under(psutil.Process()) == [], "this process runs no node, whatever runs under it"
        finally:
            for child in first.children(recursive=True):
                child.kill()
            process.kill()


def test_sigterm_reaches_ray_and_its_workers_and_no_others(script: Path, eventually: Callable[..., Any]) -> None:
    folder = script.parent
    node = [sys.executable, str(script), str(folder), "node", "-"]
    with subprocess.Popen(bound([sys.executable, "-m", "workers.dispatch.node", *node])) as process:
        try:
            eventually(lambda: up(folder))
            process.terminate()
            assert process.wait() == 0
        finally:
            process.kill()
    assert heard(folder) == ["node", "worker"]
