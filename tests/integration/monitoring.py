"""A real Prometheus and a real Alertmanager on loopback, and somebody whom it tells."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import wait_until
from tests.lifetime import bound

RULES = Path("ganservice/prometheus/rules.yaml")
RECORDING = RULES.with_name("recording.yaml")
ALERTMANAGER = Path("deploy/alertmanager/alertmanager.yaml")
# What takes minutes takes seconds here; an alert of a job still waits for longer than that of a server.
HASTE = {"5s": "1s", "30s": "1s", "1m": "1s", "2m": "2s", "5m": "1s"}
SCRAPE_S = 1


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(port: int, path: str, value: Any = None) -> Any:
    """What a server answers to a GET, or to a POST of a value; None where nothing listens yet."""
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 # a server of the test's own
            text = answer.read().decode()
    except urllib.error.URLError:
        return None
    return json.loads(text) if text.startswith(("{", "[")) else text


@contextmanager
def _server(name: str, command: list[str], port: int, folder: Path) -> Iterator[int]:
    path = shutil.which(command[0])
    assert path, f"no {command[0]} on PATH: on Debian, `apt-get install prometheus prometheus-alertmanager`"
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(bound([path, *command[1:]]), stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or ask(port, "/-/ready"))
        assert process.poll() is None, (folder / f"{name}.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


class Pager(ThreadingHTTPServer):
    """A webhook that keeps what it is sent."""

    def __init__(self) -> None:
        self.pages = pages = list[list[dict[str, Any]]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    def told(self) -> list[list[str]]:
        """The names of the alerts of each page."""
        return [sorted(alert["labels"]["alertname"] for alert in page) for page in self.pages]


@contextmanager
def pager() -> Iterator[Pager]:
    """A receiver of alerts, inside the block."""
    with Pager() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def alertmanager(folder: Path, receiver: Pager) -> Iterator[int]:
    """Alertmanager as it is deployed, in haste, with a receiver filled in. Gives its port."""
    config = yaml.safe_load(ALERTMANAGER.read_text())
    hook = {"url": f"http://127.0.0.1:{receiver.server_port}", "send_resolved": False}
    config["receivers"] = [{"name": "operator", "webhook_configs": [hook]}]
    for route in (config["route"], *config["route"]["routes"]):
        route |= {key: HASTE[route[key]] for key in ("group_wait", "group_interval") if key in route}
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus-alertmanager", f"--config.file={folder / 'alertmanager.yaml'}", f"--storage.path={folder / 'am'}",
        "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with _server("alertmanager", command, port, folder) as port:
        yield port


@contextmanager
def prometheus(folder: Path, exporter: int, *alertmanagers: int) -> Iterator[int]:
    """Prometheus with the project's rules, in haste, which tells the Alertmanagers at some ports. Gives its port."""
    shutil.copy(RECORDING, folder)
    (folder / "rules.yaml").write_text(re.sub(r"\bfor: \w+", "for: 1s", RULES.read_text()))
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "scrape_timeout": f"{SCRAPE_S}s", "evaluation_interval": "500ms"},
        "rule_files": ["recording.yaml", "rules.yaml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{port}" for port in alertmanagers]}]}]
        },
        "scrape_configs": [
            {"job_name": "ganservice", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]},
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with _server("prometheus", command, port, folder) as port:
        yield port


def firing(port: int) -> set[str]:
    """The names of the alerts that fire by Prometheus."""
    alerts = ask(port, "/api/v1/alerts")["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def states(port: int) -> dict[str, set[str]]:
    """The states that Alertmanager gives the alerts of each name: active, or suppressed by another."""
    found: dict[str, set[str]] = {}
    for alert in ask(port, "/api/v2/alerts"):
        found.setdefault(alert["labels"]["alertname"], set()).add(alert["status"]["state"])
    return found


def tell(port: int, *alerts: dict[str, str]) -> None:
    """Have Alertmanager know of alerts with these labels, as a Prometheus would."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = ask(port, "/api/v2/alerts", [{"labels": labels, "startsAt": since} for labels in alerts])
    assert told is not None
