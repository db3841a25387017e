"""What a user learns of the worth of a generator, by evaluation jobs that follow a training or were asked for."""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganservice.artifacts import ArtifactStore
from ganservice.evaluation import network_name
from ganservice.job import Activity, Reason, State
from ganservice.judging import Measure
from ganservice.spec import EvaluateSpec
from tests.conftest import wait_until
from tests.integration.attempts.in_process import InProcess, dead_once_published
from tests.specs import JUDGING, draw_shapes, write_judged_spec, write_spec
from workers.attempt.candidate import Candidate, load_candidate
from workers.gan.data.catalogue import CATALOGUE, KnownSet
from workers.gan.data.examples import Examples
from workers.gan.data.image_set import ImageSet, Split
from workers.gan.data.stacked import stacked
from workers.gan.evaluation.classifier import train_classifier
from workers.gan.evaluation.comparison import Comparison, RealFeatures
from workers.gan.evaluation.features import FeatureNetwork
from workers.gan.evaluation.measures import Measurements, compute_measures

pytestmark = pytest.mark.usefixtures("quick_bundles")


@pytest.fixture(scope="module")
def training(service: InProcess, import_shapes: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A training that had a checkpoint and its end evaluated."""
    job_id = service.train(write_judged_spec(tmp_path_factory.mktemp("specs"), "judged", import_shapes("judged")))
    for event in service.events(job_id, "evaluation_submitted"):
        service.finish(event.detail["job"])
    return job_id


def evaluate(service: InProcess, *arguments: str, cwd: Path | None = None) -> str:
    """Submit an evaluation and run it. Returns its id."""
    job_id = service.ok("evaluate", *arguments, cwd=cwd)
    assert service.finish(job_id).state is State.SUCCEEDED
    return job_id


def two_evaluations(service: InProcess, job_id: str) -> list[str]:
    """Submit two evaluations that need the same classifier."""
    return [service.ok("evaluate", job_id, "-n", samples, "--measures=frechet") for samples in ("150", "160")]


def present(labels: Tensor | None) -> Tensor:
    assert labels is not None
    return labels


def shown(service: InProcess, job_id: str) -> list[dict[str, Any]]:
    evaluations: list[dict[str, Any]] = json.loads(service.ok("show", job_id, "-o", "json"))["evaluations"]
    return evaluations


def of_its_spec(service: InProcess, job_id: str) -> list[dict[str, Any]]:
    """Without those of other protocols: tests come in any order, and one looks with other numbers of samples."""
    return [found for found in shown(service, job_id) if found["protocol"]["samples"] == JUDGING["samples"]]


def test_evaluating_the_best_again_keeps_its_generator(service: InProcess, training: str) -> None:
    before = {found["images"]: found for found in of_its_spec(service, training)}
    measures = [f"--measures={measure}" for measure in JUDGING["measures"]]
    evaluation = evaluate(service, training, "--checkpoint", "best", "-n", "200", *measures)
    # The classifier is in the store for all evaluations that follow.
    assert not service.events(evaluation, "classifier_trained")
    after = {found["images"]: found for found in of_its_spec(service, training)}
    [again] = [images for images in after if after[images]["by"] != before[images]["by"]]
    assert before[again]["generator"]
    assert after[again]["generator"] == before[again]["generator"]


def test_only_the_pictures_that_are_compared_are_looked_at(
    service: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow network takes hours for the training set: those of the test set alone are a choice."""
    seen: list[Examples] = []

    def count(network: FeatureNetwork, examples: Examples, proceed: Callable[[float], None]) -> RealFeatures:
        seen.append(examples)
        return look(network, examples, proceed)

    for split in ("train", "test"):
        (tmp_path / "shapes" / split).mkdir(parents=True)
        # Other pictures than those of any other test, of which the store may know all already.
        draw_shapes(tmp_path / "shapes" / split, f"compared {split}")
    service.ok("data", "import", str(tmp_path / "shapes"), "--name", "halves", "--size", "16")
    training = service.train(write_judged_spec(tmp_path, "halves", "halves", evaluate=None))
    look = RealFeatures.of
    monkeypatch.setattr(RealFeatures, "of", count)
    evaluation = evaluate(service, training, "--network=pixels", "--split=test", "--measures=frechet", "-n", "170")
    [found] = [each for each in service.queue().evaluations(training) if each.by == evaluation]
    assert [len(each.images) for each in seen] == [found.protocol.real]
    # No training picture was looked at that a sample might be nearest to.
    assert not found.pictures
    with_copies = evaluate(service, training, "--network=pixels", "--split=test", "--measures=copying", "-n", "170")
    [found] = [each for each in service.queue().evaluations(training) if each.by == with_copies]
    assert len(seen) == 2
    assert not torch.equal(seen[0].images.first(1), seen[1].images.first(1))
    assert list(found.pictures) == ["nearest"]


def test_numbers_of_unlike_protocols_are_not_compared(service: InProcess, training: str, tmp_path: Path) -> None:
    service.ok("fetch", training, "--checkpoint", "final", "--into", "other", cwd=tmp_path)
    judging = ("-n", "150", "--measures", "frechet", "--measures", "copying")
    before = len(shown(service, training))
    evaluation = evaluate(service, "other", *judging, cwd=tmp_path)
    found = shown(service, training)
    assert len(found) == before + 1
    assert found[-1]["by"] == evaluation
    assert found[-1]["generator"] is None
    # A look aside changes nothing of what is best, so that a training compares with itself.
    assert "classifier_recall" in service.ok("compare", training, training)

    listed = next(line for line in service.ok("list", "--unfold").splitlines() if line.startswith(evaluation))
    assert f"of {training} at 3,840 images" in listed

    recipe = str(tmp_path / "other" / "recipe.yaml")
    alone = service.train(recipe, "--set", "evaluate=null", "--set", "images=640")
    service.refused(1, f"{alone} was never evaluated", "compare", training, alone)
    evaluate(service, alone, "-n", "160", *judging[2:])
    service.refused(2, "samples: 200 and 160", "compare", training, alone)
    # Under the protocol that both share they compare, whatever else each was judged by.
    evaluate(service, alone, *judging)
    assert "150 samples" in service.ganctl("compare", training, alone).stderr


def test_an_evaluation_that_died_once_it_had_published_publishes_nothing_again(
    service: InProcess, training: str, tmp_path: Path
) -> None:
    service.ok("fetch", training, "--checkpoint", "final", "--into", "other", cwd=tmp_path)
    recipe = str(tmp_path / "other" / "recipe.yaml")
    alone = service.train(recipe, "--set", "evaluate=null", "--set", "images=640")
    job_id = service.ok("evaluate", alone, "-n", "150", "--measures", "frechet")
    with dead_once_published(torch.distributed.DistNetworkError("on purpose")):
        assert service.attempt(job_id).state is State.QUEUED
    [manifest] = manifests = [key for key in service.store.keys(job_id) if key.endswith("manifest.json")]
    assert service.finish(job_id).state is State.SUCCEEDED
    [found] = shown(service, alone)
    assert found["generator"] == manifest.removesuffix("manifest.json")
    assert [key for key in service.store.keys(job_id) if key.endswith("manifest.json")] == manifests


def test_an_evaluation_asks_for_the_classes_that_were_learned_in_their_shares(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Tensor] = []

    def watch(comparison: Comparison, measures: Sequence[Measure]) -> Measurements:
        asked.append(present(comparison.generated.labels))
        return compute_measures(comparison, measures)

    monkeypatch.setattr("workers.attempt.evaluation.compute_measures", watch)
    monkeypatch.setattr("workers.gan.evaluation.classifier.LEAST_STEPS", 30)
    spec = write_judged_spec(tmp_path, "shares", import_shapes("shares"), evaluate=None, images=640)
    alone = service.train(spec, "--set", "recipe.data.only=[discs]", "-n", "only-discs")
    evaluate(service, service.train(spec), "-n", "150", "--measures", "classes")
    evaluate(service, alone, "-n", "150", "--measures", "classes", "--measures", "gan_train")
    assert [torch.bincount(labels).tolist() for labels in asked] == [[75, 75], [0, 150]]
    [found] = shown(service, alone)
    assert found["class_pictures"] == {"discs": [150, 200]}
    assert found["class_frechet_distances"].keys() == found["class_accuracies"].keys() == {"discs"}
    assert found["measures"]["classifier_gan_train_real_accuracy"] == 1
    [line] = [line for line in service.ok("show", alone).splitlines() if " 150 beside 200 real" in line]
    assert "discs: agreement " in line
    assert ", Frechet distance " in line


def test_an_evaluation_computes_on_the_device_of_its_attempt(
    service: InProcess, training: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_number = torch.device("cpu", 0)  # which is another than the one that everything has by default
    devices: list[torch.device] = []

    def load(store: ArtifactStore, spec: EvaluateSpec, device: torch.device) -> Candidate:
        devices.append(device)
        return load_candidate(store, spec, device)

    def watch(comparison: Comparison, measures: Sequence[Measure]) -> Measurements:
        devices.append(comparison.network.device)
        return compute_measures(comparison, measures)

    monkeypatch.setattr("workers.attempt.evaluation.load_candidate", load)
    monkeypatch.setattr("workers.attempt.evaluation.compute_measures", watch)
    job_id = service.ok("evaluate", training, "-n", "170", "--measures", "frechet")
    assert service.attempt(job_id, device=by_number).state is State.SUCCEEDED
    assert devices == [by_number, by_number]


def test_a_stacked_set_is_judged_by_what_knows_its_channels_whatever_it_is_called(
    service: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(2, size=300)
    # Dark and bright pictures.
    grey = (labels[:, None, None, None] * 100 + draws.integers(100, size=(300, 1, 8, 8))).astype(np.uint8)
    halves = {"train": Split(grey[:200], labels[:200]), "test": Split(grey[200:], labels[200:])}
    pairs = replace(stacked(ImageSet("pairs", halves, ("dark", "bright"), "a test")), name="triples")
    entry = KnownSet("triples", {}, lambda _: pairs, "none", mirrors=("nowhere",))
    monkeypatch.setitem(CATALOGUE, "triples", entry)
    dataset = service.ok("data", "get", "triples", "--from", str(tmp_path))
    data = {"dataset": dataset, "image_size": 8, "channels": 3}
    networks = {name: {"kind": "mlp", "widths": [16]} for name in ("generator", "discriminator")}
    recipe = {"data": data, "latent_size": 4, "batch_size": 32, **networks}
    training = service.train(write_spec(tmp_path, "triples", recipe=recipe, images=640))
    monkeypatch.setattr("workers.gan.evaluation.classifier.LEAST_STEPS", 30)
    evaluation = evaluate(service, training, "-n", "150", "--measures", "classes")
    [event] = service.events(evaluation, "classifier_trained")
    assert event.detail["accuracy"] > 0.95
    [found] = shown(service, training)
    assert 1 <= found["measures"]["classifier_modes"] <= 8
    digest = service.store.find_data_set("triples").digest
    assert service.store.find_derived("networks", network_name(digest, None, stacked=True))
    assert not service.store.find_derived("networks", network_name(digest, None))


def test_mistakes_of_an_evaluation_are_one_line(service: InProcess, training: str, tmp_path: Path) -> None:
    service.refused(1, "it keeps checkpoints at", "evaluate", training, "--checkpoint", "7")
    service.refused(2, "expected final, best or a number", "evaluate", training, "--checkpoint", "last")
    service.refused(
        2,
        "--weights: missing; what `ganctl networks put FILE` prints",
        "evaluate",
        training,
        "--network",
        "inception_v3",
    )
    service.refused(2, "samples: ", "evaluate", training, "-n", "3")
    service.refused(102, "neither the queue nor the store knows a job nobody", "evaluate", "nobody")
    service.refused(102, "no job has the id or name nobody", "compare", "nobody")
    service.refused(2, "there is no such folder", "evaluate", "./nobody")
    # Of a file of the node's, and of one in the store that is not there.
    (tmp_path / "secret").write_text("hunter2")
    stored = f"networks/{'0' * 64}.pth"
    for weights, says in (
        ((str(tmp_path / "secret"), "--sha256", "0" * 64), f"{tmp_path / 'secret'}: is no file in a place that GANS"),
        ((stored,), f"{stored}: the store holds no such object; `ganctl networks put FILE` brings it there"),
        ((stored, "--sha256", "1" * 64), f"is no key of a network with sha256 {'1' * 64}"),
    ):
        wrong = service.ok("evaluate", training, "--network", "inception_v3", "--weights", *weights)
        assert service.attempt(wrong).reason is Reason.DATA
        watched = service.ganctl("watch", wrong)
        assert watched.returncode == 100
        assert says in watched.stderr
        assert hashlib.sha256(b"hunter2").hexdigest()[:12] not in watched.stderr
    service.refused(2, "none: cannot be read (No such file", "networks", "put", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("directive", "state"), [("cancel", State.CANCELLED), ("yield", State.QUEUED), ("signal", State.QUEUED)]
)
def test_an_evaluation_leaves_when_it_is_told_to(
    service: InProcess, training: str, directive: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, leaving = service.ok("evaluate", training, "-n", "150"), threading.Event()

    def leave(*arguments: Any) -> Measurements:
        if directive == "cancel":
            service.ok("cancel", job_id)
        elif directive == "signal":
            leaving.set()
        else:
            service.queue().ask_to_yield(service.leases[job_id])
        service.await_beats(job_id)
        return compute_measures(*arguments)

    monkeypatch.setattr("workers.attempt.evaluation.compute_measures", leave)
    before = len(shown(service, training))
    assert service.attempt(job_id, leaving=leaving).state is state
    assert len(shown(service, training)) == before
    service.queue().cancel(job_id)


def test_no_more_than_three_evaluations_wait_but_the_end_is_always_judged(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path
) -> None:
    often = {"every_images": 640, "judging": JUDGING}
    job_id = service.train(write_judged_spec(tmp_path, "often", import_shapes("often"), evaluate=often))
    submitted = service.events(job_id, "evaluation_submitted")
    assert [event.detail["images"] for event in submitted] == [640, 1_280, 1_920, 3_840]
    skipped = service.events(job_id, "evaluation_skipped")
    assert [event.detail["images"] for event in skipped] == [2_560, 3_200]
    # What waits to be judged is kept; of the others only the last one.
    assert sorted(service.store.checkpoints(job_id)) == [640, 1_280, 1_920, 3_840]


def test_the_classifier_of_a_data_set_is_trained_once_while_others_wait_and_say_so(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_judged_spec(tmp_path, "claimed", import_shapes("claimed"), evaluate=None)
    training = service.train(spec)
    first, second = (
        service.ok("evaluate", training, "-n", samples, "--measures=frechet") for samples in ("150", "160")
    )
    train, trains, goes_on = train_classifier, threading.Event(), threading.Event()

    def hold(*arguments: Any, **named: Any) -> Any:
        named["proceed"](0.5)
        trains.set()
        assert goes_on.wait(300)
        return train(*arguments, **named)

    monkeypatch.setattr("workers.attempt.judge.train_classifier", hold)
    with ThreadPoolExecutor(2) as pool:
        try:
            one = pool.submit(service.attempt, first)
            assert trains.wait(300)
            other = pool.submit(service.attempt, second)
            wait_until(lambda: service.job(second).waits_for == f"the classifier of claimed, which {first} makes")
            assert 0 < service.job(first).share_done < 0.5
            assert service.job(first).left_s is not None
        finally:
            goes_on.set()
        assert one.result().state is other.result().state is State.SUCCEEDED
    assert len(service.events(first, "classifier_trained")) == 1
    assert not service.events(second, "classifier_trained")


def test_who_waits_for_a_classifier_makes_it_once_its_maker_is_gone(
    service: InProcess, import_shapes: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_judged_spec(tmp_path, "orphan", import_shapes("orphan"), evaluate=None)
    training = service.train(spec)
    first, second = (
        service.ok("evaluate", training, "-n", samples, "--measures=frechet") for samples in ("150", "160")
    )

    def die(*_: Any, **__: Any) -> Any:
        wait_until(lambda: service.job(second).waits_for)
        raise RuntimeError("on purpose")

    makers = iter([die])

    def make(*arguments: Any, **named: Any) -> Any:
        return next(makers, train_classifier)(*arguments, **named)

    monkeypatch.setattr("workers.attempt.judge.train_classifier", make)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(service.attempt, first)
        wait_until(lambda: service.job(first).preparation is Activity.TRAINING_CLASSIFIER)
        assert pool.submit(service.attempt, second).result().state is State.SUCCEEDED
        assert one.result().state is State.QUEUED
    assert len(service.events(second, "classifier_trained")) == 1
    service.queue().cancel(first)
