"""What `list` and `doctor` say of alerts, by what a Prometheus answers, whoever speaks in its place."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from ganservice.alerts import GLANCE_S, alerts_line, firing, seen_at_once
from ganservice.cli import ganctl as commands
from ganservice.errors import PrometheusOutage
from ganservice.metrics_server import basic_auth
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.conftest import Proxy
from tests.integration.jobs import submit
from tests.integration.strangers import http_server, silent_server, tcp_server

SINCE = "2026-11-28T20:50:02.936399711Z"


def entry(alert: str, state: str = "firing", since: str = SINCE, **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": alert, "service": "ganservice", "severity": "warning"} | labels,
        "annotations": {"summary": f"{alert} is the matter.", "description": "Do something."},
        "state": state,
        "activeAt": since,
        "value": "1e+00",
    }


BROKER = entry("BrokerDown", severity="critical", since="2026-11-28T20:00:00Z")
COLLAPSED = entry("TrainingCollapsed", job_id="moody-1", name="moody", user="ada")
DISK = entry("DiskFilling", since="2026-11-28T19:00:00Z")


@contextmanager
def prometheus(*entries: Any, answer: bytes | None = None, password: str = "") -> Iterator[Settings]:
    """Settings of a Prometheus that knows these alerts."""
    body = json.dumps({"status": "success", "data": {"alerts": entries}}).encode() if answer is None else answer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.path == "/api/v1/alerts" and self.headers.get("Authorization", "") == password
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield at(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def at(url: str) -> Settings:
    return Settings(prometheus_url=SecretStr(url))


def test_the_critical_ones_come_first_then_the_newest() -> None:
    quiet = entry("HeartbeatLate", state="pending", job_id="moody-1")
    with prometheus(DISK, quiet, COLLAPSED, BROKER, entry("Watchdog", service="other")) as settings:
        found = firing(settings)
    assert [alert.name for alert in found] == ["BrokerDown", "TrainingCollapsed", "DiskFilling"]
    assert (found[1].job_id, found[1].job_name, found[1].user) == ("moody-1", "moody", "ada")
    assert found[1].since == pytest.approx(1795899002.936, abs=1)


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([], None),
        ([COLLAPSED], "1 alert fires: TrainingCollapsed on moody-1 (`ganctl doctor` says more)"),
        ([COLLAPSED, DISK], "2 alerts fire: TrainingCollapsed on moody-1 and DiskFilling (`ganctl doctor` says more)"),
        (
            [COLLAPSED, DISK, BROKER],
            "3 alerts fire: BrokerDown, TrainingCollapsed on moody-1 and 1 more (`ganctl doctor` says more)",
        ),
    ],
)
def test_what_fires_is_one_line(entries: list[Any], line: str | None) -> None:
    with prometheus(*entries) as settings:
        assert alerts_line(seen_at_once(settings)) == line


def test_the_password_of_the_address_is_given_to_that_place_alone(proxy: Proxy) -> None:
    with prometheus(BROKER, password=basic_auth("se/cret")) as settings:
        url = (settings.prometheus_url or SecretStr("")).get_secret_value()
        assert firing(at(url.replace("://", "://gan:se%2Fcret@")))
        with pytest.raises(PrometheusOutage, match="Unauthorized") as refused:
            firing(at(url.replace("://", "://gan:hunter2@")))
    assert "hunter2" not in str(refused.value)
    moved = f"HTTP/1.0 302 Found\r\nLocation: {url}/api/v1/alerts\r\n\r\n".encode()
    with tcp_server(moved) as port, pytest.raises(PrometheusOutage, match="Found"):
        firing(at(f"http://gan:hunter2@127.0.0.1:{port}"))
    assert proxy.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"no JSON", b"[]", b"{}", b'{"data": null}', b'{"data": {"alerts": 7}}', b'{"data": {"alerts": [7]}}',
        b'{"data": {"alerts": [{"labels": null, "annotations": {}, "state": "firing"}]}}', b"[" * 100_000, b"\xff\xfe",
        b'{"data": {"alerts": {}}}',
    ],
)  # fmt: skip
def test_an_answer_of_another_kind_is_one_line(answer: bytes) -> None:
    with prometheus(answer=answer) as settings:
        with pytest.raises(PrometheusOutage) as told:
            firing(settings)
        assert "\n" not in str(told.value)
        assert seen_at_once(settings) == []


def test_odd_values_hide_no_alert() -> None:
    odd = entry("BrokerDown", since="once upon a time") | {"annotations": {"summary": ["a"], "description": 7 * "x"}}
    with prometheus(odd, entry("X" * 5_000)) as settings:
        long, found = firing(settings)
    assert (found.since, found.summary, found.job_id) == (None, "", None)
    assert len(long.name) <= 1_000


@contextmanager
def trickling_server() -> Iterator[int]:
    """A server whose answer never ends."""
    ending = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ending.wait(0.02):
                    self.wfile.write(b" ")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        ending.set()
        server.shutdown()
        thread.join()


def test_who_asks_for_a_list_waits_for_nobody() -> None:
    with silent_server() as port:
        assert seen_at_once(at(f"http://127.0.0.1:{port}")) == []
    with trickling_server() as port:
        assert seen_at_once(at(f"http://127.0.0.1:{port}")) == []
        with pytest.raises(PrometheusOutage, match="gives no answer within"):
            firing(at(f"http://127.0.0.1:{port}"), GLANCE_S)
    assert seen_at_once(Settings()) == []


# The commands


@pytest.fixture
def ganctl(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """ganctl(Prometheus' settings, words): a command, as its user has it."""
    assert settings.broker_url
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.broker_url.get_secret_value())
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path / "none"))

    def give(watching: Settings, *words: str) -> Result:
        url = watching.prometheus_url
        monkeypatch.setenv("GANSERVICE_PROMETHEUS_URL", url.get_secret_value() if url else "")
        return CliRunner().invoke(commands, words)

    return give


