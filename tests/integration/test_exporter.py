"""What Prometheus is given, from a real broker and a real store."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from ganservice.artifacts import ArtifactStore
from ganservice.evaluation import Evaluation, Protocol
from ganservice.exporter import FINISHED_JOB_SERIES_S, JobCollector
from ganservice.job import Activity, Capacity, Checkpoint, EventKind, Health, Outcome, Progress, Pulse, Reason
from ganservice.leadership import Cluster, Leadership
from ganservice.metrics import JOB, JOB_SERIES, PREFIX, SERVICE_SERIES
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue, NewEvent
from ganservice.roles import Role
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Judging, Subject, TrainSpec
from ganservice.store_kinds import Kind
from ganservice.store_usage import StoreUsage
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, lease, submit
from tests.integration.store import as_role
from tests.integration.strangers import resp_server

# Every measure there is, so that the bound on series is held to the most there can be.
MEASURES = [
    "frechet_distance", "kernel_distance", "score", "precision", "recall", "density", "coverage", "modes",
    "class_divergence", "gan_test_accuracy", "gan_train_accuracy", "copying_score", "near_copies", "duplicate_pairs",
    "support",
]  # fmt: skip
PROGRESS = Progress(
    images=640, step=10, loss_g=0.7, loss_d=1.3, score_real=0.4, score_fake=-0.4, d_real=0.6, d_fake=0.4, value=-1.3,
    modes=3, good_share=0.5, diversity=0.9, health=Health.SUSPECT, grad_norm_g=1.0, grad_norm_d=2.0,
    images_per_s=100.0, step_s=0.6, stall_s=0.25, used_cpus=1.5, memory_bytes=10**9, gpu_memory_bytes=10**8,
    gpu_busy=0.8,
)  # fmt: skip
PULSE = Pulse(activity=Activity.TRAINING, images=704, images_per_s=15.0)
Scrape = Callable[[], dict[str, dict[tuple[str, ...], float]]]


@pytest.fixture
def both(settings: Settings, store_settings: Settings, broker: Broker) -> Settings:
    """Of the broker and the store, with the rights of an exporter."""
    names = ("store_url", "store_access_key", "store_secret_key")
    both = settings.model_copy(update={name: getattr(store_settings, name) for name in names})
    return as_role(Role.EXPORTER, broker.as_user("gan-exporter", both))


@pytest.fixture
def scrape(both: Settings) -> Scrape:
    """Every sample the exporter gives now: by name, then by the values of its labels, the job's id first."""
    registry = CollectorRegistry()
    registry.register(JobCollector(both))

    def samples() -> dict[str, dict[tuple[str, ...], float]]:
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                name = sample.name.removeprefix(f"{PREFIX}_")
                labels = sorted(sample.labels, key=lambda label: label != "job_id")
                found.setdefault(name, {})[tuple(sample.labels[label] for label in labels)] = sample.value
        return found

    return samples


def train(queue: JobQueue, spec: TrainSpec) -> str:
    """A job that has done all a job can do, and still runs."""
    job_id = submit(queue, spec)
    held = lease(queue)
    checkpoint = Checkpoint(key="c", images=640, bytes=1_000, seconds=0.25)
    told = NewEvent(EventKind.CHECKPOINT, checkpoint.model_dump())
    queue.heartbeat(
        held, PROGRESS, pulse=PULSE, trained_images=640, resumed_images=0, checkpoint=checkpoint, events=[told]
    )
    subject = Subject(job_id=job_id, images=640, checkpoint="c")
    queue.submit(EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging()))
    protocol = Protocol(
        data_digest="d", only=None, split="train", real=10, network="classifier", network_digest="n", resize="none",
        samples=100, seed=0, truncation=None, neighbours=5, block=10,
    )  # fmt: skip
    found = Evaluation(
        job_id=job_id, images=640, checkpoint="c", errors={}, seconds=1.0, at=0.0, by="e", protocol=protocol,
        measures={f"classifier_{name}": 0.5 for name in MEASURES},
    )  # fmt: skip
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    return job_id


