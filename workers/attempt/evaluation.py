"""An attempt of an evaluation: judge the generator in a checkpoint. Knows nothing of Ray."""

import hashlib
import logging
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ganservice.artifacts import ArtifactStore, attempt_of
from ganservice.errors import ArtifactMissing, DataInvalid, DataMissing
from ganservice.evaluation import Evaluation, Protocol, best_of
from ganservice.job import Activity, Directive, EventKind, Lease, Outcome, Progress, Reason
from ganservice.queue import JobQueue
from ganservice.recipe import Precision
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec
from workers.attempt.heartbeat import Heartbeat
from workers.attempt.publication import BundleContents, publish
from workers.attempt.stored_data import pictures
from workers.gan.checkpoint import decode_checkpoint
from workers.gan.data.examples import Examples
from workers.gan.data.mirrors import local_file
from workers.gan.evaluation.classifier import Classifier, accuracy, train_classifier
from workers.gan.evaluation.features import (
    FeatureNetwork,
    classifier,
    classifier_safetensors,
    efficientnet_lite0,
    inception_v3,
)
from workers.gan.evaluation.kernel import BLOCK
from workers.gan.evaluation.measuring import Findings, Generated, Names, RealFeatures, measure, see_real
from workers.gan.evaluation.neighbours import NEIGHBOURS, nearest, nearest_distances
from workers.gan.grid import grid_png, to_floats
from workers.gan.networks import build_generator
from workers.gan.precision import MEASURING, choose_precision, computes_bf16
from workers.gan.randomness import fixed_inputs

log = logging.getLogger(__name__)

# Samples shown above the training pictures they are nearest to: of all, those that are nearest.
SHOWN = 10
LEAVING = {
    Directive.STOP: Outcome(reason=Reason.CANCELLED, message="stopped by its user"),
    Directive.YIELD: Outcome(reason=Reason.YIELDED, message="gave its job back"),
}


class ToldToLeave(Exception):
    """A directive ended the evaluation."""

    def __init__(self, directive: Directive) -> None:
        super().__init__(directive)
        self.outcome = LEAVING[directive]


