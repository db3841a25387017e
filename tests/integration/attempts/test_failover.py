"""A replica is promoted while a job runs: the job goes on under it and ends once."""

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import redis

from ganservice.job import State
from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess, at_images, serve
from tests.integration.broker import SERVERS, Broker, running
from tests.integration.store import Store
from tests.specs import SHORT, write_spec

pytestmark = pytest.mark.usefixtures("quick_bundles")
RING = {
    "data": {"kind": "mixture", "layout": "ring", "modes": 8, "std": 0.05},
    "latent_size": 2,
    "generator": {"kind": "mlp", "widths": [16]},
    "discriminator": {"kind": "mlp", "widths": [16]},
    "batch_size": 32,
}


class Address(socketserver.ThreadingTCPServer):
    """The one address of a broker, behind which another one takes over."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = port  # of the server that serves

    def handle_error(self, *_: object) -> None:
        """Say nothing of a connection that has gone."""


class _Connection(socketserver.BaseRequestHandler):
    server: Address

    def handle(self) -> None:
        served_by = self.server.port
        with socket.create_connection(("127.0.0.1", served_by)) as broker:
            while self.server.port == served_by:
                for end in select.select([self.request, broker], [], [], 0.05)[0]:
                    data = end.recv(1 << 20)
                    if not data:
                        return
                    (broker if end is self.request else self.request).sendall(data)


@pytest.fixture
def brokers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Broker, Broker]]:
    """A primary and its replica, which has the same users and passwords."""
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("primary", "replica")]
        for folder in folders:
            folder.mkdir()
        primary = stack.enter_context(running(request.param, folders[0]))
        follows = (f"replicaof 127.0.0.1 {primary.port}", f"masterauth {primary.admin_password}")
        replica = stack.enter_context(running(request.param, folders[1], *follows, like=primary))
        yield primary, replica


@pytest.mark.parametrize("brokers", SERVERS, indirect=True)
def test_a_job_goes_on_under_a_replica_that_is_promoted(brokers: tuple[Broker, Broker], tmp_path: Path) -> None:
    primary, replica = brokers
    store = Store(tmp_path / "store")
    with (
        closing(redis.Redis.from_url(replica.admin_url, decode_responses=True)) as admin,
        Address(primary.port) as address,
    ):
        threading.Thread(target=address.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        wait_until(lambda: admin.info("replication")["master_link_status"] == "up")

        def fail_over() -> None:
            """The primary is cut off, and what it was told last is lost; for a moment nobody takes writes."""
            address.port = replica.port
            admin.replicaof("NO", "ONE")

        try:
            store.start()
            state_dir = tmp_path / "state"
            state_dir.mkdir()
            with serve(primary.at(address.server_address[1]), store.settings, state_dir) as service:
                path = write_spec(tmp_path, "ring", **SHORT, recipe=RING)
                undisturbed = service.weights(service.train(path))
                job_id = service.ok("submit", path)
                with at_images(1_920, fail_over):
                    job = service.finish(job_id)
                check(service, job_id, undisturbed)
                assert (job.state, job.attempt, job.images_trained) == (State.SUCCEEDED, 1, 3_840)
                assert admin.exists("{gan}:job:" + job_id), "it was the replica that served"
        finally:
            address.shutdown()
            store.kill()


def check(service: InProcess, job_id: str, undisturbed: bytes) -> None:
    """The job has ended once, with the weights of its undisturbed twin."""
    assert len(service.events(job_id, "succeeded")) == len(service.events(job_id, "leased")) == 1
    manifests = [key for key in service.store.keys(job_id) if key.endswith("generator/manifest.json")]
    assert len(manifests) == 1
    assert service.weights(job_id) == undisturbed
