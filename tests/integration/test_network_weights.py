"""The file of a network that a spec names, and what nobody gets to see by naming it."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ganservice.artifacts import ArtifactStore
from ganservice.errors import DataInvalid, DataMissing, DigestMismatch
from ganservice.judging import NetworkWeights
from ganservice.settings import Settings
from tests.integration.store import damage
from workers.attempt.network_weights import weights_file

CONTENT = b"weights of a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Host(ThreadingHTTPServer):
    """A host that has weights, leads to them from elsewhere, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Host

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to"))
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(store_settings: Settings, tmp_path: Path) -> Settings:
    return store_settings.model_copy(update={"cache_dir": tmp_path / "cache"})


def read(settings: Settings, source: str, sha256: str = SHA256) -> bytes:
    return weights_file(settings, ArtifactStore(settings), NetworkWeights(source=source, sha256=sha256)).read_bytes()


def listing(settings: Settings, *places: object) -> Settings:
    return settings.model_copy(update={"weights_from": ",".join(map(str, places))})


def test_what_was_put_into_the_store_is_read_from_there(settings: Settings) -> None:
    key = ArtifactStore(settings).put_network(CONTENT)
    assert key == f"networks/{SHA256}.pth"
    assert read(settings, key) == CONTENT
    cached = settings.cache_dir / "networks" / SHA256
    cached.write_bytes(b"exchanged")
    assert read(settings, key) == CONTENT
    damage(settings, key)
    cached.unlink()
    with pytest.raises(DigestMismatch, match=key):
        read(settings, key)
    ArtifactStore(settings).objects.delete(key)
    with pytest.raises(DataMissing, match="`ganctl networks put FILE` brings it there"):
        read(settings, key)


@pytest.mark.parametrize(
    "source", ["networks/../jobs/a/spec.yaml", "networks/x.safetensors", f"networks/{'1' * 64}.pth"]
)
def test_other_objects_of_the_store_are_no_networks(settings: Settings, source: str) -> None:
    with pytest.raises(DataInvalid, match="is no key of a network"):
        read(settings, source)


def test_no_file_of_the_machine_is_looked_at_unless_it_is_listed(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("right.pth", "secret"):
        (tmp_path / name).write_bytes(CONTENT)
    (folder / "right.pth").write_bytes(CONTENT)
    (folder / "out.pth").symlink_to(tmp_path / "secret")
    listed = listing(settings, folder)
    assert read(listed, str(folder / "right.pth")) == CONTENT
    told = set()
    for source in (
        "out.pth",
        "../secret",
        "../none",
        "none",
        "/dev/zero",
        "/proc/self/environ",
        f"file://{tmp_path}/secret",
    ):
        asked = source if "://" in source else str(folder / source)
        with pytest.raises(DataInvalid, match="is no file in a place that GANSERVICE_WEIGHTS_FROM lists") as caught:
            read(listed, asked)
        told.add(str(caught.value).replace(asked, ""))
    assert len(told) == 1  # whether it is there is not told
    with pytest.raises(DataInvalid, match="is no file in a place"):
        read(settings, str(folder / "right.pth"))


def test_no_host_is_asked_unless_it_is_listed(settings: Settings, host: Host) -> None:
    for places in ((), (f"{host.url}/weights",), ("https://example.org",)):
        for path in ("/latest/meta-data", "/weights/../latest", "/weights/%2e%2e/latest", "/weightless"):
            with pytest.raises(DataInvalid, match="is no file in a place that GANSERVICE_WEIGHTS_FROM lists"):
                read(listing(settings, *places), host.url + path)
    assert host.asked == []
    assert read(listing(settings, f"{host.url}/weights"), f"{host.url}/weights/right.pth") == CONTENT


def test_a_redirect_leads_to_listed_places_alone(settings: Settings, host: Host) -> None:
    listed = listing(settings, f"{host.url}/to", f"{host.url}/weights")
    with pytest.raises(DataMissing, match="a redirect leads to where nothing may be fetched"):
        read(listed, f"{host.url}/to/latest/meta-data")
    assert host.asked == ["/to/latest/meta-data"]
    assert read(listed, f"{host.url}/to/weights/right.pth") == CONTENT


def test_the_digest_of_what_was_found_is_not_told(settings: Settings, host: Host) -> None:
    with pytest.raises(DataInvalid, match="gives another file than that with sha256 0000") as caught:
        read(listing(settings, host.url), f"{host.url}/secret", sha256="0" * 64)
    assert SHA256[:8] not in str(caught.value)
