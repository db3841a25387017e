"""Mistakes as the real program tells them, and a stack of one's own from its start to its end."""

from collections.abc import Callable
from typing import Any

from tests.acceptance.conftest import Stack

SpecFile = Callable[..., str]


def test_a_mistake_is_one_line_and_the_right_exit_code(stack: Stack, spec_file: SpecFile) -> None:
    before = stack.queue().totals().get("submitted")
    stack.refused(2, "unknown key imges; did you mean images?", "submit", spec_file(), "--set", "imges=1")
    assert stack.queue().totals().get("submitted") == before
    stack.refused(102, "nobody", "show", "nobody")


def test_up_and_down(new_stack: Callable[[], Stack]) -> None:
    """A second stack beside the first: idempotent, private, examined, and gone without a trace."""
    stack = new_stack()
    stack.ok("up", "-d")
    assert "up already" in stack.ganctl("up", "-d").stderr
    secrets = [stack.state_dir / name for name in ("identity.json", "settings.json", "ray-token", "broker/broker.conf")]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [stack.state_dir, *secrets])
    assert stack.ganctl("doctor").returncode == 0
    processes = stack.processes()
    for port in listening_ports(processes):
        assert port.startswith(("127.", "::ffff:127.")), port
    stack.ok("down")
    assert not [process for process in processes if process.is_running()]
    ill = stack.ganctl("doctor")
    assert ill.returncode == 1
    assert "run `ganctl up -d`" in ill.stdout


def listening_ports(processes: list[Any]) -> list[str]:
    return [
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN"
    ]
