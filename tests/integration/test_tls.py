"""Redis and the store behind TLS: certificates of servers and clients, and what is said where they do not fit.

Of brokers Redis alone: the Valkey of the wheel is built without TLS.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from ganservice.errors import BrokerOutage, StoreOutage
from ganservice.job import State
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker, running
from tests.integration.jobs import SUCCESS, lease
from tests.integration.store import Store


@dataclass(frozen=True)
class Secured:
    """A Redis that speaks TLS at one port, beside the plain one."""

    broker: Broker
    port: int
    folder: Path  # of certificates and keys

    def url(self, options: str = "ssl_ca_certs={0}/ca.pem", scheme: str = "rediss", host: str = "127.0.0.1") -> str:
        address = f"{scheme}://gan:{self.broker.password}@{host}:{self.port}/0"
        return f"{address}?{options.format(self.folder)}" if options else address


def openssl(folder: Path, name: str, *options: str) -> None:
    """Make a key and its certificate."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    names = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2"]
    subprocess.run([*command, *names, *options], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, and certificates of a server and of a client by the first."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ca", "stranger"):
        openssl(folder, authority)
    by = ("-CA", "ca.pem", "-CAkey", "ca.key")
    openssl(folder, "server", *by, "-addext", "subjectAltName=IP:127.0.0.1")
    openssl(folder, "client", *by)
    return folder


@pytest.fixture(scope="module", params=["optional", "yes"])
def secured(
    request: pytest.FixtureRequest, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """A Redis with TLS; with `yes` it asks clients for certificates."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = (
        f"tls-port {port}",
        f"tls-cert-file {certificates}/server.pem",
        f"tls-key-file {certificates}/server.key",
        f"tls-ca-cert-file {certificates}/ca.pem",
        f"tls-auth-clients {request.param}",
    )
    with running("redis", tmp_path_factory.mktemp("redis"), *settings) as broker:
        yield Secured(broker, port, certificates)


CERTIFIED = "ssl_ca_certs={0}/ca.pem&ssl_certfile={0}/client.pem&ssl_keyfile={0}/client.key"
optional = pytest.mark.parametrize("secured", ["optional"], indirect=True)
required = pytest.mark.parametrize("secured", ["yes"], indirect=True)


def outage(url: str, tmp_path: Path) -> BrokerOutage:
    with (
        closing(JobQueue(Settings(broker_url=url, state_dir=tmp_path))) as queue,
        pytest.raises(BrokerOutage) as told,
    ):
        queue.list_jobs()
    assert "\n" not in str(told.value)
    return told.value


@pytest.mark.parametrize(
    ("secured", "options"), [("optional", "ssl_ca_certs={0}/ca.pem"), ("yes", CERTIFIED)], indirect=["secured"]
)
def test_a_job_lives_its_life_over_tls(secured: Secured, options: str, spec: TrainSpec, tmp_path: Path) -> None:
    with closing(JobQueue(Settings(broker_url=secured.url(options), state_dir=tmp_path))) as queue:
        job_id, _ = queue.submit(spec)
        assert queue.finish(lease(queue), SUCCESS) is State.SUCCEEDED
        assert queue.get(job_id).state is State.SUCCEEDED


@optional
@pytest.mark.parametrize(
    ("options", "host"),
    [("", "127.0.0.1"), ("ssl_ca_certs={0}/stranger.pem", "127.0.0.1"), ("ssl_ca_certs={0}/ca.pem", "localhost")],
    ids=["no authority", "another authority", "another name"],
)
def test_a_certificate_that_does_not_fit_is_told(secured: Secured, options: str, host: str, tmp_path: Path) -> None:
    told = outage(secured.url(options, host=host), tmp_path)
    assert "shows a certificate that is not trusted; name its authority by ?ssl_ca_certs=FILE" in str(told)


@required
def test_a_client_without_a_certificate_is_told(secured: Secured, tmp_path: Path) -> None:
    assert "?ssl_certfile=" in str(outage(secured.url(), tmp_path))


@optional
def test_a_plain_connection_to_a_port_with_tls_is_told(secured: Secured, tmp_path: Path) -> None:
    assert "asks for TLS (rediss://)" in str(outage(secured.url("", scheme="redis"), tmp_path))


def test_a_store_behind_tls_is_trusted_by_its_authority_alone(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", f"{certificates}/ca.pem")
    flags = (f"-s3.cert.file={certificates}/server.pem", f"-s3.key.file={certificates}/server.key")
    store = Store(tmp_path, *flags, scheme="https")
    try:
        store.start()
        objects = ObjectStore(store.settings)
        objects.put("a", b"bytes")
        assert objects.get("a") == b"bytes"
        monkeypatch.setenv("AWS_CA_BUNDLE", f"{certificates}/stranger.pem")
        with pytest.raises(StoreOutage, match="certificate") as told:
            ObjectStore(store.settings).get("a")
        assert "\n" not in str(told.value)
    finally:
        store.kill()
