"""Any valid spec and any hash of a job, through all that looks at jobs: nothing ends, and nothing hides the others."""

import hashlib
import io
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ganservice.cli.report import tell_story
from ganservice.errors import JobNotFound, RequestError, SpecInvalid
from ganservice.evaluation import best_of
from ganservice.exporter import JobCollector
from ganservice.job import Event, EventKind, Reason, State
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue, NewEvent
from ganservice.report_page import Story, report_page
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Resources, TrainSpec
from tests.any_spec import FIRST, hostile_trees, valid_specs
from tests.commands import Done
from tests.integration.attempts.in_process import InProcess, serve
from tests.integration.broker import Broker
from tests.integration.cluster import InMemoryCluster
from tests.integration.jobs import lease, report, submit
from workers.dispatch import demand, dispatcher
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.gang import Phase

MANY = hypothesis_settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def service(valkey: Broker, store_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A service whose dispatcher is the test."""
    with serve(valkey, store_settings, tmp_path_factory.mktemp("state")) as service:
        yield service


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    return valkey


@pytest.fixture(autouse=True)
def _every_round_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "LOOK_S", 0.0)
    monkeypatch.setattr(dispatcher, "LEASE_SHARE", 1e9)


def scrape(settings: Settings) -> str:
    return JobCollector(settings).text()


def page(queue: JobQueue, job_id: str) -> str:
    """The report of a job of which the store holds nothing yet."""
    evaluations, events = queue.evaluations(job_id), queue.events(job_id)
    best = best_of(evaluations)
    assert best is None
    job = queue.get(job_id)
    return report_page([Story(job, [], evaluations, events, [], [], 0)]) if job.training else ""


def well(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def look(service: InProcess, job_id: str) -> None:
    """Look at a job by every command that shows jobs, and as Prometheus does."""
    queue = service.queue()
    assert job_id in well(service.ganctl("list"))
    assert job_id in well(service.ganctl("list", "-o", "json"))
    assert json.loads(well(service.ganctl("show", job_id, "-o", "json")))["id"] == job_id
    assert job_id in well(service.ganctl("show", job_id))
    well(service.ganctl("events", job_id))
    page(queue, job_id)
    assert "ganservice_broker_up 1.0" in scrape(service.settings)


@MANY
@given(spec=valid_specs(), other=valid_specs())
def test_any_valid_spec_is_dispatched_shown_and_cancelled(
    service: InProcess, admin: redis.Redis, spec: TrainSpec | EvaluateSpec, other: TrainSpec | EvaluateSpec
) -> None:
    admin.flushdb()
    queue, cluster = service.queue(), InMemoryCluster(cpus=4, gpus=1)
    leader = Dispatcher(service.settings, cluster)
    ids = [queue.submit(each)[0] for each in (spec, other)]
    for _ in range(3):
        leader.tick()
        for gang in cluster.alive():
            gang.phase = Phase.RUNNING
    states = {job.id: job.state for job in queue.list_jobs()}
    assert set(states) == set(ids)
    assert set(states.values()) <= {State.QUEUED, State.RUNNING}
    for job_id in ids:
        look(service, job_id)
        well(service.ganctl("cancel", job_id, "--now"))
        assert queue.get(job_id).state is State.CANCELLED
    leader.tick()
    assert cluster.alive() == []
    assert "ganservice_broker_up 1.0" in scrape(service.settings)


WILD = st.sampled_from(
    ["", "-1", "1e400", "nan", "inf", "9" * 5_000, "1" + 400 * "0", "\x1b[2J", "[" * 5_000, "{}", "[]", "x" * 10**6,
     "null", "-9223372036854775809", "1.5", "٣", "{\"images\": 1e999}", "\\ud800"]
)  # fmt: skip
FIELDS = st.sampled_from(
    ["spec", "priority", "order", "attempt", "token", "cpus", "gpus", "submitted_at", "ready_at", "heartbeat_at",
     "leased_at", "lease_expires_at", "failures", "leased_ms", "images_trained", "resumed_images", "progress", "pulse",
     "checkpoint", "evaluation", "rollbacks", "message", "owner", "waiting_for", "format", "reason", "generator",
     "finished_at", "cancel_requested", "attempt_images", "id", "unplaceable", "evaluates", "evaluated_at",
     "evaluations_cpu_ms"]
)  # fmt: skip


@MANY
@given(damage=st.dictionaries(FIELDS, WILD, min_size=1, max_size=4), is_running=st.booleans())
def test_no_damaged_job_ends_a_round_a_scrape_or_a_list(
    service: InProcess, admin: redis.Redis, spec: TrainSpec, damage: dict[str, str], is_running: bool
) -> None:
    admin.flushdb()
    queue, cluster = service.queue(), InMemoryCluster(cpus=4)
    leader = Dispatcher(service.settings, cluster)
    bad = submit(queue, spec, priority="high", resources=Resources(cpus_per_worker=4 if is_running else 5))
    if is_running:
        leader.tick()
        cluster.gang(bad).phase = Phase.BROKEN
    for field, value in damage.items():
        admin.hset("{gan}:job:" + bad, field, value)
    good = submit(queue, spec)
    for _ in range(4):
        leader.tick()
    assert queue.get(good).state in (State.RUNNING, State.QUEUED)
    assert good in well(service.ganctl("list"))
    assert "ganservice_broker_up 1.0" in scrape(service.settings)
    look(service, good)


def test_bytes_that_are_no_text_hide_no_other_job(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    bad, good = submit(queue, spec), submit(queue, spec)
    admin.hset("{gan}:job:" + bad, "message", b"\xff\xfe\x00")
    admin.xadd("{gan}:logs:" + good, {"attempt": "1", "text": b"\xff"})
    assert [job.id for job in queue.list_jobs()] == [bad, good]
    assert [line.text for line in queue.logs(good)] == ["\ufffd"]


# One job that cannot be handled is failed, and the round goes on.


def fail_for(job_id: str, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Have a function, named with its module, raise for one job, which some argument of it names."""
    kept = pkgutil.resolve_name(function)

    def raising(*arguments: Any, **named: Any) -> Any:
        if job_id in str(arguments):
            raise OverflowError("on purpose")
        return kept(*arguments, **named)

    monkeypatch.setattr(function, raising)


def test_a_waiting_job_that_the_autoscaler_cannot_be_told_of_is_failed(
    settings: Settings,
    queue: JobQueue,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = InMemoryCluster(cpus=1)
    leader = Dispatcher(settings, cluster)
    bad = submit(queue, spec, resources=Resources(cpus_per_worker=3), priority="low")
    good = submit(queue, spec, resources=Resources(cpus_per_worker=2))

    def bundles(resources: Resources) -> Any:
        if resources.cpus == 3:
            raise OverflowError("on purpose")
        return demand.bundles(resources)

    monkeypatch.setattr(dispatcher, "bundles", bundles)
    leader.tick()
    job = queue.get(bad)
    assert (job.state, job.reason) == (State.FAILED, Reason.ERROR)
    assert job.message == "the dispatcher cannot handle it: OverflowError: on purpose"
    assert f"{bad}: cannot be handled" in caplog.messages
    assert queue.get(good).state is State.QUEUED
    assert cluster.requested[-1] == [{"CPU": 2.0}]


def test_a_gang_that_cannot_be_looked_at_fails_its_job_and_no_other(
    settings: Settings, queue: JobQueue, spec: TrainSpec, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = InMemoryCluster(cpus=2)
    leader = Dispatcher(settings, cluster)
    bad, good = submit(queue, spec), submit(queue, spec)
    leader.tick()

    def overflow(_: Any) -> None:
        raise OverflowError("on purpose")

    cluster.gang(bad).on_poll = overflow
    leader.tick()
    assert (queue.get(bad).state, queue.get(bad).reason) == (State.FAILED, Reason.ERROR)
    assert f"{bad}: cannot be handled" in caplog.messages
    assert [gang.name.job_id for gang in cluster.alive()] == [good]
    assert queue.get(good).state is State.RUNNING


def test_an_attempt_that_cannot_be_judged_is_reaped_all_the_same(
    queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = submit(queue, spec), submit(queue, spec)
    for _ in range(2):
        lease(queue)
    fail_for(bad, monkeypatch, "ganservice.queue.decide")
    assert sorted(queue.reap(queue.leases())) == sorted([bad, good])
    assert (queue.get(bad).state, queue.get(bad).reason) == (State.FAILED, Reason.ERROR)
    assert queue.get(good).state is State.QUEUED
    assert f"{bad}: cannot be judged" in caplog.messages


def test_a_job_whose_series_cannot_be_made_hides_no_other(
    service: InProcess, admin: redis.Redis, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.flushdb()
    queue = service.queue()
    bad, good = submit(queue, spec), submit(queue, spec)
    for _ in range(2):
        lease(queue)
    fail_for(bad, monkeypatch, "ganservice.exporter.job_series.add_quantities")
    found = scrape(service.settings)
    assert f'ganservice_job_attempts{{job_id="{good}"}} 1.0' in found
    assert "ganservice_broker_up 1.0" in found


def test_a_job_that_cannot_be_listed_hides_no_other(
    service: InProcess, admin: redis.Redis, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.flushdb()
    bad, good = submit(service.queue(), spec), submit(service.queue(), spec)
    admin.hset("{gan}:job:" + bad, "submitted_at", 1_000)

    def ago(at: float) -> str:
        if at == 1.0:
            raise OverflowError("on purpose")
        return "now"

    monkeypatch.setattr("ganservice.cli.job_rows.ago", ago)
    done = service.ganctl("list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ID", good]
    assert done.stderr == f"{bad} cannot be shown: OverflowError: on purpose\n"


@given(
    field=st.sampled_from(["owner", "token", "expires_at", "looked_at"]),
    value=st.sampled_from(["", "x", "-1", "1e400", "nan", "9" * 400, "9" * 5_000, b"\xff"]),
)
@MANY
def test_no_damage_to_what_is_said_of_the_leader_ends_a_scrape_or_a_round(
    service: InProcess, admin: redis.Redis, field: str, value: str | bytes
) -> None:
    admin.flushdb()
    cluster = InMemoryCluster(cpus=1)
    Dispatcher(service.settings, cluster).tick()
    admin.hset("{gan}:leader", field, value)
    admin.set("{gan}:cluster", "[" * 10_000)
    well(service.ganctl("list"))
    assert "ganservice_broker_up 1.0" in scrape(service.settings)
    Dispatcher(service.settings, cluster).tick()


# What is sent is bounded where it is kept.


@pytest.fixture
def bytes_of(admin: redis.Redis) -> Any:
    def count(stream: str, job_id: str) -> int:
        entries: Any = admin.xrange("{gan}:" + f"{stream}:{job_id}")
        return sum(len(str(value).encode()) + len(key) for _, fields in entries for key, value in fields.items())

    return count


def test_the_streams_of_a_job_are_bounded_in_bytes_whatever_is_sent(
    queue: JobQueue, spec: TrainSpec, bytes_of: Any
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    big = {"text": "x" * 3_000}
    for beat in range(15):
        queue.heartbeat(
            held,
            logs=[f"{beat} {place} " + "é" * 2_500 for place in range(200)],
            events=[NewEvent(EventKind.SAMPLES, big) for _ in range(60)],
        )
    assert 1_000_000 < bytes_of("logs", job_id) <= 1_500_000
    assert 300_000 < bytes_of("events", job_id) <= 500_000
    newest = queue.logs(job_id)[-1].text
    assert newest.startswith("14 199 é")
    assert newest.endswith("... (2,507 characters)")
    assert len(newest) == 2_000


def test_the_scripts_cut_what_a_worker_sends_past_the_client(
    queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    monkeypatch.setattr("ganservice.queue.cut", lambda text: text)
    monkeypatch.setattr("ganservice.queue._detail_text", lambda event: json.dumps(event.detail))
    kinds: list[Any] = ["x" * 100, "{gan}"]
    queue.heartbeat(
        held,
        logs=["a" + "é" * 10**5, *["line"] * 300],
        events=[
            NewEvent(EventKind.HEALTH, {"x": "\x1b" * 10**5}),
            *[NewEvent(EventKind.CHECKPOINT, {"bytes": "many"})] * 150,
        ],
    )
    lines = queue.logs(job_id)
    assert len(lines) == 200
    assert lines[0].text.startswith("aé")
    assert "\ufffd" not in lines[0].text, "no character is broken"
    events = queue.events(job_id)[2:]
    assert len(events) == 100
    assert set(events[0].detail) == {"cut"}
    assert events[0].detail["cut"].endswith("bytes)")
    queue.heartbeat(held, events=[NewEvent(kind, {}) for kind in kinds])
    assert len(queue.events(job_id)) == 102
    assert not [name for name in queue.totals() if "xxx" in name or "{" in name]


def test_entries_of_an_earlier_release_count_and_go(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    for number in range(10):
        admin.xadd("{gan}:logs:" + job_id, {"attempt": "1", "text": f"old {number}"})
    queue.heartbeat(held, logs=["new"])
    assert len(queue.logs(job_id)) == 11
    for _ in range(2):
        queue.heartbeat(held, logs=["é" * 2_000] * 200)
    for _ in range(2):
        queue.heartbeat(held, logs=["x" * 2_000] * 200)
    texts = [line.text for line in queue.logs(job_id)]
    assert not [text for text in texts if text.startswith("old")]
    assert "new" not in texts


def test_half_a_character_stops_no_heartbeat(queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.heartbeat(held, logs=["caf\udce9"], events=[NewEvent(EventKind.HEALTH, {"state": "\ud800"})])
    assert [line.text for line in queue.logs(job_id)] == ["caf?"]
    assert [event.detail for event in queue.events(job_id)][-1] == {"state": "?"}


def test_a_counter_that_is_full_holds_nobody_up(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    admin.hset("{gan}:totals", mapping={"images": 2**63 - 1, "attempts": 2**63 - 1, "submitted": "many"})
    held = lease(queue)
    queue.heartbeat(held, trained_images=2**52)
    queue.heartbeat(held, trained_images=2**200)
    assert queue.get(job_id).images_trained == 2**52
    assert queue.totals()["images"] == 2**63 - 1


# Ids, names and keys.


@pytest.mark.parametrize(
    "reference", ["../../etc/passwd", "caf\udce9", "x" * 100_000, "A", "a b", "a\n", "\x1b[2J", "none-*"]
)
@pytest.mark.parametrize(
    "command",
    [
        "show",
        "events",
        "logs",
        "cancel",
        "retry",
        "report",
        "wait",
        "fetch",
        "ls",
        "link",
        "watch",
        "evaluate",
        "run",
        "sample",
    ],
)
def test_what_is_no_word_for_a_job_is_told_in_one_line(service: InProcess, command: str, reference: str) -> None:
    done = service.ganctl(command, reference)
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert lines[0].isprintable()
    assert len(lines[0]) < 1_000


def test_an_id_that_is_no_word_is_looked_for_nowhere(queue: JobQueue) -> None:
    with pytest.raises(JobNotFound, match=r"no job has the id or name \.\./x"):
        queue.resolve("../x")


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x1b[2J", "a\nb", "\udce9"])
def test_an_idempotency_key_is_short_and_can_be_printed(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, key: str
) -> None:
    before = admin.dbsize()
    with pytest.raises(RequestError, match=r"^the idempotency key: found .*, expected up to 200 letters"):
        queue.submit(spec, key)
    assert admin.dbsize() == before


def test_a_spec_out_of_bounds_is_submitted_by_nobody(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    before = admin.dbsize()
    wild = Resources().model_copy(update={"cpus_per_worker": 10**400})
    with pytest.raises(SpecInvalid, match=r"resources.cpus_per_worker: found 1000"):
        submit(queue, spec, resources=wild)
    assert admin.dbsize() == before


def test_a_counter_or_a_leader_that_another_hand_wrote_is_passed_over(
    queue: JobQueue, admin: redis.Redis, settings: Settings, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    admin.hset("{gan}:totals", "x", "9" * 5_000)
    admin.hset("{gan}:evaluations_under_way:" + job_id, "e", "many")
    admin.zadd("{gan}:state:running", {"nobody": float("inf")})
    admin.xadd("{gan}:events:" + job_id, {"attempt": "1", "kind": "x", "detail": "[" * 100_000})
    admin.xadd("{gan}:logs:" + job_id, {"words": "no text"})
    assert "x" not in queue.totals()
    assert queue.evaluations_under_way(job_id) == set()
    assert queue.leases()["nobody"] > 0
    assert [type(event) for event in queue.events(job_id)] == [Event]
    assert queue.logs(job_id) == []
    assert Leadership(settings).leader() is None


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=hostile_trees())
def test_a_hostile_spec_is_refused_with_one_line_and_nothing_is_written(
    service: InProcess, admin: redis.Redis, tmp_path: Path, tree: dict[str, Any]
) -> None:
    admin.flushdb()
    path = tmp_path / "spec.yaml"
    path.write_text(json.dumps(tree))
    done = service.ganctl("submit", str(path))
    # What is valid all the same names a data set that the store does not hold.
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert line.isprintable()
    assert len(line) < 1_200
    assert admin.dbsize() == 0


def test_a_spec_may_come_from_standard_input(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    points = next(tree for tree in FIRST if tree["name"] == "mixture")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(points).encode())))
    assert "mixture" in well(service.ganctl("submit", "-", "--dry-run"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"name: \xff")))
    service.refused(2, "standard input: is not YAML: expected UTF-8", "submit", "-")


# What another hand wrote into the store.


def test_a_report_passes_over_lines_that_are_none(service: InProcess, admin: redis.Redis, spec: TrainSpec) -> None:
    admin.flushdb()
    job_id = submit(service.queue(), spec)
    good = report(64).model_dump_json()
    lines = [b"\xff", b"[" * 100_000, good.replace("64", "1" * 400).encode(), b'{"images": NaN}', good.encode(), b""]
    service.store.objects.put(f"jobs/{job_id}/attempts/0001/metrics/000000000064.jsonl", b"\n".join(lines))
    assert [progress.images for progress in tell_story(service.queue(), service.store, job_id).history] == [64]


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"[" * 100_000, b"# format " + b"9" * 5_000 + b"\nname: x", b"x" * 3_000_000, b""]
)
def test_a_stored_spec_that_is_none_is_told_in_one_line(service: InProcess, data: bytes) -> None:
    job_id = f"strange-{hashlib.sha256(data).hexdigest()[:6]}"
    service.store.objects.put(f"jobs/{job_id}/spec.yaml", data)
    with pytest.raises(SpecInvalid) as caught:
        service.store.get_spec(job_id)
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"jobs/{job_id}/spec.yaml: ")
