"""A worker of a gang, as a plain object: what it imports ahead, and that it runs no code that has changed on disk."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from ganservice.job import Lease
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.conftest import wait_until
from workers.dispatch import sources
from workers.dispatch.worker import Worker


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that workers import."""
    folder = tmp_path / "brushes"
    folder.mkdir()
    (folder / "__init__.py").write_text("WIDTH = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Worker, "needed", ())
    monkeypatch.setattr(Worker, "ahead", ("brushes",))
    monkeypatch.setattr(sources, "OWN", ("brushes",))
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    yield folder / "__init__.py"
    sys.modules.pop("brushes", None)


@pytest.fixture
def worker() -> Iterator[Worker]:
    before = signal.getsignal(signal.SIGTERM)
    yield Worker()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def lease(spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> Lease:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    return Lease(job_id="tiny-abc", attempt=1, token=1, lease_s=30.0, spec=spec)


def test_an_idle_worker_takes_no_place_once_its_code_has_changed(code: Path, worker: Worker, lease: Lease) -> None:
    assert worker.get_ready() == ""
    os.utime(code, ns=(0, 0))
    assert worker.take(Settings(), lease, 0) == ""


def test_nor_where_the_next_dispatcher_has_asked_whether_it_is_ready(code: Path, worker: Worker, lease: Lease) -> None:
    worker.get_ready()
    os.utime(code, ns=(0, 0))
    assert worker.get_ready() == ""
    assert worker.take(Settings(), lease, 0) == ""


def test_nor_where_its_code_has_changed_while_it_was_imported(code: Path, worker: Worker, lease: Lease) -> None:
    code.write_text("import os\nos.utime(__file__, ns=(0, 0))\n")
    worker.get_ready()
    assert worker.take(Settings(), lease, 0) == ""


def test_nor_where_code_has_come_that_it_would_import_later(code: Path, worker: Worker, lease: Lease) -> None:
    worker.get_ready()
    (code.parent / "paints.py").touch()
    assert worker.take(Settings(), lease, 0) == ""


def test_nor_where_its_code_is_gone(code: Path, worker: Worker, lease: Lease) -> None:
    worker.get_ready()
    code.unlink()
    assert worker.take(Settings(), lease, 0) == ""


def test_who_has_a_place_keeps_it_whatever_becomes_of_its_code(code: Path, worker: Worker, lease: Lease) -> None:
    worker.get_ready()
    meeting_point = worker.take(Settings(), lease, 0)
    assert meeting_point.startswith("127.0.0.1:")
    code.unlink()
    assert worker.take(Settings(), lease, 0) == meeting_point


def test_a_place_is_taken_once_the_imports_that_are_under_way_have_ended(
    worker: Worker, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray titled the process by nothing, as if it were idle, when `get_ready` ended while `run` was at work."""
    at_work, goes_on, order = threading.Event(), threading.Event(), list[str]()

    def import_slowly(name: str) -> None:
        at_work.set()
        assert goes_on.wait(60)
        order.append(name)

    monkeypatch.setattr("workers.dispatch.worker.importlib", SimpleNamespace(import_module=import_slowly))
    monkeypatch.setattr(Worker, "needed", ())
    monkeypatch.setattr(Worker, "ahead", ("brushes", "paints"))
    with ThreadPoolExecutor(2) as threads:
        ready = threads.submit(worker.get_ready)
        assert at_work.wait(60)
        taken = threads.submit(worker.take, Settings(), lease, 0)
        taken.add_done_callback(lambda _: order.append("taken"))
        wait_until(lambda: vars(worker)["_place"])
        goes_on.set()
        assert ready.result(60) == "tiny-abc/1/0"
        assert taken.result(60)
    assert order == ["brushes", "taken"]


# What looks for GPUs, and by its first look settles which ones the process may see.
LOOKS = """
import importlib, torch
from workers.dispatch.worker import Worker
looks = []
for name in ("is_available", "device_count", "current_device", "get_device_properties", "_lazy_init"):
    setattr(torch.cuda, name, lambda *_, name=name: looks.append(name))
for module in (*Worker.needed, *Worker.ahead):
    importlib.import_module(module)
print(*looks)
"""


def test_nothing_that_is_imported_ahead_looks_for_gpus() -> None:
    """Which ones are its own an idle worker hears with its place."""
    done = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
