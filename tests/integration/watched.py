"""A queue that is watched: an exporter and a real Prometheus, which scrapes and evaluates its rules each second."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from deploy.grafana.prometheus import Prometheus
from ganservice.exporter import JobCollector
from ganservice.metrics_server import serve
from ganservice.settings import Settings
from tests.conftest import wait_until
from tests.lifetime import bound

RULES = Path("ganservice/prometheus").absolute()
# Of the rules that ship, none fires within seconds.
ALERT = {
    "alert": "OfTheTest",
    "expr": 'ganservice_job_health{health="collapsed"} == 1 and on(job_id) ganservice_job_state{state="running"} == 1',
    "labels": {"severity": "warning"},
}
SCRAPE_S = 1.0


@contextmanager
def watched(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of a Prometheus that watches the queue of these settings, inside the block."""
    binary = shutil.which("prometheus")
    assert binary, "these tests take prometheus: on Debian, `apt-get install prometheus`"
    registry = CollectorRegistry()
    registry.register(JobCollector(settings))
    open_to_all = {"exporter_host": "127.0.0.1", "exporter_port": 0, "exporter_password": None}
    exporter = serve(registry, settings.model_copy(update=open_to_all))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    alerts = folder / "alert.yaml"
    alerts.write_text(json.dumps({"groups": [{"name": "test", "rules": [ALERT]}]}))
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S:g}s", "evaluation_interval": f"{SCRAPE_S:g}s"},
        "rule_files": [str(RULES / "recording.yaml"), str(RULES / "rules.yaml"), str(alerts)],
        "scrape_configs": [
            {"job_name": "ganservice", "static_configs": [{"targets": [f"127.0.0.1:{exporter.server_port}"]}]}
        ],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    command = [
        binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(bound(command), stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or _is_ready(base))
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield base
    finally:
        process.terminate()
        process.wait(timeout=60)
        exporter.shutdown()
        exporter.server_close()


def _is_ready(base: str) -> bool:
    try:
        return bool(now(base).result("vector(1)", {}))
    except OSError:  # it refuses, or answers that it is not ready
        return False


def now(base: str, span_s: float = 60.0) -> Prometheus:
    """What Prometheus says now, and of the time before."""
    return Prometheus(base, time.time(), span_s, SCRAPE_S)
