"""Jobs and data sets deleted from queue and store, and what nobody refers to, on real servers."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from ganservice.artifacts import ArtifactStore
from ganservice.code_folder import CodeFolder
from ganservice.deletion import delete_data_set, delete_job, list_stored_jobs
from ganservice.errors import ArtifactMissing, DataMissing, IllegalTransition, JobNotFound, RequestError, StoreOutage
from ganservice.evaluation import network_name, statistics_name
from ganservice.garbage import Policy, Why
from ganservice.garbage_collection import delete_garbage, find_garbage, known_jobs, policy_of
from ganservice.job import Lease, Outcome, Reason, State
from ganservice.judging import Judging
from ganservice.manifest import DataManifest, digests_of, identity
from ganservice.networks import code_key
from ganservice.queue import JobQueue
from ganservice.recipe import Recipe
from ganservice.settings import Settings
from ganservice.spec import Evaluate, EvaluateSpec, Start, Subject, TrainSpec
from ganservice.spec_file import dump_spec
from ganservice.sweep import SweepSpec
from tests.integration.broker import Broker
from tests.integration.bundles import publish
from tests.integration.jobs import evaluation, lease, submit, submit_evaluation, submit_sweep
from tests.integration.store import put_files, raw_client

# As if all had been stored long ago.
NOW = Policy(grace_s=-60, unreferenced_s=-60, generators_s=None, reports=2)


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what scripts do is tested on both elsewhere."""
    return valkey


def keys(store: ArtifactStore) -> set[str]:
    return {entry.key for entry in store.objects.list_objects("")}


def train(queue: JobQueue, store: ArtifactStore, spec: TrainSpec, reason: Reason = Reason.SUCCEEDED) -> str:
    """A finished job with all that one stores."""
    submit(queue, spec)
    held = lease(queue)
    store.put_spec(held.job_id, dump_spec(spec))
    store.put_checkpoint(held, 64, b"weights")
    store.put_metrics(held, 64, b"{}")
    store.put_sample_grid(held, 64, b"png")
    store.put_report(held.job_id, b"page")
    generator = publish(store, held) if reason is Reason.SUCCEEDED else None
    queue.finish(held, Outcome(reason=reason, generator=generator))
    return held.job_id


def expire(admin: redis.Redis, job_id: str) -> None:
    """The queue forgets a job, as after 30 days."""
    for kind in ("job", "events", "logs", "evaluations", "evaluations_under_way"):
        admin.delete(f"{{gan}}:{kind}:{job_id}")


def put_data_set(store: ArtifactStore, name: str, content: bytes) -> DataManifest:
    files = {"train-images.npy": content}
    digests = digests_of(files)
    manifest = DataManifest(
        files=digests, name=name, digest=identity(digests), image_size=8, channels=1,
        counts={"train": 1}, classes=(), class_counts={}, source="a test",
    )  # fmt: skip
    put_files(store, files, manifest)
    return manifest


def bound(spec: TrainSpec, manifest: DataManifest) -> TrainSpec:
    """A spec that learns a data set."""
    pictures = spec.recipe.pictures
    assert pictures
    data = pictures.model_copy(update={"dataset": manifest.name, "digest": manifest.digest})
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"data": data})})


# A job