class Evaluating:
    """The duties of an evaluation's one worker."""

    def __init__(
        self, settings: Settings, queue: JobQueue, lease: Lease, spec: EvaluateSpec, heartbeat: Heartbeat
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._lease = lease
        self._judging = spec.judging
        self._subject = spec.subject
        self._recipe = spec.recipe
        self._data = spec.pictures
        self._heartbeat = heartbeat
        self._store = ArtifactStore(settings)

    def run(self) -> Outcome:
        """Measure, publish the generator if none better is known, and tell."""
        started = time.monotonic()
        try:
            generator, history, precision = self._generator()
            network = self._network()
            training = self._seen(network, "train")
            held_out = self._seen(network, "test") if self._held_out else None
            real = training if self._judging.split == "train" else held_out
            if real is None:
                raise DataMissing(f"the data set {self._data.dataset} has no test split to judge by")
            self._heartbeat.does(Activity.MEASURING)
            generated = Generated(generator, self._recipe, self._judging)
            found = measure(generated, network, self._judging, real, training, held_out, self._proceed)
            self._train_on_generated(found, network, generated)
            evaluation = self._evaluation(network, real, found, {"nearest": self._nearest(found, generated, training)})
        except ToldToLeave as told:
            return told.outcome
        evaluation = evaluation.model_copy(update={"seconds": time.monotonic() - started})
        known = self._queue.evaluations(self._subject.job_id)
        for older in known:
            if evaluation.replaces(older) and evaluation.checkpoint == older.checkpoint:
                evaluation = evaluation.with_older(older)
        log.info("evaluated %s in %.1f s: %s", self._subject.job_id, evaluation.seconds, evaluation.measures)
        published = self._published(generator, history, precision, evaluation, known)
        evaluation = evaluation.model_copy(update={"generator": published})
        return Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation, generator=evaluation.generator)

    def _proceed(self) -> None:
        """Raise ToldToLeave when a directive says so."""
        if self._heartbeat.directive is not Directive.CONTINUE:
            raise ToldToLeave(self._heartbeat.directive)

    def _generator(self) -> tuple[nn.Module, list[Progress], Precision | None]:
        """The generator to judge, with the progress and precision of its training; none of one that was sent back as
        weights."""
        subject, generator = self._subject, build_generator(self._recipe)
        try:
            data = self._store.objects.get(subject.checkpoint)
        except ArtifactMissing as error:
            raise DataMissing(
                f"{subject.job_id} no longer keeps its checkpoint at {subject.images:,} images; evaluate another: "
                f"`ganctl show {subject.job_id}` lists them"
            ) from error
        history: list[Progress] = []
        precision: Precision | None = None
        if self._subject.checkpoint.endswith(".safetensors"):
            state = safetensors.torch.load(data)
        else:
            checkpoint, history = decode_checkpoint(data)
            state, precision = checkpoint["ema"], checkpoint.get("precision")
        generator.load_state_dict(state)
        return generator.eval().requires_grad_(False), history, precision

    # What pictures are seen by, and how the real ones look so.

    @cached_property
    def _training(self) -> Examples:
        return pictures(self._settings, self._store, self._data, "train")

    @cached_property
    def _held_out(self) -> Examples | None:
        try:
            return pictures(self._settings, self._store, self._data, "test")
        except DataMissing:
            return None

    def _network(self) -> FeatureNetwork:
        if self._judging.network == "efficientnet_lite0":
            return efficientnet_lite0()
        if self._judging.weights is not None:
            return inception_v3(
                local_file(
                    self._judging.weights.source, self._judging.weights.sha256, self._settings.cache_dir / "networks"
                ),
                self._judging.weights.sha256,
            )
        examples = self._training
        if examples.labels is None or not examples.classes:
            raise DataInvalid(
                f"the data set {self._data.dataset} has no classes to train a classifier on; "
                "choose network: efficientnet_lite0"
            )
        name = self._name_of(trained="classifier of strided convolutions")
        stored = self._store.find_derived("networks", name)
        if stored is None:
            self._heartbeat.does(Activity.TRAINING_CLASSIFIER)
            precision = choose_precision("auto", computes_bf16(examples.images.device)).precision
            log.info("training the classifier of %s in %s", self._data.dataset, precision)
            classes = len(examples.classes)
            trained = train_classifier(examples.images, examples.labels, classes, precision, proceed=self._proceed)
            reached = self._accuracy(trained)
            held_out = self._held_out is not None
            self._heartbeat.say(EventKind.CLASSIFIER_TRAINED, accuracy=reached, held_out=held_out, precision=precision)
            stored = self._store.keep_derived("networks", name, classifier_safetensors(trained, reached, precision))
        return classifier(stored, self._data.channels, self._data.image_size, len(examples.classes))

    def _accuracy(self, network: Classifier) -> float:
        """On pictures that were held out, if any were."""
        examples = self._held_out or self._training
        if examples.labels is None:
            raise DataInvalid(f"the data set {self._data.dataset} has no labels to judge a classifier by")
        return accuracy(network, examples.images, examples.labels)

    def _seen(self, network: FeatureNetwork, split: str) -> RealFeatures:
        """One split as the network sees it: computed once, then in the store."""
        name = self._name_of(split=split, network=network.digest, resize=network.resize)
        stored = self._store.find_derived("statistics", name)
        if stored is None:
            self._proceed()
            self._heartbeat.does(Activity.VIEWING)
            examples = self._training if split == "train" else pictures(self._settings, self._store, self._data, split)
            log.info("looking at %d %s pictures of %s", len(examples.images), split, self._data.dataset)
            seen = see_real(network, examples.images, examples.labels, len(examples.classes))
            stored = self._store.keep_derived("statistics", name, seen.to_bytes())
        return RealFeatures.from_bytes(stored)

    def _name_of(self, **what: str) -> str:
        """A digest of something derived from these pictures."""
        parts: Mapping[str, Any] = {"data": self._data.digest, "only": self._data.only, **what}
        return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()

    # What is left behind.

    def _train_on_generated(self, found: Findings, network: FeatureNetwork, generated: Generated) -> None:
        """GAN-train: a classifier that learned generated pictures alone, asked about held-out real ones."""
        if "gan_train" not in self._judging.measures or generated.labels is None:
            return
        self._proceed()
        made = torch.cat(list(generated.batches()))
        classes = len(self._training.classes)
        learned = train_classifier(made, generated.labels, classes, MEASURING, proceed=self._proceed)
        found.add(Names(network).of("gan_train_accuracy"), self._accuracy(learned))

    def _nearest(self, found: Findings, generated: Generated, training: RealFeatures) -> str:
        """A picture: samples, and below each the training picture it is nearest to. Returns its key."""
        self._proceed()
        rows = nearest_distances(found.features, training.features).argsort()[:SHOWN]
        theirs = self._training.images[nearest(found.features[rows], training.features)]
        shown = torch.cat([generated[rows], theirs])
        return self._store.put_evaluation_picture(self._lease, "nearest", grid_png(to_floats(shown.numpy()), len(rows)))

    def _evaluation(
        self, network: FeatureNetwork, real: RealFeatures, found: Findings, shown: dict[str, str]
    ) -> Evaluation:
        judging = self._judging
        names = self._training.classes
        return Evaluation(
            job_id=self._subject.job_id,
            images=self._subject.images,
            attempt=self._subject.attempt,
            checkpoint=self._subject.checkpoint,
            protocol=Protocol(
                data_digest=self._data.digest or "",
                only=self._data.only,
                split=judging.split,
                real=len(real.features),
                network=network.name,
                network_digest=network.digest,
                network_precision=network.precision,
                resize=network.resize,
                samples=judging.samples,
                seed=judging.seed,
                truncation=judging.truncation,
                neighbours=NEIGHBOURS,
                block=BLOCK,
            ),
            measures=found.measures,
            errors=found.errors,
            class_accuracies=dict(zip(names, found.class_accuracies, strict=False)),
            seconds=0.0,
            at=time.time(),
            by=self._lease.job_id,
            pictures=shown,
        )

    def _published(
        self,
        generator: nn.Module,
        history: list[Progress],
        precision: Precision | None,
        evaluation: Evaluation,
        known: list[Evaluation],
    ) -> str | None:
        """The folder of the generator: published before, or now if none better is known."""
        # The same weights, or weights that were sent back and have no training to publish them with.
        same = [o for o in known if evaluation.replaces(o) and (o.checkpoint == evaluation.checkpoint or not history)]
        if same and same[0].generator:
            return same[0].generator
        others = [other for other in known if not evaluation.replaces(other)]
        if history and best_of([*others, evaluation]) is evaluation:
            return self._publish(generator, history, precision, evaluation)
        return None

    def _publish(
        self, generator: nn.Module, history: list[Progress], precision: Precision | None, evaluation: Evaluation
    ) -> str:
        self._heartbeat.does(Activity.PUBLISHING)
        spec = self._store.get_spec(self._subject.job_id)
        grid = spec.samples
        inputs = fixed_inputs(self._recipe, spec.seed, grid.rows, grid.columns)
        with torch.no_grad():
            drawn = generator(*inputs)
        made = BundleContents(
            job_id=self._subject.job_id,
            attempt=attempt_of(self._subject.checkpoint),
            resumed_images=None,
            spec=spec,
            history=history,
            classes=self._training.classes,
            generator=generator,
            precision=precision,
            grid=grid_png(drawn.numpy(), grid.columns),
        )
        return publish(self._store, self._lease, made, self._heartbeat.hold, evaluation)
