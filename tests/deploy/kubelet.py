"""Probes as the kubelet makes them, of servers on loopback, and ports for these."""

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from typing import Any

import grpc


def succeeds(probe: dict[str, Any], ports: Mapping[Any, int], environment: Mapping[str, str] | None = None) -> bool:
    """Whether a probe of a container succeeds, whose ports are others here; a command has the container's variables."""
    timeout_s = probe.get("timeoutSeconds", 1)
    match probe:
        case {"grpc": {"port": port}}:
            return _serves(ports[port], timeout_s)
        case {"tcpSocket": {"port": port}}:
            return _listens(ports[port], timeout_s)
        case {"httpGet": {"port": port, "path": path}}:
            return _is_found(ports[port], path, timeout_s)
        case {"exec": {"command": command}}:
            # Not the timeout: a machine that tests share is slower than any.
            done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, check=False)
            return done.returncode == 0
    raise AssertionError(f"a probe of no kind: {probe}")


def unused_ports(count: int) -> list[int]:
    """Ports on which nobody listens; not of those that Ray keeps for its workers."""
    with ExitStack() as listeners:
        found = [listeners.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in found]


def _serves(port: int, timeout_s: float) -> bool:
    """Ask by gRPC's health protocol: an empty question, and an answer whose first field, 1, is 1."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer: bytes = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=timeout_s)
        except grpc.RpcError:
            return False
    return answer == b"\x08\x01"


def _listens(port: int, timeout_s: float) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout_s).close()
    except OSError:
        return False
    return True


def _is_found(port: int, path: str, timeout_s: float) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 400
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
