"""What Prometheus is given, from a real broker and a real store."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from pydantic import SecretStr

from ganservice import exporter
from ganservice.artifacts import ArtifactStore
from ganservice.exporter import JobCollector
from ganservice.job import Capacity
from ganservice.leadership import Cluster, Leadership
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from ganservice.store_kinds import Kind
from ganservice.store_usage import StoreUsage
from tests.integration.jobs import lease, submit
from tests.integration.scraping import Scrape, families
from tests.integration.strangers import resp_server, silent_server
from tests.lifetime import bound


def test_an_empty_queue_has_its_series_and_no_job_has_any(scrape: Scrape) -> None:
    found = scrape()
    assert found["broker_up"] == {(): 1}
    assert found["leader_up"] == {(): 0}
    assert found["queue_depth"] == {("low",): 0, ("normal",): 0, ("high",): 0}
    assert found["jobs_submitted_total"] == {(): 0}
    # A counter that appears with its first count hides it from Prometheus.
    assert found["retries_total"][("lease_expired",)] == 0
    assert found["jobs_finished_total"] == {("succeeded",): 0, ("failed",): 0, ("cancelled",): 0}
    assert not [name for name in found if name.startswith("job_")]
    assert "state_disk_free_bytes" not in found, "there is no embedded stack here"


def test_thresholds_may_go_by_the_settings_and_the_release_is_told(scrape: Scrape, exporter_settings: Settings) -> None:
    found = scrape()
    assert found["lease_seconds"] == {(): exporter_settings.lease_s}
    assert found["stall_limit_seconds"] == {(): exporter_settings.stall_limit_s}
    assert found["build_info"] == {(version("ganservice"),): 1}


def test_how_much_memory_the_broker_may_take_is_told(scrape: Scrape, admin: Any) -> None:
    assert scrape()["broker_max_memory_bytes"] == {(): 0}
    admin.config_set("maxmemory", 10**9)
    try:
        found = scrape()
    finally:
        admin.config_set("maxmemory", 0)
    assert found["broker_max_memory_bytes"] == {(): 10**9}
    assert 0 < found["broker_memory_bytes"][()] < 10**9


def test_a_wait_is_told_to_a_quarter_of_it(scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: Any) -> None:
    job_id = submit(queue, spec)
    admin.hset("{gan}:job:" + job_id, "ready_at", int((queue.now_s() - 1_536) * 1000))
    lease(queue)
    found = scrape()["queue_wait_seconds_bucket"]
    assert (found[("1500.0",)], found[("1800.0",)], found[("+Inf",)]) == (0, 1, 1)


def test_the_exporter_serves_these_and_what_its_own_process_takes(
    exporter_settings: Settings, unused_port: int, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Any]
) -> None:
    monkeypatch.setenv("GANSERVICE_BROKER_URL", exporter_settings.require_broker())
    monkeypatch.setenv("GANSERVICE_STORE_URL", exporter_settings.require_store())
    monkeypatch.setenv("GANSERVICE_EXPORTER_PORT", str(unused_port))

    def metrics() -> str:
        try:
            with urlopen(f"http://127.0.0.1:{unused_port}/metrics") as answer:
                return str(answer.read().decode())
        except URLError:
            return ""

    with subprocess.Popen(bound([sys.executable, "-m", "ganservice.exporter"])) as exporter:
        try:
            found = eventually(metrics)
        finally:
            exporter.terminate()
    assert "ganservice_broker_up 1.0" in found
    assert "process_resident_memory_bytes " in found


def test_bytes_of_the_store_are_told_by_kind_and_when_they_were_counted(
    scrape: Scrape, exporter_settings: Settings, store_settings: Settings, eventually: Callable[..., Any]
) -> None:
    key = ArtifactStore(store_settings).keep_weights(b"weights")
    found = eventually(lambda: (seen := scrape()) and "store_bytes" in seen and seen)
    held = [entry.bytes for entry in ObjectStore(exporter_settings).list_objects("weights/")]
    assert (found["store_bytes"][("weights",)], found["store_objects"][("weights",)]) == (sum(held), len(held))
    assert found["store_usage_age_seconds"][()] < 60
    assert set(found["store_bytes"]) == {(kind,) for kind in Kind}
    ObjectStore(store_settings).delete(key)
    assert scrape()["store_bytes"] == found["store_bytes"], "a bucket is not listed with each scrape"


def test_a_bucket_too_large_to_be_listed_has_no_bytes(
    exporter_settings: Settings,
    store_settings: Settings,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ArtifactStore(store_settings)
    for content in (b"first", b"second"):
        store.keep_weights(content)
    monkeypatch.setattr("ganservice.store_usage.MAX_OBJECTS", 1)
    usage = StoreUsage(exporter_settings)
    assert usage.look() is None
    eventually(lambda: "the store is not counted: it holds more than 1 objects" in caplog.text)
    assert usage.look() is None


def test_who_leads_and_what_the_cluster_has(scrape: Scrape, settings: Settings) -> None:
    cluster = Cluster(nodes=2, total=Capacity(cpus=8, gpus=2), free=Capacity(cpus=3, gpus=2))
    with Leadership(settings) as leadership:
        leadership.lead(cluster)
        found = scrape()
    assert (found["leader_up"], found["dispatchers_up"], found["cluster_nodes"]) == ({(): 1}, {(): 1}, {(): 2})
    assert found["cluster_cpus"] == {("held",): 5, ("free",): 3}
    assert found["cluster_gpus"] == {("held",): 0, ("free",): 2}
    assert found["dispatcher_lag_seconds"][()] < 60


def test_a_lease_that_nobody_reaps_shows(scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: Any) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    assert scrape()["reaper_lag_seconds"] == {(): 0}
    admin.hset("{gan}:job:" + job_id, "lease_expires_at", int((queue.now_s() - 40) * 1000))
    assert scrape()["reaper_lag_seconds"][()] == pytest.approx(40, abs=10)


def test_a_broker_that_is_away_is_told(unused_port: int, exporter_settings: Settings) -> None:
    url = SecretStr(f"redis://127.0.0.1:{unused_port}/0")
    found = families(exporter_settings.model_copy(update={"broker_url": url}))
    assert found["ganservice_broker_up"].samples[0].value == 0
    assert "ganservice_jobs_submitted" not in found


def test_a_broker_that_is_silent_is_told_while_prometheus_waits(
    exporter_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It heard nothing at all, and took the exporter for down."""
    monkeypatch.setattr(exporter, "LOOK_LIMIT_S", 0.2)
    with silent_server() as port:
        url = SecretStr(f"redis://127.0.0.1:{port}/0")
        collector = JobCollector(exporter_settings.model_copy(update={"broker_url": url}))
        for _ in range(2):  # the second while the first look goes on
            text = collector.text()
            assert vars(collector)["_looking"].locked(), "it goes on waiting for an answer"
            assert "ganservice_broker_up 0" in text
            assert 'ganservice_outage{server="broker",kind="unreachable"} 1' in text
            assert "ganservice_scrape_seconds" in text