def test_an_empty_queue_has_its_series_and_no_job_has_any(scrape: Scrape) -> None:
    found = scrape()
    assert found["broker_up"] == {(): 1}
    assert found["leader_up"] == {(): 0}
    assert found["queue_depth"] == {("low",): 0, ("normal",): 0, ("high",): 0}
    assert found["submitted_total"] == {(): 0}
    # A counter that appears with its first count hides it from Prometheus.
    assert found["retries_total"][("lease_expired",)] == 0
    assert found["jobs_finished_total"] == {("succeeded",): 0, ("failed",): 0, ("cancelled",): 0}
    assert not [name for name in found if name.startswith("job_")]
    assert "state_disk_free_bytes" not in found, "there is no embedded stack here"


def test_a_job_that_does_all_a_job_can_do(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, eventually: Callable[..., Any]
) -> None:
    job_id = train(queue, spec)
    found = eventually(lambda: (seen := scrape()) and "store_up" in seen and seen)
    job = {name: values for name, values in found.items() if name.startswith("job_")}
    names = {metric.name if metric.kind != "counter" else f"{metric.name}_total" for metric in JOB}
    assert set(job) == names, "every metric of a job is given, and no other"
    assert job["job_loss"] == {
        (job_id, "generator"): 0.7, (job_id, "discriminator"): 1.3
    }  # fmt: skip
    assert {state: value for (_, state), value in job["job_health"].items()} == {
        "ok": 0, "suspect": 1, "collapsed": 0, "diverged": 0
    }  # fmt: skip
    assert job["job_trained_images_total"] == {(job_id,): 640}
    assert (job["job_images"], job["job_images_per_second"]) == ({(job_id,): 704}, {(job_id,): 15.0})
    assert job["job_checkpoint_age_seconds"][(job_id,)] < 60
    assert found["store_up"] == {(): 1}
    assert found["queue_wait_seconds_count"] == {(): 2}
    assert found["start_seconds_bucket"][("+Inf",)] == found["start_seconds_count"][()] == 1
    assert (found["checkpoints_total"][()], found["checkpoints_bytes_total"][()]) == (1, 1_000)
    assert found["checkpoints_seconds_total"][()] == 0.25
    assert found["evaluations_total"][()] == 1


def test_bytes_of_the_store_are_told_by_kind_and_when_they_were_counted(
    scrape: Scrape, both: Settings, store_settings: Settings, eventually: Callable[..., Any]
) -> None:
    key = ArtifactStore(store_settings).keep_weights(b"weights")
    found = eventually(lambda: (seen := scrape()) and "store_bytes" in seen and seen)
    held = [entry.bytes for entry in ObjectStore(both).list_objects("weights/")]
    assert (found["store_bytes"][("weights",)], found["store_objects"][("weights",)]) == (sum(held), len(held))
    assert found["store_usage_age_seconds"][()] < 60
    assert set(found["store_bytes"]) == {(kind,) for kind in Kind}
    ObjectStore(store_settings).delete(key)
    assert scrape()["store_bytes"] == found["store_bytes"], "a bucket is not listed with each scrape"


