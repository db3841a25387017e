"""What others can read or reach of a service, as far as addresses, certificates and open ports tell."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ganservice.broker_versions import CVE, advice_on_version
from ganservice.embedded.exposure import exposure_of_broker, exposure_of_store, public_ports

PLAIN = "in plain text over a public address"
NO_PASSWORD = "has no password: set requirepass"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:p@127.0.0.1:6379/0", []),
        ("redis://127.0.0.1:6379/0", []),
        ("redis://localhost/0", []),
        ("redis://[::1]/0", []),
        ("redis://:p@10.0.0.1/0", []),
        ("redis://10.0.0.1/0", [NO_PASSWORD]),
        ("redis://user:p@8.8.8.8/0", [PLAIN]),
        ("redis://8.8.8.8/0", [PLAIN, NO_PASSWORD]),
        ("redis://:p@[2001:4860:4860::8888]/0", [PLAIN]),
        ("redis://:p@nobody.invalid/0", []),
    ],
)
def test_what_a_broker_lets_others_do_is_told(url: str, told: list[str]) -> None:
    found = exposure_of_broker(url)
    assert len(found) == len(told)
    assert all(words in line for words, line in zip(told, found, strict=True))


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://127.0.0.1:1/gan", []), ("http://10.0.0.2:8333/gan", []), ("http://8.8.8.8/gan", [PLAIN])],
)
def test_what_a_store_lets_others_do_is_told(url: str, told: list[str]) -> None:
    assert [PLAIN in line for line in exposure_of_store(url)] == [True] * len(told)


# Certificates


def certificate(folder: Path, days: int) -> tuple[str, str]:
    """The files of a certificate of 127.0.0.1 that is its own authority, and of its key."""
    names = [str(folder / name) for name in ("cert.pem", "key.pem")]
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", str(days), "-subj", "/CN=gan", "-addext", "subjectAltName=IP:127.0.0.1", "-out", names[0],
            "-keyout", names[1],
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return names[0], names[1]


@pytest.fixture(params=[3, 300])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, int, str]]:
    """The days that a certificate is good for, the port of a server that shows it, and the file of its authority."""
    cert, key = certificate(tmp_path, request.param)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield request.param, listener.getsockname()[1], cert
        thread.join()


def test_a_certificate_that_ends_soon_is_told(tls: tuple[int, int, str]) -> None:
    days, port, authority = tls
    found = exposure_of_broker(f"rediss://:p@127.0.0.1:{port}/0?ssl_ca_certs={authority}")
    if days == 3:
        [line] = found
        assert line.startswith("its certificate expires in 3 days (")
        assert line.endswith("): renew it")
    else:
        assert found == []


def test_a_certificate_that_could_not_be_looked_at_is_told(unused_tcp_port: int) -> None:
    [line] = exposure_of_store(f"https://127.0.0.1:{unused_tcp_port}/gan")
    assert line.startswith("its certificate was not looked at (")


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# Ports


def test_what_listens_on_loopback_is_not_reached_by_others() -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        assert public_ports(psutil.Process()) == []


def test_what_others_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"0.0.0.0": True, "::": True, "10.0.0.1": True, "::ffff:127.0.0.1": False, "127.0.0.1": False}  # noqa: S104
    listeners = [SimpleNamespace(laddr=SimpleNamespace(ip=ip, port=1), status=psutil.CONN_LISTEN) for ip in addresses]
    talks = SimpleNamespace(laddr=SimpleNamespace(ip="10.0.0.9", port=2), status=psutil.CONN_ESTABLISHED)
    monkeypatch.setattr(psutil.Process, "net_connections", lambda *_, **__: [*listeners, talks])
    assert public_ports(psutil.Process()) == sorted(f"{ip}:1" for ip, is_public in addresses.items() if is_public)


# Versions


@pytest.mark.parametrize(
    ("server", "version", "has_hole"),
    [
        ("redis", "7.0.15", True), ("redis", "6.2.19", True), ("redis", "6.2.20", False), ("redis", "7.2.10", True),
        ("redis", "7.2.11", False), ("redis", "7.4.2", True), ("redis", "7.4.6", False), ("redis", "8.0.3", True),
        ("redis", "8.0.4", False), ("redis", "8.2.1", True), ("redis", "8.2.2", False), ("redis", "8.4.0", False),
        ("redis", "10.0.0", False), ("valkey", "7.2.10", True), ("valkey", "8.0.6", False), ("valkey", "8.1.3", True),
        ("valkey", "8.1.4", False), ("valkey", "9.1.2", False), ("dragonfly", "1.0.0", False), ("redis", "new", False),
    ],
)  # fmt: skip
def test_a_server_with_a_known_hole_is_told(server: str, version: str, has_hole: bool) -> None:
    info = {f"{server}_version": version}
    advice = advice_on_version(info if server == "redis" else info | {"server_name": server, "redis_version": "7.2.4"})
    assert (advice is not None) is has_hole
    if advice:
        assert f"{server} {version} has {CVE} unless your distribution patched it: take " in advice