def test_a_job_is_deleted_from_queue_and_store(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    other = train(queue, store, spec)
    kept = keys(store)
    job_id = train(queue, store, spec)
    amount = delete_job(queue, store, job_id)
    assert amount.objects == 9
    assert amount.bytes > 9
    assert keys(store) == kept
    assert queue.list_ids() == {other}
    with pytest.raises(JobNotFound, match=f"neither the queue nor the store knows a job {job_id}"):
        delete_job(queue, store, job_id)


def test_what_is_in_the_queue_is_not_touched(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    submit(queue, spec)
    held = lease(queue)
    store.put_checkpoint(held, 64, b"weights")
    with pytest.raises(IllegalTransition, match="cancel"):
        delete_job(queue, store, held.job_id)
    assert keys(store)


def test_a_deletion_that_was_interrupted_is_finished_by_a_repeat(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = train(queue, store, spec)
    delete, deleted = store.objects.delete, list[str]()

    def dies(key: str) -> None:
        if len(deleted) == 2:
            raise StoreOutage("killed")
        deleted.append(key)
        delete(key)

    with monkeypatch.context() as patch:
        patch.setattr(store.objects, "delete", dies)
        with pytest.raises(StoreOutage):
            delete_job(queue, store, job_id)
    assert deleted[0].endswith("/generator/manifest.json"), "nobody finds half a generator"
    with pytest.raises(ArtifactMissing):
        store.find_generator(job_id)
    assert delete_job(queue, store, job_id).objects == 7
    assert keys(store) == set()


def test_a_job_that_only_the_store_knows_is_listed_and_deleted(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = train(queue, store, spec)
    assert list_stored_jobs(queue, store) == []
    expire(admin, job_id)
    [found] = list_stored_jobs(queue, store)
    assert (found.id, found.objects, found.has_generator) == (job_id, 9, True)
    assert time.time() - found.modified_at < 600
    assert delete_job(queue, store, job_id).objects == 9
    assert list_stored_jobs(queue, store) == []


@pytest.mark.parametrize("name", ["", "..", "a/attempts/0001", "a-1/", "/", "A"])
def test_no_name_deletes_what_is_no_job(name: str, queue: JobQueue, store: ArtifactStore) -> None:
    store.objects.put("jobs/a/attempts/0001/samples/1.png", b"png")
    with pytest.raises(JobNotFound):
        delete_job(queue, store, name)
    assert len(keys(store)) == 1


def test_the_generator_that_a_training_refers_to_stays(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    training = train(queue, store, spec)
    judge = submit_evaluation(queue, spec, training, 64)
    held = lease(queue)
    folder = publish(store, Lease(job_id=judge, attempt=1, token=1, lease_s=30, spec=spec))
    found = evaluation(training, 64, 1.0, by=judge).model_copy(update={"generator": folder})
    queue.finish(held, Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    for _ in range(2):
        with pytest.raises(IllegalTransition, match=f"{training} refers to its generator; delete {training} first"):
            delete_job(queue, store, judge)
        expire(admin, judge)  # and so it is for one that only the store knows
    delete_job(queue, store, training)
    assert delete_job(queue, store, judge).objects == 4


# A data set


def test_a_data_set_is_deleted_and_no_other(queue: JobQueue, store: ArtifactStore) -> None:
    first, second = put_data_set(store, "digits", b"first"), put_data_set(store, "digits", b"second")
    other = put_data_set(store, "digits-8", b"third")
    with pytest.raises(RequestError, match=rf"several data sets digits: .*digits@{first.digest[:12]}.*; say which"):
        delete_data_set(queue, store, "digits")
    digest, amount = delete_data_set(queue, store, "digits", first.digest[:12])
    assert (digest, amount.objects) == (first.digest, 1)
    assert store.find_data_set("digits").digest == second.digest
    delete_data_set(queue, store, "digits")
    assert [manifest.name for manifest in store.list_data_sets()] == [other.name]
    for name in ("digits", "../digits-8", "", "digits-8/" + other.digest):
        with pytest.raises(DataMissing):
            delete_data_set(queue, store, name)
    assert len(keys(store)) == 2


def test_a_data_set_that_a_job_uses_stays(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    manifest = put_data_set(store, "digits", b"first")
    job_id = submit(queue, bound(spec, manifest))
    with pytest.raises(RequestError, match=f"data set digits is used by {job_id}, which is in the queue"):
        delete_data_set(queue, store, "digits")
    lease(queue)
    with pytest.raises(RequestError, match=job_id):
        delete_data_set(queue, store, "digits")
    queue.cancel(job_id, now=True)
    delete_data_set(queue, store, "digits")


def test_a_job_that_cannot_be_read_may_use_any_data_set(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    put_data_set(store, "digits", b"first")
    job_id = submit(queue, spec)
    admin.hset(f"{{gan}}:job:{job_id}", "spec", '{"of": "a later release"}')
    with pytest.raises(RequestError, match=job_id):
        delete_data_set(queue, store, "digits")


def test_a_data_set_comes_back_for_a_job_that_was_submitted_meanwhile(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = put_data_set(store, "digits", b"first")
    delete = store.objects.delete

    def submits(key: str) -> None:
        delete(key)
        submit(queue, bound(spec, manifest))

    monkeypatch.setattr(store.objects, "delete", submits)
    with pytest.raises(RequestError, match="is used by"):
        delete_data_set(queue, store, "digits")
    assert store.find_data_set("digits") == manifest


def test_a_data_set_that_is_stored_again_is_young(
    queue: JobQueue, store: ArtifactStore, eventually: Callable[..., Any]
) -> None:
    manifest = put_data_set(store, "digits", b"first")
    folder = f"data/digits/{manifest.digest}/"
    store.objects.delete(folder + "manifest.json")  # as if it had been interrupted then
    garbage = find_garbage(queue, store, NOW)
    assert [found.why for found in garbage.objects] == [Why.HALF]
    # The store tells the time of an object in whole seconds.
    before = store.objects.modified_at(folder + "train-images.npy")
    eventually(
        lambda: (
            put_data_set(store, "digits", b"first") and store.objects.modified_at(folder + "train-images.npy") > before
        )
    )
    store.objects.delete(folder + "manifest.json")
    delete_garbage(queue, store, garbage)
    assert keys(store) == {folder + "train-images.npy"}


# What nobody refers to


def collect(queue: JobQueue, store: ArtifactStore, policy: Policy = NOW) -> set[str]:
    """The keys of all that was deleted."""
    before = keys(store)
    delete_garbage(queue, store, find_garbage(queue, store, policy))
    return before - keys(store)


def test_what_a_forgotten_job_left_goes_but_for_its_generator(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    kept, gone = train(queue, store, spec), train(queue, store, spec)
    expire(admin, gone)
    before = keys(store)
    collected = collect(queue, store)
    assert all(key.startswith(f"jobs/{gone}/") for key in collected)
    assert {key for key in before - collected if key.startswith(f"jobs/{gone}/")} == {
        f"jobs/{gone}/spec.yaml",
        *(key for key in before if key.startswith(f"jobs/{gone}/attempts/0001/generator/")),
    }
    store.find_generator(gone)
    assert len([key for key in keys(store) if kept in key]) == 9
    assert collect(queue, store) == set()
    assert len(collect(queue, store, replace(NOW, generators_s=-60))) == 5


def test_what_is_young_always_stays(queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis) -> None:
    expire(admin, train(queue, store, spec))
    store.keep_weights(b"weights")
    settings = Settings(keep_unreferenced_s=1)
    assert collect(queue, store, policy_of(settings)) == set()
    assert collect(queue, store, policy_of(settings, older_than_s=0)) == set()


def test_what_jobs_name_stays(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    start, sha256 = store.keep_start(store.put_checkpoint(_lease("old-000000", spec), 64, b"start").key)
    weights = store.keep_weights(b"weights")
    manifest = put_data_set(store, "digits", b"first")
    of_stacks = network_name(manifest.digest, None, stacked=True)
    for name in (network_name(manifest.digest, None), of_stacks, "other"):
        store.keep_derived("networks", name, b"network")
    named = bound(spec, manifest).model_copy(
        update={"start": Start(job_id="old-000000", images=64, checkpoint=start, sha256=sha256, weights_only=True)}
    )
    job_id = submit(queue, named)
    subject = Subject(job_id=job_id, images=64, checkpoint=weights)
    queue.submit(EvaluateSpec(name="e", recipe=named.recipe, subject=subject, judging=Judging()))
    assert collect(queue, store) == {
        "networks/other.safetensors",
        "jobs/old-000000/attempts/0001/checkpoints/000000000064.pt",
    }


def test_the_code_that_jobs_name_stays(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    named, other = (CodeFolder(name=name, files={"a.py": ""}) for name in ("named", "other"))
    own = {"kind": "own", "function": "a"}
    recipe = spec.recipe.model_dump(mode="json") | {"discriminator": own}
    recipe["code"] = {"folder": "named", "digest": store.put_code(named)}
    submit(queue, spec.model_copy(update={"recipe": Recipe.model_validate(recipe)}))
    assert store.get_code(named.digest) == named
    gone = code_key(store.put_code(other))
    assert gone in collect(queue, store)
    assert store.get_code(named.digest) == named
    with pytest.raises(DataMissing, match="submit the spec again"):
        store.get_code(other.digest)


def test_what_a_sweep_names_stays_before_its_first_job_is_there(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    manifest, code = put_data_set(store, "digits", b"first"), CodeFolder(name="named", files={"a.py": ""})
    recipe = bound(spec, manifest).recipe.model_dump(mode="json") | {"discriminator": {"kind": "own", "function": "a"}}
    recipe["code"] = {"folder": "named", "digest": store.put_code(code)}
    base = spec.model_copy(update={"recipe": Recipe.model_validate(recipe), "evaluate": Evaluate()})
    factor = {"kind": "listed", "key": "recipe.d_steps", "values": [1, 2]}
    sweep_id = submit_sweep(queue, SweepSpec.model_validate({"base": base, "factors": [factor]}))
    train(queue, store, spec, Reason.DATA)  # a queue that never had a job is not the store's
    put_data_set(store, "digits", b"second")
    collect(queue, store, replace(NOW, superseded_data=True))
    assert store.get_code(code.digest) == code
    assert store.find_data_set("digits", manifest.digest) == manifest
    with pytest.raises(RequestError, match=f"data set digits is used by {sweep_id}"):
        delete_data_set(queue, store, "digits", manifest.digest[:12])
    admin.hset(f"{{gan}}:sweep:{sweep_id}", "spec", '{"of": "a later release"}')
    with pytest.raises(RequestError, match=sweep_id):
        delete_data_set(queue, store, "digits", manifest.digest[:12])
    assert None in [job.state for job in known_jobs(queue)]


def test_networks_that_jobs_in_the_queue_name_stay(queue: JobQueue, spec: TrainSpec) -> None:
    def weights(digit: str) -> dict[str, str]:
        return {"source": f"networks/{digit * 64}.onnx", "sha256": digit * 64}

    judging = Judging.model_validate({"network": "onnx", "weights": weights("1")})
    subject = Subject(job_id="gone-1", images=64, checkpoint="c")
    evaluation_id, _ = queue.submit(EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=judging))
    also = [{"network": "inception_v3", "weights": weights("2")}]
    training = submit(queue, spec, evaluate=Evaluate.model_validate({"judging": judging, "also": also}))
    named = {job.id: {key for key in job.refers if key.endswith(".onnx")} for job in known_jobs(queue)}
    one, two = (weights(digit)["source"] for digit in "12")
    assert named == {evaluation_id: {one}, training: {one, two}}


def test_what_an_evaluation_saw_real_pictures_as_stays(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    training = train(queue, store, spec)
    submit_evaluation(queue, spec, training, 64)
    found = evaluation(training, 64, 1.0)
    queue.finish(lease(queue), Outcome(reason=Reason.SUCCEEDED, evaluation=found))
    seen = found.protocol
    for split in ("train", "test"):
        name = statistics_name(seen.data_digest, seen.only, split, seen.network_digest, seen.resize)
        store.keep_derived("statistics", name, b"features")
    store.keep_derived("statistics", "other", b"features")
    assert collect(queue, store) == {"statistics/other.safetensors"}


def test_the_names_of_what_is_derived_are_those_of_earlier_releases() -> None:
    assert network_name("d", None) == "47a44b801547525c02a21139a60e7d4dd831316c2e78300d0d0e6b8edb1ed997"
    assert (
        statistics_name("d", ("a",), "train", "n", "none")
        == "a8bece4ad1dc0c317496812b9f421a9f1078c4d819b0084f8f62bdf737d9efb4"
    )


@pytest.mark.parametrize("change", ["retried", "submitted", "stored again", "judged"])
def test_who_comes_between_look_and_deletion_loses_nothing(
    change: str, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    failed = train(queue, store, spec, Reason.DATA)
    forgotten = train(queue, store, spec, Reason.DATA)
    expire(admin, forgotten)
    [checkpoint] = store.checkpoint_keys(forgotten)
    kept = {
        "retried": store.checkpoint_keys(failed)[0],
        "submitted": store.keep_weights(b"weights"),
        "stored again": store.keep_start(checkpoint)[0],
        "judged": checkpoint,
    }[change]
    garbage = find_garbage(queue, store, NOW)
    assert kept in {found.object.key for found in garbage.objects}
    if change == "retried":
        queue.retry(failed)
    elif change == "judged":
        submit_evaluation(queue, spec, forgotten, 64)
    else:
        # The store tells the time of an object in whole seconds.
        age = store.objects.modified_at(kept)
        while store.objects.modified_at(kept) == age:
            assert kept in (store.keep_weights(b"weights"), store.keep_start(checkpoint)[0])
    delete_garbage(queue, store, garbage)
    assert kept in keys(store)


def test_a_later_release_is_not_robbed(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    job_id = train(queue, store, spec, Reason.DATA)
    admin.hset(f"{{gan}}:job:{job_id}", "spec", '{"of": "a later release"}')
    store.keep_weights(b"weights")
    assert [job.state for job in known_jobs(queue)] == [None]
    assert find_garbage(queue, store, NOW).passed_over == (
        f"what no job names is kept, for another release wrote {job_id}, and what it names is not known here",
    )
    assert collect(queue, store) == set()


def test_unfinished_uploads_are_aborted(queue: JobQueue, store: ArtifactStore, bucket: Settings) -> None:
    name = bucket.require_store().rpartition("/")[2]
    raw_client(bucket).create_multipart_upload(Bucket=name, Key="jobs/a-000000/attempts/0001/checkpoints/1.pt")
    assert find_garbage(queue, store, policy_of(Settings())).uploads == []
    assert len(find_garbage(queue, store, NOW).uploads) == 1
    collect(queue, store)
    assert store.objects.list_uploads("") == []


def test_a_bucket_takes_the_rule_of_the_handbook(bucket: Settings) -> None:
    [rule] = re.findall(r'^\{"Rules".*$', Path("docs/operating.md").read_text(), re.MULTILINE)
    client, name = raw_client(bucket), bucket.require_store().rpartition("/")[2]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=json.loads(rule))
    [found] = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert found["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_a_store_that_lists_no_uploads_is_cleaned_all_the_same(
    queue: JobQueue, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.objects.put("health/host:1", b"probe")

    def refuses(prefix: str) -> None:
        raise StoreOutage(f"no {prefix}")

    monkeypatch.setattr(store.objects, "list_uploads", refuses)
    garbage = find_garbage(queue, store, NOW)
    assert ["unfinished uploads cannot be listed" in line for line in garbage.passed_over] == [True]
    assert [found.why for found in garbage.objects] == [Why.PROBE]


def test_superseded_data_goes_when_asked_for(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, eventually: Callable[..., Any]
) -> None:
    old = put_data_set(store, "digits", b"first")
    new = put_data_set(store, "digits", b"second")
    eventually(lambda: put_data_set(store, "digits", b"second") == store.find_data_set("digits"))
    asked = replace(NOW, superseded_data=True)
    assert collect(queue, store) == set()
    job_id = submit(queue, bound(spec, old))
    assert collect(queue, store, asked) == set()
    queue.cancel(job_id)
    queue.delete(job_id)
    garbage = find_garbage(queue, store, asked)
    submit(queue, bound(spec, old))  # in between
    delete_garbage(queue, store, garbage)
    assert {manifest.digest for manifest in store.list_data_sets()} == {old.digest, new.digest}
    assert queue.cancel(queue.list_jobs([State.QUEUED])[0].id) is State.CANCELLED
    queue.delete(queue.list_jobs()[0].id)
    assert len(collect(queue, store, asked)) == 2
    assert store.list_data_sets() == [new]


def test_the_store_of_another_queue_is_left_alone(
    queue: JobQueue, store: ArtifactStore, spec: TrainSpec, admin: redis.Redis
) -> None:
    train(queue, store, spec)
    admin.flushdb()
    with pytest.raises(RequestError, match="is this the queue of this store"):
        find_garbage(queue, store, NOW)


def _lease(job_id: str, spec: TrainSpec) -> Lease:
    return Lease(job_id=job_id, attempt=1, token=1, lease_s=30, spec=spec)
