"""A Ray head on loopback with its dashboard, by which Ray takes jobs; a token keeps others of this machine out."""

import importlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import wait_until
from tests.lifetime import last_will

HOST = "127.0.0.1"
HAS_STARTED = "Ray runtime started"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Head:
    """Where it listens, its folder, and the environment of whoever asks it."""

    address: str
    dashboard: str
    folder: str
    environment: dict[str, str]


def has_dashboard() -> bool:
    """Whether what the dashboard takes, `ray[default]`, is installed."""
    try:
        importlib.import_module("ray.dashboard.optional_deps")
    except ImportError:
        return False
    return True


@contextmanager
def ray_head() -> Iterator[Head]:
    """The head, once it has its node; its processes end with the block, or with this process."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        port, dashboard, agent = _free_ports(3)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Without the last Ray replaces loopback by the machine's own address.
        environment = token | {"PYTHONPATH": str(ROOT), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        command = (
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--node-ip-address={HOST}",
            f"--port={port}", f"--temp-dir={folder}", "--num-cpus=2", "--object-store-memory=100000000",
            "--include-dashboard=true", f"--dashboard-host={HOST}", f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={agent}",
            "--disable-usage-stats", "--no-monitor",
        )  # fmt: skip
        log = Path(folder) / "head.log"
        with log.open("wb") as output:
            head = subprocess.Popen(
                command, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True
            )
        with last_will(["kill", "-KILL", "--", f"-{head.pid}"], dict(os.environ)):
            try:
                wait_until(lambda: HAS_STARTED in log.read_text() or head.poll() is not None)
                if head.poll() is not None:
                    raise RuntimeError(log.read_text())
                yield Head(f"{HOST}:{port}", f"http://{HOST}:{dashboard}", folder, environment)
            finally:
                head.terminate()
                head.wait(timeout=120)
                with suppress(ProcessLookupError):
                    os.killpg(head.pid, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
