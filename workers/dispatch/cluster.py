"""Cluster: how a dispatcher comes into the Ray cluster.

Ray lets a driver in only through a node of its own machine. Where there is none, as on a machine or in a container
that only dispatches, this brings one that takes no work.
"""

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import ray

from ganservice.errors import ClusterUnreachable
from ganservice.probes import check_port

log = logging.getLogger(__name__)

NAMESPACE = "ganservice"
OBJECT_STORE_BYTES = 100_000_000
NODE_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Be a driver of the cluster at host:port. Raises ClusterUnreachable."""
    try:
        check_port(address)
    except OSError as error:
        raise ClusterUnreachable(f"Ray does not answer at {address} ({error}); see `ganctl doctor`") from error
    node = _node_of_this_machine(address)
    try:
        _connect(address)
        yield
    finally:
        ray.shutdown()
        if node is not None:
            _end(node)


def _node_of_this_machine(address: str) -> subprocess.Popen[bytes] | None:
    """Wait for the head's own node where the head is, which comes up after its port; elsewhere start one if need be."""
    host = socket.gethostbyname(address.rpartition(":")[0])
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    if host not in own:
        return None if _has_node(address) else _start_node(address)
    deadline = time.monotonic() + NODE_TIMEOUT_S
    while not _has_node(address):
        if time.monotonic() > deadline:
            raise ClusterUnreachable(f"the Ray head at {address} has no node; look at its log")
        time.sleep(0.2)
    return None


def _connect(address: str) -> None:
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises half a dozen kinds, RuntimeError among them
        raise ClusterUnreachable(
            f"Ray at {address} does not let us in ({' '.join(str(error).split())[:200]}); expected RAY_AUTH_MODE=token "
            "and the head's RAY_AUTH_TOKEN"
        ) from error


def _has_node(address: str) -> bool:
    """Whether a node of that cluster runs on this machine."""
    host, _, port = address.rpartition(":")
    arguments = {f"--gcs-address={address}", f"--gcs-address={socket.gethostbyname(host)}:{port}"}
    return any(
        process.info["name"] == "raylet" and arguments & set(process.info["cmdline"] or [])
        for process in psutil.process_iter(["name", "cmdline"])
    )


def _start_node(address: str) -> subprocess.Popen[bytes]:
    log.info("no Ray node runs here; starting one that takes no work")
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={address}", "--num-cpus=0", "--num-gpus=0",
        f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats", "--block",
    ]  # fmt: skip
    node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        _await_node(address, node)
    except ClusterUnreachable:
        _end(node)
        raise
    return node


def _await_node(address: str, node: subprocess.Popen[bytes]) -> None:
    waited_s = 0.0
    while not _has_node(address):
        try:
            node.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            waited_s += 0.5
        if node.poll() is not None or waited_s > NODE_TIMEOUT_S:
            raise ClusterUnreachable(
                f"a Ray node does not come up on this machine for {address}; `ray start --address={address}` says why"
            )


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    try:
        node.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()
