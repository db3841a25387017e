"""What an evaluation judges by: real pictures, a feature network, and the real pictures' features by that network.

The first evaluation that needs a classifier or features computes them; from then on they are in the store.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, assert_never, cast

from torch import Tensor

from ganservice.errors import DataInvalid, DataMissing
from ganservice.evaluation import network_name, statistics_name
from ganservice.job import Activity, EventKind
from ganservice.judging import NetworkWeights, Scaling
from ganservice.networks import DerivedKind
from ganservice.patience import pauses
from ganservice.spec import EvaluateSpec
from workers.attempt.context import LeaderContext
from workers.attempt.course import Course
from workers.attempt.network_weights import weights_file
from workers.attempt.stored_data import pictures
from workers.gan.data.examples import Examples
from workers.gan.data.stacked import is_stacked
from workers.gan.evaluation.blocks import Blocks, Move
from workers.gan.evaluation.classifier import accuracy, build_classifier, train_classifier
from workers.gan.evaluation.comparison import Comparison, RealFeatures, lacking_labels
from workers.gan.evaluation.features import (
    FeatureNetwork,
    classifier,
    classifier_safetensors,
    efficientnet_lite0,
    inception_v3,
    onnx_network,
    pixels,
)
from workers.gan.evaluation.generated import GeneratedPictures
from workers.gan.evaluation.parts import Part, Proceed, costs, looked_at
from workers.gan.precision import bf16_pays, choose_precision

log = logging.getLogger(__name__)

# How often who waits for what another evaluation makes looks for it, at least.
LONGEST_LOOK_S = 5.0


class Judge:
    """The real pictures of an evaluation's data set and the network by which generated ones are compared with them.

    `proceed` is called between steps of what takes long, and `move` within them. What others need too, such as the
    classifier of the data set, is made by one evaluation, which has claimed it; the others wait for that.
    """

    def __init__(
        self, context: LeaderContext, spec: EvaluateSpec, course: Course, proceed: Proceed, move: Move
    ) -> None:
        self._context = context
        self._course = course
        self._judging = spec.judging
        self._data = spec.pictures
        self._recipe = spec.recipe
        self._proceed = proceed
        self._move = move

    def compare(self, generated: GeneratedPictures) -> Comparison:
        """Set generated pictures beside the real ones. Raises DataMissing, DataInvalid."""
        held_out_count = len(self._held_out.images) if self._held_out else 0
        labels, learned = generated.labels, self.training.present_classes
        supplement = 0 if labels is None else len(lacking_labels(labels, learned))
        judging = self._judging.model_copy(update={"samples": len(generated)})
        self._course.begin(costs(judging, len(self.training.images), held_out_count, supplement))
        self._network = self._find_network().on(self._context.device)
        splits = looked_at(self._judging)
        training = self._features("train", self.training) if "train" in splits else None
        held_out = self._features("test", self._held_out) if self._held_out and "test" in splits else None
        # Both splits are there to be held against: `real` has made sure of that.
        real = cast(RealFeatures, training if self._judging.split == "train" else held_out)
        return Comparison(
            network=self._network,
            generated=generated,
            real=real,
            training=training,
            held_out=held_out,
            test_pictures=self._test_pictures,
            training_pictures=self.training,
            real_labels=self.real.labels,
            proceed=self._proceed,
            blocks=Blocks(self._context.device, self._move),
        )

    @property
    def class_shares(self) -> Tensor:
        """How often a conditional generator is asked for each class [K]: as often as it is among the real pictures, but
        never for one that it did not learn. Raises DataMissing, DataInvalid."""
        real, learned = self.real.class_counts, self.training.class_counts
        shares = real * (learned > 0) if len(real) else learned
        if self._recipe.conditioning and not shares.any():
            raise DataInvalid(f"the data set {self._data.dataset} has no labels to ask a conditional generator by")
        return shares

    @property
    def real(self) -> Examples:
        """The pictures that generated ones are held against."""
        real = self.training if self._judging.split == "train" else self._held_out
        if real is None:
            raise DataMissing(f"the data set {self._data.dataset} has no test pictures of what was learned to judge by")
        return real

    @cached_property
    def training(self) -> Examples:
        """The pictures that the generator learned."""
        return self._pictures("train")

    @cached_property
    def _held_out(self) -> Examples | None:
        try:
            return self._pictures("test")
        except DataMissing:
            return None

    @property
    def _test_pictures(self) -> Examples:
        """Pictures to test a classifier on: held out, if any were."""
        return self._held_out or self.training

    def _pictures(self, split: Literal["train", "test"]) -> Examples:
        return pictures(self._context.settings, self._context.store, self._data, split)

    def _find_network(self) -> FeatureNetwork:
        match self._judging.network:
            case "classifier":
                return self._classifier()
            case "efficientnet_lite0":
                return efficientnet_lite0()
            case "inception_v3":
                return inception_v3(*self._weights())
            case "onnx":
                scaling = self._judging.scaling or Scaling()
                return onnx_network(*self._weights(), scaling, self._context.device)
            case "pixels":
                return pixels()
        assert_never(self._judging.network)

    def _weights(self) -> tuple[Path, str]:
        """The file of the network, and the digest that it must have."""
        # The spec lets nobody ask for these networks without their weights.
        weights = cast(NetworkWeights, self._judging.weights)
        return weights_file(self._context.settings, self._context.store, weights), weights.sha256

    def _classifier(self) -> FeatureNetwork:
        classes, labels = self.training.classes, self.training.labels
        if labels is None or not classes:
            raise DataInvalid(
                f"the data set {self._data.dataset} has no classes to train a classifier on; "
                "choose network: efficientnet_lite0, or pixels"
            )
        stacked = is_stacked(classes)
        name = network_name(self._data.digest, self._data.only, stacked=stacked)
        what = f"the classifier of {self._data.dataset}"
        stored = self._derived("networks", name, what, Part.CLASSIFIER, lambda: self._train_classifier(labels))
        with _named(f"networks/{name}.safetensors"):
            return classifier(stored, self._data.channels, self._data.image_size, len(classes), stacked=stacked)

    def _train_classifier(self, labels: Tensor) -> bytes:
        """Train a classifier on the real pictures and return it as a safetensors file."""
        self._context.heartbeat.does(Activity.TRAINING_CLASSIFIER)
        classes, device = self.training.classes, self._context.device
        precision = choose_precision("auto", bf16_pays(device)).precision
        log.info("training the classifier of %s in %s", self._data.dataset, precision)
        network = build_classifier(
            self._data.channels, self._data.image_size, len(classes), stacked=is_stacked(classes)
        ).to(device)
        train_classifier(
            network, self.training.images, labels, precision, proceed=partial(self._proceed, Part.CLASSIFIER)
        )
        test = self._test_pictures
        if test.labels is None:
            raise DataInvalid(f"the data set {self._data.dataset} has no labels to judge a classifier by")
        share = accuracy(network, test.images, test.labels)
        held_out = self._held_out is not None
        self._context.heartbeat.say(
            EventKind.CLASSIFIER_TRAINED, accuracy=share, held_out=held_out, precision=precision
        )
        return classifier_safetensors(network, share, precision)

    def _features(self, split: Literal["train", "test"], examples: Examples) -> RealFeatures:
        """Return the features of one split, whose pictures are `examples`."""
        network = self._network
        part = Part.TRAINING if split == "train" else Part.HELD_OUT
        name = statistics_name(self._data.digest, self._data.only, split, network.digest, network.resize)

        def look() -> bytes:
            self._context.heartbeat.does(Activity.VIEWING)
            log.info("looking at %d %s pictures of %s", len(examples.images), split, self._data.dataset)
            return RealFeatures.of(network, examples, partial(self._proceed, part)).to_bytes()

        what = f"the features of the {split} pictures of {self._data.dataset}"
        stored = self._derived("statistics", name, what, part, look)
        [(one, _)] = network.see([examples.images.first(1)])
        with _named(f"statistics/{name}.safetensors"):
            return RealFeatures.from_bytes(stored, len(examples.images), one.shape[1])

    def _derived(self, kind: DerivedKind, name: str, what: str, part: Part, make: Callable[[], bytes]) -> bytes:
        """What the store holds under a name, made here if nobody else makes it; `what` it is, in words.

        Raises Interruption for a directive while it waits for who makes it.
        """
        store, heartbeat, told = self._context.store, self._context.heartbeat, None
        stored = store.find_derived(kind, name)
        try:
            for pause_s in pauses(longest_s=LONGEST_LOOK_S):
                maker = None if stored else self._context.queue.claim(self._context.lease, f"{kind}/{name}")
                # Who made it before us has put it there by now.
                if stored := stored or store.find_derived(kind, name):
                    self._course.skip(part)
                    return stored
                if maker is None:
                    heartbeat.waits_for(None)
                    return store.keep_derived(kind, name, make())
                if maker != told:
                    log.info("waiting for %s, which %s makes", what, maker)
                told = maker
                heartbeat.waits_for(f"{what}, which {maker} makes")
                heartbeat.hurry.wait(pause_s)
                self._proceed(part, 0.0)
        finally:
            heartbeat.waits_for(None)
        raise AssertionError("pauses have no end")


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Name the object of the store in which something was found, and what helps."""
    try:
        yield
    except DataInvalid as error:
        raise DataInvalid(f"{key}: {error}; once it is deleted, an evaluation computes it again") from error
