"""RayCluster: what a dispatcher asks of Ray, and how it comes into the cluster.

Ray lets a driver in only through a node of its own machine. Where there is none, as on a machine or in a container
that only dispatches, this brings one that takes no work.
"""

import contextlib
import logging
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from typing import BinaryIO

import psutil
import ray
from ray._private.state import available_resources_per_node
from ray.autoscaler.sdk import request_resources
from ray.util import get_placement_group, placement_group_table

from ganservice.errors import ClusterUnreachable
from ganservice.job import Capacity, Lease
from ganservice.mistakes import brief
from ganservice.probes import check_port
from ganservice.settings import Settings
from workers.dispatch import actors, seats
from workers.dispatch.actors import NAMESPACE
from workers.dispatch.demand import Bundle
from workers.dispatch.gang import Gang, remove_group
from workers.dispatch.name import GangName
from workers.dispatch.pool import WarmPool
from workers.dispatch.room import Machine
from workers.dispatch.versions import mismatch

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 100_000_000
NODE_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0


class RayCluster:
    """The machines of the cluster that this process is a driver of, the gangs on them, and the warm workers."""

    def __init__(self) -> None:
        self._warm = WarmPool()

    def machines(self) -> list[Machine]:
        """The nodes that live, with what they have."""
        available = available_resources_per_node()
        return [
            Machine(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                address=node["NodeManagerAddress"],
                total=_capacity(node["Resources"]),
                available=_capacity(available.get(node["NodeID"], {})),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]

    def request(self, bundles: list[Bundle]) -> None:
        """Ask the autoscaler for room for all these together."""
        request_resources(bundles=bundles)

    def start(self, settings: Settings, lease: Lease, avoided: frozenset[str] = frozenset()) -> Gang:
        """A gang that waits for room on other nodes than the avoided ones."""
        return Gang.start(settings, lease, avoided, self._warm)

    def adopt(self, settings: Settings, lease: Lease, *, has_begun: bool) -> Gang:
        """A gang that another dispatcher started. Raises ValueError if part of it is gone."""
        return Gang.adopt(settings, lease, has_begun=has_begun, warm=self._warm)

    def gangs(self) -> set[GangName]:
        """All gangs that have a placement group, an actor or a place that is given, whoever started them."""
        named = {name for each in (*actors.names(), *seats.places()) if (name := GangName.parse(each))}
        return named | set(_groups())

    def end_stray(self, name: GangName) -> None:
        """End a gang that belongs to no current attempt."""
        places = {each for each in (*actors.names(), *seats.places()) if GangName.parse(each) == name}
        for place in places:
            for worker in {place, seats.holder(place) or place}:
                actors.end(worker)
        seats.free(name)
        with contextlib.suppress(ValueError):  # it never had a group, or has no more
            remove_group(get_placement_group(str(name)))

    def forget_warm(self) -> None:
        """Know nothing of warm workers any more: another dispatcher may have led meanwhile."""
        self._warm = WarmPool()

    def keep_warm(self, nodes: Collection[str], count: int, *, may_start: bool) -> None:
        """Have so many idle workers on each of these nodes and none elsewhere, one step at a time."""
        self._warm.tend(nodes, count, may_start=may_start)


def _capacity(resources: dict[str, float]) -> Capacity:
    return Capacity(cpus=resources.get("CPU", 0.0), gpus=resources.get("GPU", 0.0))


def _groups() -> Iterator[GangName]:
    """The gangs that have a placement group; Ray also tells of those that were removed."""
    for group_id, group in placement_group_table().items():
        name = GangName.parse(group["name"])
        if name and group["state"] != "REMOVED" and _id_of_group(name) == group_id:
            yield name


def _id_of_group(name: GangName) -> str | None:
    """The id of the group of this name among ours; the table tells of those of other namespaces, too."""
    try:
        found: str = get_placement_group(str(name)).id.hex()
    except ValueError:
        return None
    return found


@contextlib.contextmanager
def cluster(address: str) -> Iterator[RayCluster]:
    """Be a driver of the cluster at host:port. Raises ClusterUnreachable."""
    try:
        check_port(address)
    except OSError as error:
        raise ClusterUnreachable(f"Ray does not answer at {address} ({error}); see `ganctl doctor`") from error
    node = _node_of_this_machine(address)
    try:
        _connect(address)
        yield RayCluster()
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
        if versions := mismatch(str(error)):
            raise ClusterUnreachable(f"the cluster at {address} {versions}") from error
        raise ClusterUnreachable(
            f"Ray at {address} does not let us in ({brief(str(error))}); it has just been started, or "
            "expects RAY_AUTH_MODE=token and the head's RAY_AUTH_TOKEN"
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
    with tempfile.TemporaryFile() as said:
        node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            _await_node(address, node, said)
        except ClusterUnreachable:
            _end(node)
            raise
    return node


def _await_node(address: str, node: subprocess.Popen[bytes], said: BinaryIO) -> None:
    waited_s = 0.0
    while not _has_node(address):
        try:
            node.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            waited_s += 0.5
        if node.poll() is not None or waited_s > NODE_TIMEOUT_S:
            said.seek(0)
            if versions := mismatch(said.read().decode(errors="replace")):
                raise ClusterUnreachable(f"the cluster at {address} {versions}")
            raise ClusterUnreachable(
                f"a Ray node does not come up on this machine for {address}; `ray start --address={address}` says why"
            )


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    try:
        node.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        node.kill()