def test_list_says_in_a_line_what_fires(ganctl: Callable[..., Result], queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    hostile = entry("TrainingCollapsed", job_id="x\x1b[2J\nmore", name="n")
    with prometheus(hostile) as settings:
        done = ganctl(settings, "list")
    assert done.exit_code == 0
    assert job_id in done.stdout
    [line] = [line for line in done.stderr.splitlines() if "alert" in line]
    assert line.startswith("1 alert fires: TrainingCollapsed on x")
    assert "\x1b" not in done.stderr
    with http_server(500) as url:
        done = ganctl(at(url), "list")
    assert (done.exit_code, "alert" in done.stderr) == (0, False)


def test_doctor_says_which_of_which_job_since_when_and_what_to_do(ganctl: Callable[..., Result]) -> None:
    with prometheus(COLLAPSED, BROKER) as settings:
        shown, document = ganctl(settings, "doctor"), json.loads(ganctl(settings, "doctor", "-o", "json").stdout)
    head, broker, collapsed = shown.stdout.rpartition("\n\n")[2].splitlines()
    assert head.split("  ")[0] == "ALERT"
    assert broker.startswith("BrokerDown")
    for words in ("TrainingCollapsed", "moody-1", "is the matter. Do something."):
        assert words in collapsed
    assert [alert["name"] for alert in document["alerts"]] == ["BrokerDown", "TrainingCollapsed"]
    assert "broker" in [part["part"] for part in document["parts"]]


def test_doctor_says_where_nothing_is_known_of_alerts(ganctl: Callable[..., Result]) -> None:
    with http_server(500) as url:
        done = ganctl(at(url.replace("://", "://gan:hunter2@")), "doctor")
    assert done.exit_code != 0
    [row] = [line for line in done.stdout.splitlines() if line.startswith("alerts")]
    assert "not known" in row
    assert "Prometheus at 127.0.0.1" in row
    assert "hunter2" not in done.output