def test_a_bucket_too_large_to_be_listed_has_no_bytes(
    both: Settings,
    store_settings: Settings,
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ArtifactStore(store_settings)
    for content in (b"first", b"second"):
        store.keep_weights(content)
    monkeypatch.setattr("ganservice.store_usage.MAX_OBJECTS", 1)
    usage = StoreUsage(both)
    assert usage.look() is None
    eventually(lambda: "the store is not counted: it holds more than 1 objects" in caplog.text)
    assert usage.look() is None


def test_the_number_of_series_is_bounded(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, eventually: Callable[..., Any]
) -> None:
    train(queue, spec)
    for priority in range(101):
        submit(queue, spec, priority=priority)
    found = eventually(lambda: (seen := scrape()) and {"store_bytes", "store_up"} <= set(seen) and seen)
    series = Counter("job" if name.startswith("job_") else "service" for name in found for _ in found[name])
    jobs = len(found["job_info"])
    assert jobs == 2
    assert series["service"] <= SERVICE_SERIES
    per_job = Counter(labels[0] for name in found if name.startswith("job_") for labels in found[name])
    assert max(per_job.values()) <= JOB_SERIES
    assert max(per_job.values()) > 0.8 * JOB_SERIES, "the bound is no wild guess"


def test_what_was_not_measured_has_no_series(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    held = lease(queue)
    assert "job_loss" not in scrape()
    plain = PROGRESS.model_copy(update={"d_real": None, "d_fake": None, "diversity": None, "gpu_busy": None})
    queue.heartbeat(held, plain)
    found = scrape()
    for name in ("job_discriminator_probability", "job_diversity_ratio", "job_gpu_busy_ratio", "job_quality"):
        assert name not in found
    assert found["job_images"] == {(held.job_id,): 640}


def test_a_job_that_waits_for_its_servers_says_so(scrape: Scrape, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held, seen = lease(queue), []
    for waits_for in (None, "the store (full)"):
        queue.heartbeat(held, pulse=PULSE.model_copy(update={"waits_for": waits_for}))
        seen.append(scrape()["job_waits"])
    assert seen == [{(job_id,): 0}, {(job_id,): 1}]


def test_a_job_that_has_ended_leaves_after_a_while(
    scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: Any
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, PROGRESS, pulse=PULSE, trained_images=640)
    queue.finish(held, SUCCESS)
    found = scrape()
    assert found["job_state"][(job_id, "succeeded")] == 1
    assert found["job_images"] == {(job_id,): 640}
    assert "job_images_per_second" not in found, "nothing goes on any more"
    gone_ms = (queue.now_s() - FINISHED_JOB_SERIES_S - 1) * 1000
    admin.zadd("{gan}:state:succeeded", {job_id: gone_ms})
    found = scrape()
    assert not [name for name in found if name.startswith("job_")]
    assert found["images_total"] == {(): 640}, "what was counted stays counted"


def test_who_leads_and_what_the_cluster_has(scrape: Scrape, settings: Settings) -> None:
    cluster = Cluster(nodes=2, total=Capacity(cpus=8, gpus=2), free=Capacity(cpus=3, gpus=2))
    with Leadership(settings) as leadership:
        leadership.lead(cluster)
        found = scrape()
    assert (found["leader_up"], found["dispatchers"], found["cluster_nodes"]) == ({(): 1}, {(): 1}, {(): 2})
    assert found["cluster_cpus"] == {("held",): 5, ("free",): 3}
    assert found["cluster_gpus"] == {("held",): 0, ("free",): 2}
    assert found["dispatcher_lag_seconds"][()] < 60


def test_a_lease_that_nobody_reaps_shows(scrape: Scrape, queue: JobQueue, spec: TrainSpec, admin: Any) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    assert scrape()["reaper_lag_seconds"] == {(): 0}
    admin.hset("{gan}:job:" + job_id, "lease_expires_at", int((queue.now_s() - 40) * 1000))
    assert scrape()["reaper_lag_seconds"][()] == pytest.approx(40, abs=10)


def test_a_broker_that_is_away_is_told(unused_port: int, both: Settings) -> None:
    url = SecretStr(f"redis://127.0.0.1:{unused_port}/0")
    families = {family.name: family for family in JobCollector(both.model_copy(update={"broker_url": url})).collect()}
    assert families["ganservice_broker_up"].samples[0].value == 0
    assert "ganservice_submitted" not in families


def kinds(found: Any, server: str) -> set[str]:
    """The kinds of outage that a scrape tells of a server."""
    samples = found["ganservice_outage"].samples
    return {each.labels["kind"] for each in samples if each.labels["server"] == server and each.value == 1}


def collect(settings: Settings) -> dict[str, Any]:
    return {family.name: family for family in JobCollector(settings).collect()}


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
def test_every_outage_of_the_broker_is_told_by_its_kind(answer: str, kind: str, both: Settings) -> None:
    with resp_server(lambda _: f"-{answer}\r\n".encode()) as port:
        found = collect(both.model_copy(update={"broker_url": SecretStr(f"redis://127.0.0.1:{port}/0")}))
    assert found["ganservice_broker_up"].samples[0].value == 0
    assert kinds(found, "broker") == {kind}


def test_a_broker_that_only_answers_is_not_up(both: Settings, admin: Any) -> None:
    admin.config_set("maxmemory", 1)
    try:
        found = collect(both)
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
