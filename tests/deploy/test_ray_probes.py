"""The probes of Ray's pods are answered by the Ray that the images install, started with the chart's own parameters."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import pytest

from tests.chaos import node
from tests.conftest import wait_until
from tests.deploy.chart import containers, of_kind, render
from tests.deploy.kubelet import succeeds, unused_ports
from tests.lifetime import last_will

# Where the dashboard's agent would answer, and what KubeRay asks of it unless a pod has probes of its own:
# initLivenessAndReadinessProbe in its controllers/ray/common/pod.go, from 1.6.0 on and for Ray 2.53 or newer.
AGENT_PORT = 52365
OF_KUBERAY = {"httpGet": {"path": "/api/healthz", "port": AGENT_PORT}}


@dataclass(frozen=True)
class RayPod:
    """A running pod of Ray, as far as probes go; `environment` has its token."""

    environment: dict[str, str]
    container: dict[str, Any]
    ports: dict[int, int]
    process: psutil.Process

    def passes(self, name: str) -> bool:
        """Whether one of its probes succeeds."""
        return succeeds(self.container[name], self.ports)

    def fails(self, name: str) -> bool:
        """Whether one of its probes fails."""
        return not self.passes(name)

    def server(self, name: str) -> psutil.Process:
        """One of Ray's own servers there."""
        [found] = [each for each in self.process.children(recursive=True) if each.name() == name]
        return found


@contextmanager
def running(command: list[str], log: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Ray, which leaves nothing behind."""
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    with last_will(["kill", "-KILL", "--", f"-{process.pid}"], dict(os.environ)):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=120)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def started(
    container: dict[str, Any], parameters: dict[str, str], ports: dict[int, int], folder: Path
) -> Iterator[RayPod]:
    """A container of Ray, by KubeRay's command for its parameters; begun again, as by a kubelet, where it ends.

    On a busy machine it does: Ray gives a node half a minute to register. Its servers answer probes before that,
    and what stops one of them then may end the command: so it is waited for, too.
    """
    options = {"object-store-memory": "100000000", "dashboard-agent-listen-port": str(ports[AGENT_PORT])}
    flags = [f"--{name}={value}".removesuffix("=") for name, value in (parameters | options).items()]
    command = [sys.executable, node.__file__, "start", "--block", "--disable-usage-stats", *flags]
    path = folder / f"{container['name']}.log"
    with path.open("wb") as log, ExitStack() as runs:

        def begin() -> subprocess.Popen[bytes]:
            runs.close()
            log.truncate(log.seek(0))
            return runs.enter_context(running([*command, "--node-ip-address=127.0.0.1"], log))

        process = begin()

        def has_begun() -> bool:
            nonlocal process
            if process.poll() is not None:
                process = begin()
            return succeeds(container["startupProbe"], ports) and b"Ray runtime started" in path.read_bytes()

        try:
            wait_until(has_begun)
        except AssertionError as error:
            raise AssertionError(path.read_text()) from error
        yield RayPod(dict(os.environ), container, ports, psutil.Process(process.pid))


@pytest.fixture(scope="module")
def ray_pods() -> Iterator[tuple[RayPod, RayPod]]:
    """A head and a node that the head's probes let begin; the test itself has no token."""
    objects = render({})
    [cluster] = of_kind(objects, "RayCluster")
    head_group, [group] = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"]
    gcs, raylet, *agents = unused_ports(4)
    # Ray's sockets lie there, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="gan-"))
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    with pytest.MonkeyPatch.context() as patch, ExitStack() as pods:
        pods.callback(shutil.rmtree, folder)
        for name, value in token.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        head = pods.enter_context(
            started(
                containers(objects, "head")[0],
                head_group["rayStartParams"] | {"head": "", "port": str(gcs), "temp-dir": str(folder)},
                {6379: gcs, AGENT_PORT: agents[0]},
                folder,
            )
        )
        chosen = int(group["rayStartParams"]["node-manager-port"])
        worker = pods.enter_context(
            started(
                containers(objects, "node")[0],
                group["rayStartParams"] | {"address": f"127.0.0.1:{gcs}", "node-manager-port": str(raylet)},
                {chosen: raylet, AGENT_PORT: agents[1]},
                folder,
            )
        )
        for name in token:
            patch.delenv(name)
        yield head, worker


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_head_and_node_pass_their_probes(ray_pods: tuple[RayPod, RayPod], probe: str) -> None:
    for pod in ray_pods:
        assert pod.passes(probe), pod.container["name"]


def test_what_hangs_fails_its_probes_and_passes_them_again(ray_pods: tuple[RayPod, RayPod]) -> None:
    for pod, name in zip(ray_pods, ("gcs_server", "raylet"), strict=True):
        server = pod.server(name)
        server.send_signal(signal.SIGSTOP)
        try:
            wait_until(partial(pod.fails, "livenessProbe"))  # its threads stop one by one
        finally:
            server.send_signal(signal.SIGCONT)
        wait_until(partial(pod.passes, "livenessProbe"))


def test_without_the_charts_probes_kuberays_own_would_kill_every_pod(ray_pods: tuple[RayPod, RayPod]) -> None:
    """Plain Ray runs its agent without HTTP. Where this begins to succeed, the chart's probes may go."""
    for pod in ray_pods:
        assert not succeeds(OF_KUBERAY, pod.ports)


def test_what_kuberay_runs_beside_them_is_there(ray_pods: tuple[RayPod, RayPod]) -> None:
    """The container that has a node wait for its head, and the autoscaler's program; both are plain Ray."""
    head, node = ray_pods
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    subprocess.run([*ray, "health-check", f"--address=127.0.0.1:{head.ports[6379]}"], env=node.environment, check=True)
    subprocess.run([*ray, "kuberay-autoscaler", "--help"], env=head.environment, check=True, capture_output=True)
    code = "import ray.autoscaler._private.kuberay.run_autoscaler, ray.autoscaler.v2.monitor"
    subprocess.run([sys.executable, "-c", code], env=head.environment, check=True)
