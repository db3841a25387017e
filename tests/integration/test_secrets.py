"""No password is told, whatever a command is asked and however its servers refuse."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganservice.cli import main
from ganservice.errors import DataMissing
from ganservice.spec import TrainSpec
from ganservice.spec_file import dump_spec
from tests.conftest import Proxy
from tests.integration.strangers import http_server, resp_server, silent_server, tcp_server
from workers.gan.data.mirrors import fetched

SECRET = "hunter2"
COMMANDS = (
    "list", "list -o json", "show tiny-1", "logs tiny-1", "events tiny-1", "wait tiny-1 --timeout 0", "cancel tiny-1",
    "retry tiny-1", "submit {spec}", "fetch tiny-1", "link tiny-1", "evaluate tiny-1", "report tiny-1",
    "compare tiny-1 tiny-2", "doctor", "doctor -o json", "data list", "sample tiny-1", "augment tiny-1 --into set",
)  # fmt: skip
XML = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@contextlib.contextmanager
def echoing() -> Iterator[int]:
    """A Redis that says what it was told, in the words of one that knows no such command."""
    unknown = b"-ERR unknown command, with args beginning with: "
    with resp_server(lambda words: unknown + b" ".join(words) + b"\r\n") as port:
        yield port


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    with resp_server(lambda _: b"-WRONGPASS invalid username-password pair or user is disabled.\r\n") as port:
        yield port


@contextlib.contextmanager
def of_http(status: int, body: bytes) -> Iterator[int]:
    with http_server(status, body) as address:
        yield int(address.rpartition(":")[2])


Server = Callable[[], contextlib.AbstractContextManager[int]]
BROKERS: dict[str, Server] = {
    "echoing": echoing,
    "refusing": refusing,
    "away": lambda: contextlib.nullcontext(9),
    "of HTTP": lambda: tcp_server(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}
STORES: dict[str, Server] = {
    "refusing": lambda: of_http(403, XML),
    "no store": lambda: of_http(200, b"<html>"),
    "of Redis": lambda: tcp_server(b"-ERR\r\n"),
}


def told_by(command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """All that a command prints, in this process, when it fails."""
    monkeypatch.setattr(sys, "argv", ["ganctl", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code not in (0, None)
    return "".join(capfd.readouterr())


@pytest.fixture
def spec_file(spec: TrainSpec, tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec))
    return path


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GANSERVICE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("GANSERVICE_STORE_ACCESS_KEY", "key")
    monkeypatch.setenv("GANSERVICE_STORE_SECRET_KEY", SECRET)
    monkeypatch.setenv("GANSERVICE_DATA_MIRRORS", f"http://me:{SECRET}@127.0.0.1:9/")
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)


@pytest.mark.parametrize(
    ("broker", "store"),
    [("echoing", "refusing"), ("refusing", "no store"), ("away", "refusing"), ("of HTTP", "of Redis")],
)
def test_no_command_tells_a_password(
    broker: str,
    store: str,
    spec_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with BROKERS[broker]() as broker_port, STORES[store]() as store_port:
        monkeypatch.setenv("GANSERVICE_BROKER_URL", f"redis://me:{SECRET}@127.0.0.1:{broker_port}/0")
        monkeypatch.setenv("GANSERVICE_STORE_URL", f"http://127.0.0.1:{store_port}/bucket")
        for command in COMMANDS:
            told = told_by(command.format(spec=spec_file), monkeypatch, capfd)
            assert SECRET not in told, command
            assert "Traceback" not in told, command


@pytest.mark.parametrize(
    "url",
    [
        "http://me:{secret}@{address}",
        "me:{secret}@{address}",
        "socks5://me:{secret}@{address}",
        "http://me:/{secret}@{address}",
        "http://me:{secret}@[not an address",
        "me:{secret}",
    ],
)
def test_no_command_tells_the_password_of_a_proxy(
    url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, url.format(secret=SECRET, address=proxy.address))
    monkeypatch.setenv("GANSERVICE_BROKER_URL", "redis://127.0.0.1:9")
    for scheme in ("http", "https"):
        monkeypatch.setenv("GANSERVICE_STORE_URL", f"{scheme}://elsewhere.invalid/bucket")
        for command in ("doctor", "data list"):
            told = told_by(command, monkeypatch, capfd)
            assert SECRET not in told, command
            assert "Traceback" not in told, command
        with pytest.raises(DataMissing) as missing:
            list(fetched(f"{scheme}://elsewhere.invalid/file"))
        assert SECRET not in str(missing.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", f"redis://:{SECRET}@127.0.0.1:99999/0"),
        ("BROKER_URL", f"redis:/:{SECRET}@127.0.0.1"),
        ("BROKER_URL", f"redis://127.0.0.1/0?password={SECRET}"),
        ("BROKER_URL", f"redis://127.0.0.1/0?client_name=a&db={SECRET}"),
        ("STORE_URL", f"http://key:{SECRET}@127.0.0.1:8333/bucket"),
        ("STORE_URL", f"http://127.0.0.1:8333/bucket?X-Amz-Signature={SECRET}"),
        ("STORE_SECRET_KEY", f"{SECRET} "),
        ("RAY_ADDRESS", f"me:{SECRET}@127.0.0.1:6379"),
    ],
)
def test_a_wrong_setting_is_not_quoted(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANSERVICE_BROKER_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:9/bucket")
    monkeypatch.setenv(f"GANSERVICE_{name}", value)
    for command in ("list", "doctor", "data list"):
        told = told_by(command, monkeypatch, capfd)
        assert SECRET not in told
        assert "Traceback" not in told


def test_a_silent_store_tells_no_password(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with silent_server() as port:
        monkeypatch.setenv("GANSERVICE_BROKER_URL", f"redis://me:{SECRET}@127.0.0.1:{port}/0?socket_timeout=0.1")
        assert SECRET not in told_by("list", monkeypatch, capfd)
