"""The library: what a program does with jobs that nobody trains, on a real broker and store."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ganservice import Client, JobHandle, load
from ganservice.artifacts import ArtifactStore
from ganservice.errors import (
    ArtifactMissing,
    BrokerOutage,
    DataMissing,
    IllegalTransition,
    JobNotFound,
    NotConfigured,
    OutageKind,
    RequestError,
    SpecInvalid,
)
from ganservice.evaluation import Evaluation
from ganservice.job import Activity, Health, Job, Lease, Outcome, Pulse, Reason, Rollback, State
from ganservice.job_end import JobCancelled, JobFailed, JobReserved, NotInTime
from ganservice.job_search import locate_generator
from ganservice.manifest import WEIGHTS, DataManifest, digests_of, identity
from ganservice.objects import ObjectStore
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, TrainSpec
from ganservice.spec_file import dump_spec
from tests.integration.broker import Broker
from tests.integration.bundles import FILES, publish
from tests.integration.jobs import SUCCESS, evaluation, lease, report, submit_evaluation
from tests.integration.store import put_files


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def store(bucket: Settings) -> ArtifactStore:
    """A bucket that holds the data set of the smallest spec."""
    store = ArtifactStore(bucket)
    put_digits(store, "digits", "a", "b")
    return store


def put_digits(store: ArtifactStore, name: str, *classes: str) -> None:
    """Store a data set of 100 pictures of the smallest spec."""
    files = {"train-images.npy": b"digits"}
    digests = digests_of(files)
    manifest = DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1, counts={"train": 100},
        classes=classes, class_counts=dict.fromkeys(classes, 50), source="a test",
    )  # fmt: skip
    put_files(store, files, manifest)


@pytest.fixture
def client(settings: Settings, bucket: Settings, store: ArtifactStore) -> Iterator[Client]:
    del store
    servers = {"broker_url": settings.broker_url, "user": settings.user, "cache_dir": settings.state_dir / "cache"}
    with Client(bucket.model_copy(update=servers)) as client:
        yield client


@pytest.fixture
def job(client: Client, spec: TrainSpec) -> JobHandle:
    return client.submit(spec)


def reported(store: ArtifactStore, queue: JobQueue, stored: list[int], newest: int) -> Lease:
    """Have an attempt store some reports, and send one more."""
    held = lease(queue)
    lines = b"".join(report(images).model_dump_json().encode() + b"\n" for images in stored)
    store.put_metrics(held, max(stored), lines)
    queue.heartbeat(held, report(newest))
    return held


def images(job: JobHandle) -> list[int]:
    return job.metrics().column("images")


# Submitting


def test_a_spec_is_a_file_a_dict_or_a_spec(client: Client, spec: TrainSpec, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec))
    tree = spec.model_dump(mode="json")
    assert isinstance(tree["recipe"]["generator"]["widths"], list)
    specs = [client.submit(source).get().spec for source in (spec, tree, path, str(path))]
    assert specs == [specs[0]] * 4
    assert specs[0].recipe.generator == spec.recipe.generator
    assert tree == spec.model_dump(mode="json"), "what is given stays as it is"


def test_values_are_replaced_by_their_keys(client: Client, spec: TrainSpec) -> None:
    job = client.submit(
        spec, name="mine", tags=("a", "b"), note="first", set={"recipe.generator.widths": [8, 8], "seed": 7}
    ).get()
    assert job.training
    assert (job.name, job.spec.tags, job.spec.note, job.training.seed) == ("mine", ("a", "b"), "first", 7)
    assert job.spec.recipe.generator.model_dump()["widths"] == (8, 8)
    # What is not named stays the spec's own.
    again = client.submit(job.training).get().spec
    assert (again.name, again.tags, again.note) == ("mine", ("a", "b"), "first")


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ({"imges": 1}, SpecInvalid, "the spec tiny: unknown key imges; did you mean images?"),
        ({"images.many": 1}, SpecInvalid, "the spec tiny: images.many: images holds a value, not further keys"),
        ({"seed": "one"}, SpecInvalid, 'seed: found "one", expected a valid integer'),
        ({"recipe.data.dataset": "nowhere"}, DataMissing, "the store holds no data set nowhere"),
        ({"recipe.batch_size": 200}, SpecInvalid, "has 100 images"),
    ],
)
def test_a_mistake_is_one_line(
    client: Client, spec: TrainSpec, values: dict[str, object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as caught:
        client.submit(spec, set=values)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert client.list() == []


def test_what_is_asked_for_once_is_one_job(client: Client, spec: TrainSpec) -> None:
    assert client.submit(spec, once=True).id == client.submit(spec, once=True).id
    assert client.submit(spec, idempotency_key="k").id == client.submit(spec, idempotency_key="k").id
    assert len(client.list()) == 2
    with pytest.raises(RequestError, match="once: is a key of its own"):
        client.submit(spec, once=True, idempotency_key="k")
    with pytest.raises(RequestError, match="weights_only: expected together with origin"):
        client.submit(spec, weights_only=True)


def test_many_are_submitted_as_one_is(client: Client, spec: TrainSpec) -> None:
    specs = [spec.model_copy(update={"seed": seed}) for seed in (1, 2, 3)]
    jobs = client.submit_all(specs, idempotency_keys=["a", "b", "c"])
    assert [training.seed for job in jobs if (training := job.get().training)] == [1, 2, 3]
    assert client.submit(specs[1], idempotency_key="b").id == jobs[1].id
    once = client.submit_all([*specs, specs[0]], once=True)
    assert client.submit(specs[2], once=True).id == once[2].id
    assert once[0].id == once[3].id
    assert len(client.list()) == 6
    for wrong, says in (({"once": True, "idempotency_keys": ["a"]}, "once"), ({"idempotency_keys": ["a"]}, "found 1,")):
        with pytest.raises(RequestError, match=says):
            client.submit_all(specs, **wrong)
    with pytest.raises(SpecInvalid):
        client.submit_all([spec, {"name": "new", "recipe": "no recipe"}])
    assert len(client.list()) == 6, "of a mistake nothing is submitted"


def test_of_many_the_store_is_asked_once_for_what_they_share(
    client: Client, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, find = list[str](), ArtifactStore.find_data_set

    def counting(store: ArtifactStore, name: str, *about: Any) -> DataManifest:
        asked.append(name)
        return find(store, name, *about)

    monkeypatch.setattr(ArtifactStore, "find_data_set", counting)
    client.submit_all([spec.model_copy(update={"seed": seed}) for seed in range(5)])
    assert asked == ["digits"]


def test_a_job_runs_after_another(client: Client, spec: TrainSpec) -> None:
    first = client.submit(spec)
    second = client.submit(spec, after=first)
    assert client.submit(spec, after=second.id).get().after == second.id
    assert second.get().waits_for == f"{first.id} to succeed"
    first.cancel()
    assert second.get().message == f"cancelled: {first.id}, after which it is to run, is cancelled"
    with pytest.raises(RequestError, match="after which it is to run, is cancelled"):
        client.submit(spec, after=first)


def test_a_training_goes_on_from_another(
    client: Client, spec: TrainSpec, store: ArtifactStore, queue: JobQueue
) -> None:
    first = client.submit(spec)
    held = lease(queue)
    store.put_spec(first.id, dump_spec(spec))
    store.put_checkpoint(held, 64, b"weights")
    second = client.submit(spec, origin=f"{first.id}@final", set={"images": 128}).get()
    assert second.training
    assert second.training.start
    assert (second.training.start.job_id, second.training.start.images) == (first.id, 64)


# Finding


def test_jobs_are_listed_the_newest_first(client: Client, spec: TrainSpec) -> None:
    first, second, third = (client.submit(spec, name=name) for name in ("a", "b", "c"))
    second.cancel()
    assert [job.id for job in client.list()] == [third.id, second.id, first.id]
    assert [job.id for job in client.list(limit=1)] == [third.id]
    assert [job.id for job in client.list(states=["cancelled"])] == [second.id]
    assert [job.id for job in client.list(states=[State.QUEUED], user="ada", limit=1)] == [third.id]
    assert client.list(user="bob") == []
    with pytest.raises(RequestError, match="states: 'lost' is not a valid State; expected some of: queued, running"):
        client.list(states=["lost"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tags": "ab"}, 'tags: found "ab", expected a list: ["ab"]'),
        ({"states": "queued"}, 'states: found "queued", expected a list: ["queued"]'),
        ({"kind": "foo"}, "kind: found \"foo\", expected 'train' or 'evaluate'"),
        ({"since": "two days"}, "since: 'two days': expected a number with its unit, such as 45s, 90m, 12h or 30d"),
        ({"since": []}, "since: found [], expected a valid number or a valid string"),
        ({"limit": 0}, "limit: found 0, expected greater than or equal to 1"),
        ({"user": 5}, "user: found 5, expected a valid string"),
    ],
)
def test_what_cannot_be_listed_is_one_line(client: Client, given: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        client.list(**given)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_whose_jobs_and_since_when_is_told_as_to_ganctl(client: Client, job: JobHandle) -> None:
    assert [each.id for each in client.list(user="me", since="2d")] == [job.id]
    assert [each.id for each in client.list(since=job.get().submitted_at)] == [job.id]


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda client: client.submit(5), "spec: found 5, expected a spec file, a dict or a TrainSpec"),
        (lambda client: client.submit({}, set="seed=7"), 'set: found "seed=7", expected a valid dictionary'),
        (lambda client: client.submit({}, set={1: 7}), "set: found 1, expected a valid string"),
        (lambda client: client.submit({}, tags="lesson"), 'tags: found "lesson", expected a list: ["lesson"]'),
        (lambda client: client.get(None), "ref: found null, expected the id or name of a job, or a JobHandle"),
        (lambda client: client.load(5), "ref: found 5, expected the id or name of a job, or a JobHandle"),
        (
            lambda _: load(5),  # type: ignore[arg-type]
            "source: found 5, expected the id or name of a job, or a folder",
        ),
        (
            lambda client: client.fetch("tiny", checkpoint="foo"),
            "checkpoint: found \"foo\", expected 'best' or 'final'",
        ),
        (lambda client: client.wait("tiny", "soon"), 'timeout_s: found "soon", expected a valid number'),
    ],
)
def test_a_wrong_argument_is_one_line(client: Client, ask: Callable[[Client], object], says: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(client)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_name_of_no_argument_stays_python_s_own_mistake(client: Client) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'lable'"):
        client.list(lable="x")  # type: ignore[call-arg]


def test_jobs_are_found_by_what_is_known_of_them(client: Client, spec: TrainSpec) -> None:
    first, second = client.submit(spec, name="exp-1", tags=["a", "b"]), client.submit(spec, name="other", tags=["a"])
    assert [job.id for job in client.list(name="exp-*")] == [first.id]
    assert [job.id for job in client.list(tags=["a", "b"], kind="train")] == [first.id]
    assert client.list(kind="evaluate") == client.list(healths=["collapsed"]) == client.list(since=1e10) == []
    assert client.get("@last").id == second.id


def test_a_job_is_found_by_its_name_and_by_its_handle(client: Client, job: JobHandle) -> None:
    assert client.get("tiny").id == client.get(job).id == client.job(job.id[:-2]).id == job.id
    assert repr(job) == f"<JobHandle {job.id}>"
    with pytest.raises(JobNotFound, match="no job has the id or name nobody"):
        client.get("nobody")


def test_cancel_and_retry(job: JobHandle) -> None:
    with pytest.raises(IllegalTransition):
        job.retry()
    assert job.cancel() is State.CANCELLED
    job.retry()
    assert job.get().state is State.QUEUED


# Waiting


def test_who_waits_gets_the_job_that_succeeded(queue: JobQueue, job: JobHandle) -> None:
    held, ended = lease(queue), list[Job]()
    waiter = threading.Thread(target=lambda: ended.append(job.wait()))
    waiter.start()
    queue.finish(held, SUCCESS)
    waiter.join()
    assert [(each.id, each.state) for each in ended] == [(job.id, State.SUCCEEDED)]


def test_who_waits_is_told_of_another_end(client: Client, queue: JobQueue, spec: TrainSpec, job: JobHandle) -> None:
    with pytest.raises(NotInTime, match=r"is queued after 0 s") as late:
        job.wait(timeout_s=0)
    assert isinstance(late.value, TimeoutError)
    assert late.value.job.state is State.QUEUED
    queue.fail(job.id, "on purpose")
    with pytest.raises(JobFailed, match=f"{job.id} has failed: error: on purpose"):
        job.wait()
    other = client.submit(spec)
    other.cancel()
    with pytest.raises(JobCancelled, match=f"{other.id} is cancelled"):
        other.wait()


def test_a_ruined_success_is_none_for_who_asks_for_a_healthy_one(queue: JobQueue, job: JobHandle) -> None:
    held = lease(queue)
    queue.heartbeat(held, report(64).model_copy(update={"health": Health.COLLAPSED}))
    queue.finish(held, SUCCESS)
    assert job.wait().state is State.SUCCEEDED
    with pytest.raises(JobReserved, match="has succeeded with a reservation: collapsed: its samples were all") as told:
        job.wait(healthy=True)
    assert told.value.reservation.kind == "collapsed"


def test_a_broker_that_is_away_for_a_moment_is_asked_again_whether_anything_is_to_be_said(
    queue: JobQueue, job: JobHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.finish(lease(queue), SUCCESS)
    evaluations, outages = JobQueue.evaluations, iter([BrokerOutage("away", OutageKind.UNREACHABLE)])

    def look(asked: JobQueue, job_id: str) -> list[Evaluation]:
        for outage in outages:
            raise outage
        return evaluations(asked, job_id)

    monkeypatch.setattr(JobQueue, "evaluations", look)
    assert job.wait(healthy=True).state is State.SUCCEEDED


def test_an_evaluation_without_a_generator_is_no_unknown_job(
    settings: Settings, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, job: JobHandle
) -> None:
    asked = submit_evaluation(queue, spec, job.id, 64)
    queue.finish(queue.take(asked), Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation(job.id, 64, 2.5)))
    with pytest.raises(ArtifactMissing, match=f"{asked} is an evaluation and published no generator; name {job.id}"):
        locate_generator(settings, store, asked)


def test_a_broker_that_is_away_is_waited_for_as_long_as_was_said(settings: Settings) -> None:
    away = Client(settings.model_copy(update={"broker_url": Settings(broker_url="redis://127.0.0.1:9").broker_url}))
    with pytest.raises(BrokerOutage):
        JobHandle(away, "tiny-000000").wait(timeout_s=0.1)


# Metrics


def test_a_table_has_what_is_stored_and_the_newest_report(
    queue: JobQueue, store: ArtifactStore, job: JobHandle
) -> None:
    assert (job.metrics(), job.metrics().columns) == ([], [])
    reported(store, queue, [16, 32], 48)
    assert images(job) == [16, 32, 48]
    assert job.metrics()[-1]["loss_g"] == 0.7
    assert {"images", "step", "loss_d", "health", "gpu_busy"} < set(job.metrics().columns)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_table_is_there_however_a_job_ended(
    queue: JobQueue, store: ArtifactStore, job: JobHandle, state: State
) -> None:
    reported(store, queue, [16], 32)
    if state is State.FAILED:
        queue.fail(job.id, "on purpose")
    else:
        job.cancel(now=True)
    assert job.get().state is state
    assert images(job) == [16, 32]


def test_a_table_leaves_out_what_a_rollback_has_abandoned(
    queue: JobQueue, store: ArtifactStore, job: JobHandle
) -> None:
    held = reported(store, queue, [16, 32], 48)
    back = Rollback(attempt=1, images=16, checkpoint="c", from_images=48, lr_share=0.5, why="alike")
    queue.finish(held, Outcome(reason=Reason.ROLLED_BACK, message="alike", rollback=back))
    assert images(job) == [16]
    held = queue.take(job.id)
    assert images(job) == [16]
    queue.heartbeat(held, report(32), pulse=Pulse(activity=Activity.TRAINING, images=36))
    store.abandon(job.id, attempt=1, images=16)  # as the attempt does
    store.put_metrics(held, 16, report(16).model_dump_json().encode())
    assert images(job) == [16, 32]


def test_a_table_that_is_replaced_while_it_is_read_is_read_again(
    queue: JobQueue, store: ArtifactStore, job: JobHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = reported(store, queue, [16], 32)
    get = ObjectStore.get

    def replaced(objects: ObjectStore, key: str, *most: Any) -> bytes:
        monkeypatch.setattr(ObjectStore, "get", get)
        store.put_metrics(held, 32, b"".join(report(each).model_dump_json().encode() + b"\n" for each in (16, 32)), 16)
        return get(objects, key, *most)

    monkeypatch.setattr(ObjectStore, "get", replaced)
    assert images(job) == [16, 32]


def test_a_table_becomes_a_data_frame(queue: JobQueue, store: ArtifactStore, job: JobHandle) -> None:
    assert isinstance(job.metrics().to_pandas(), pd.DataFrame)
    reported(store, queue, [16, 32], 48)
    frame = job.metrics().to_pandas()
    assert list(frame.index) == [16, 32, 48]
    assert frame["loss_d"].mean() == pytest.approx(1.4)


def test_without_pandas_one_line_says_so(job: JobHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotConfigured, match="this takes pandas, which is not installed: pip install pandas"):
        job.metrics().to_pandas()


# What jobs made


def test_a_generator_comes_home(queue: JobQueue, store: ArtifactStore, job: JobHandle, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="is queued and has no generator yet"):
        job.fetch(tmp_path / "early")
    held = lease(queue)
    queue.finish(held, Outcome(reason=Reason.SUCCEEDED, generator=publish(store, held)))
    folder = job.fetch(tmp_path / "made")
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}


def test_the_newest_grid_is_at_hand(queue: JobQueue, store: ArtifactStore, job: JobHandle) -> None:
    assert job.grid() is None
    held = lease(queue)
    store.put_sample_grid(held, 16, b"old")
    store.put_sample_grid(held, 32, b"new")
    assert job.grid() == b"new"


@pytest.mark.parametrize("network", ["classifier", "pixels"])
@pytest.mark.parametrize("judge", [None, "classifier", "pixels"])
def test_a_judge_that_a_training_does_not_follow_advises_by_hand_too(
    client: Client, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, judge: str | None, network: str
) -> None:
    evaluate = judge and {"every_images": 50_000, "judging": {"network": judge, "measures": ["frechet"]}}
    changed = TrainSpec.model_validate(spec.model_dump(mode="json") | {"evaluate": evaluate})
    job = client.submit(changed)
    store.put_spec(job.id, dump_spec(changed))
    store.put_checkpoint(lease(queue), 64, b"weights")
    asked = job.evaluate(network=network, measures=["frechet"]).get().spec
    assert isinstance(asked, EvaluateSpec)
    assert asked.advisory == (judge is not None and judge != network)


@pytest.mark.parametrize("by_hand", ["a", "b"])
def test_another_file_is_another_judge(
    client: Client, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, by_hand: str
) -> None:
    own = {"source": "/judges/a.onnx", "sha256": 64 * "a"}
    evaluate = {"judging": {"network": "onnx", "weights": own, "measures": ["frechet"]}}
    changed = TrainSpec.model_validate(spec.model_dump(mode="json") | {"evaluate": evaluate})
    job = client.submit(changed)
    store.put_spec(job.id, dump_spec(changed))
    store.put_checkpoint(lease(queue), 64, b"weights")
    asked = job.evaluate(network="onnx", weights=f"/judges/{by_hand}.onnx", sha256=64 * by_hand).get().spec
    assert isinstance(asked, EvaluateSpec)
    assert asked.advisory == (by_hand != "a")


def test_no_classifier_judges_pictures_without_classes_by_hand_either(
    client: Client, queue: JobQueue, store: ArtifactStore, spec: TrainSpec
) -> None:
    put_digits(store, "plain")
    job = client.submit(spec, set={"recipe.data.dataset": "plain"})
    store.put_spec(job.id, dump_spec(job.get().spec))
    store.put_checkpoint(lease(queue), 64, b"weights")
    with pytest.raises(RequestError, match="network: found classifier, but of the data set plain there are no classes"):
        job.evaluate()
    assert job.evaluate(network="pixels", measures=["frechet"]).get().spec.kind == "evaluate"


def test_a_checkpoint_is_judged(
    client: Client, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, job: JobHandle, tmp_path: Path
) -> None:
    held = lease(queue)
    store.put_spec(job.id, dump_spec(spec))
    store.put_checkpoint(held, 64, b"weights")
    asked = job.evaluate(samples=200, measures=["frechet"]).get().spec
    assert isinstance(asked, EvaluateSpec)
    assert (asked.subject.images, asked.judging.samples, asked.judging.measures) == (64, 200, ("frechet",))
    with pytest.raises(RequestError, match="samples: found 3, expected greater than or equal to 100"):
        job.evaluate(samples=3)
    with pytest.raises(ArtifactMissing, match="it keeps checkpoints at 64 images"):
        job.evaluate(32)

    publish(store, held, {**FILES, WEIGHTS: b"weights"})
    queue.finish(held, SUCCESS.model_copy(update={"generator": store.find_generator(job.id)}))
    folder = job.fetch(tmp_path / "made")
    assert client.evaluate(folder).get().subject is not None
    assert job.evaluations() == []
    found = evaluation(job.id, 64, 1.0)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    assert job.evaluations() == [found]
