"""What of the embedded store another user of the machine reaches, who has no key: nothing."""

from http.client import HTTPConnection

from ganservice.artifacts import ArtifactStore
from ganservice.embedded.home import Home
from ganservice.settings import Settings
from tests.integration.store import Store
from tests.listeners import HOST, answers_strangers, ports_of


def test_s3_asks_for_keys_and_all_else_for_the_certificate(store_server: Store) -> None:
    ports = ports_of([store_server.process])
    assert len(ports) > 5
    assert [port for port in ports if answers_strangers(port)] == []


def test_nobody_writes_behind_s3(store_settings: Settings) -> None:
    filer = Home(store_settings.state_dir).identity().ports["filer"]
    connection = HTTPConnection(HOST, filer, timeout=10)
    connection.request("PUT", "/buckets/gan/jobs/x/owned.txt", b"mine now")
    assert connection.getresponse().status >= 400
    assert ArtifactStore(store_settings).keys("x") == []


def test_a_certificate_is_made_once(store_settings: Settings) -> None:
    folder = store_settings.state_dir / "store"
    made = (folder / "certificate.pem").read_bytes()
    Store(store_settings.state_dir)
    assert (folder / "certificate.pem").read_bytes() == made
    assert (folder / "key.pem").stat().st_mode & 0o077 == 0
