"""The parts of an evaluation that take long, and about how long each takes beside the others."""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal

from ganservice.judging import Judging, Measure
from workers.gan.evaluation.classifier import BATCH, training_steps


class Part(StrEnum):
    """A part of an evaluation. Those that judge the data set are there only until the store holds their results."""

    CLASSIFIER = "classifier"
    TRAINING = "training"  # looking at the pictures that the generator learned
    HELD_OUT = "held out"  # the same of those that it did not
    GENERATED = "generated"
    SUPPLEMENT = "supplement"  # more pictures of rare classes, for the figures of each class
    MEASURES = "measures"
    STUDENT = "student"  # a classifier of generated pictures, and one of as many real ones


# Called with the share of a part that is done, 0 to 1; whatever it raises ends the evaluation.
Proceed = Callable[[Part, float], None]
# The time of a network to look at a picture, in that of the classifier; and of training, in that of looking.
LOOK = {"classifier": 1.0, "efficientnet_lite0": 350.0, "inception_v3": 700.0, "onnx": 200.0, "pixels": 0.02}
TRAINING = 3.0
# Computing one measure, for each generated picture.
MEASURE = 0.3
# Measures that compare generated pictures with those that the generator learned, whatever the split.
OF_TRAINING: frozenset[Measure] = frozenset({"copying", "birthdays", "gan_train"})


def looked_at(judging: Judging) -> set[Literal["train", "test"]]:
    """Return the splits whose pictures the network has to look at: with a slow one that is most of the time."""
    splits: set[Literal["train", "test"]] = {judging.split}
    if OF_TRAINING & set(judging.measures):
        splits.add("train")
    if "copying" in judging.measures:
        splits.add("test")
    return splits


def costs(judging: Judging, training: int, held_out: int, supplement: int = 0) -> dict[Part, float]:
    """Return how long each part takes, in looks of the classifier at one picture, of sets of so many pictures."""
    look, samples, splits = LOOK[judging.network], judging.samples, looked_at(judging)

    def learning(pictures: int) -> float:
        return TRAINING * BATCH * training_steps(pictures)

    return {
        Part.CLASSIFIER: learning(training) if judging.network == "classifier" else 0.0,
        Part.TRAINING: look * training if "train" in splits else 0.0,
        Part.HELD_OUT: look * held_out if "test" in splits else 0.0,
        Part.GENERATED: (1 + look) * samples,
        Part.SUPPLEMENT: (1 + look) * supplement if "classes" in judging.measures else 0.0,
        Part.MEASURES: MEASURE * samples * len(judging.measures),
        Part.STUDENT: 2 * learning(samples) if "gan_train" in judging.measures else 0.0,
    }