def kinds(found: Any, server: str) -> set[str]:
    """The kinds of outage that a scrape tells of a server."""
    samples = found["ganservice_outage"].samples
    return {each.labels["kind"] for each in samples if each.labels["server"] == server and each.value == 1}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", "unreachable"),
        ("READONLY You can't write against a read only replica.", "read_only"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "full"),
        ("BUSY Redis is busy running a script.", "busy"),
        ("NOAUTH Authentication required.", "refused"),
        ("SURPRISE", "failing"),
    ],
)
def test_every_outage_of_the_broker_is_told_by_its_kind(answer: str, kind: str, exporter_settings: Settings) -> None:
    with resp_server(lambda _: f"-{answer}\r\n".encode()) as port:
        found = families(exporter_settings.model_copy(update={"broker_url": SecretStr(f"redis://127.0.0.1:{port}/0")}))
    assert found["ganservice_broker_up"].samples[0].value == 0
    assert kinds(found, "broker") == {kind}


def test_a_broker_that_only_answers_is_not_up(exporter_settings: Settings, admin: Any) -> None:
    admin.config_set("maxmemory", 1)
    try:
        found = families(exporter_settings)
    finally:
        admin.config_set("maxmemory", 0)
    assert found["ganservice_broker_up"].samples[0].value == 0
    assert kinds(found, "broker") == {"full"}


def test_servers_that_work_are_in_no_outage(scrape: Scrape) -> None:
    assert set(scrape()["outage"].values()) == {0}


def test_an_unreadable_job_hides_no_other(scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: Any) -> None:
    good, *bad = (submit(queue, spec) for _ in range(4))
    for _ in range(4):
        lease(queue)
    broken = {"images_trained": "many", "leased_ms": "long", "checkpoint": "{}"}
    for job_id, (name, value) in zip(bad, broken.items(), strict=True):
        admin.hset("{gan}:job:" + job_id, name, value)
    assert {job_id for job_id, *_ in scrape()["job_info"]} == {good}
