"""An attempt of an evaluation: judge the generator in a checkpoint. Knows nothing of Ray.

Everything runs in the thread that an attempt of a training trains in.
"""

import logging
import time
from typing import Any

import torch

from ganservice.evaluation import Evaluation, Protocol
from ganservice.job import Activity, Directive, Outcome, Reason
from ganservice.spec import EvaluateSpec
from workers.attempt.candidate import Candidate, load_candidate
from workers.attempt.context import LeaderContext
from workers.attempt.course import Course
from workers.attempt.interruption import Interruption
from workers.attempt.judge import Judge
from workers.attempt.own_code import bring_code
from workers.attempt.publication import publish
from workers.attempt.stored_data import held_out
from workers.gan.data.examples import class_counts
from workers.gan.evaluation.comparison import Comparison
from workers.gan.evaluation.generated import EnlargedPictures, GeneratedPictures, SampledPictures
from workers.gan.evaluation.kernel import BLOCK
from workers.gan.evaluation.measures import Measurements, compute_measures
from workers.gan.evaluation.neighbours import NEIGHBOURS, nearest
from workers.gan.evaluation.parts import Part
from workers.gan.grid import grid_png, to_floats
from workers.gan.precision import whole_fp32

log = logging.getLogger(__name__)

# Generated pictures that are shown above the training pictures nearest to them: of all, those nearest to one.
NEAREST_SHOWN = 10


class EvaluationAttempt:
    """The duties of an evaluation's one worker."""

    def __init__(self, context: LeaderContext, spec: EvaluateSpec) -> None:
        self._context = context
        self._spec = spec
        self._course = Course(context.heartbeat.advance)
        self._part: Part | None = None  # that it is at
        self._judge = Judge(context, spec, self._course, self._proceed, self._move)

    @whole_fp32()
    def run(self) -> Outcome:
        """Measure the generator, publish it if none better is known, and return both in the outcome.

        Raises DataMissing and DataInvalid when it cannot be judged, and Interruption for a directive.
        """
        started = time.monotonic()
        subject, judging, device = self._spec.subject, self._spec.judging, self._context.device
        bring_code(self._context.settings, self._context.store, self._spec.recipe)
        candidate = load_candidate(self._context.store, self._spec, device)
        comparison = self._judge.compare(self._generated(candidate))
        self._context.heartbeat.does(Activity.MEASURING)
        measurements = compute_measures(comparison, judging.measures)
        pictures = {"nearest": self._store_nearest(comparison)} if comparison.training else {}
        earlier = self._context.queue.evaluations(subject.job_id)
        evaluation = self._evaluation(comparison, measurements, pictures, time.monotonic() - started).with_older(
            earlier
        )
        log.info("evaluated %s in %.1f s: %s", subject.job_id, evaluation.seconds, evaluation.measures)
        folder = self._publish_if_best(candidate, evaluation, earlier)
        evaluation = evaluation.model_copy(update={"generator": folder})
        return Outcome(reason=Reason.SUCCEEDED, evaluation=evaluation, generator=folder)

    def _generated(self, candidate: Candidate) -> GeneratedPictures:
        """Return the pictures to judge: of latents, or of the real pictures made small."""
        recipe, judging, device = self._spec.recipe, self._spec.judging, candidate.device
        if task := recipe.super_resolution:
            return EnlargedPictures(candidate.generator, self._judge.real.images, task.factor, judging, device)
        return SampledPictures(candidate.generator, recipe, judging, self._judge.class_shares, device)

    def _proceed(self, part: Part, share_done: float) -> None:
        """Tell how far a part is. Raises Interruption when a directive ends the evaluation."""
        if part is not self._part:
            self._part = part
            self._context.heartbeat.begin()
        self._course.advance(part, share_done)
        self._check()

    def _move(self) -> None:
        """Take note that a part comes further. Raises Interruption as `_proceed` does."""
        self._context.heartbeat.move()
        self._check()

    def _check(self) -> None:
        directive = self._context.heartbeat.directive
        if directive is not Directive.CONTINUE:
            raise Interruption(directive)

    def _evaluation(
        self, comparison: Comparison, measurements: Measurements, pictures: dict[str, str], seconds: float
    ) -> Evaluation:
        """Return what was measured, with the protocol it was measured under."""
        subject, judging, data = self._spec.subject, self._spec.judging, self._spec.pictures
        network = comparison.network
        return Evaluation(
            job_id=subject.job_id,
            images=subject.images,
            attempt=subject.attempt,
            checkpoint=subject.checkpoint,
            protocol=Protocol(
                data_digest=data.digest or "",
                only=data.only,
                split=judging.split,
                real=len(comparison.real.features),
                network=network.name,
                network_digest=network.digest,
                network_precision=network.precision,
                resize=network.resize,
                samples=len(comparison.generated),
                seed=judging.seed,
                truncation=judging.truncation,
                neighbours=NEIGHBOURS,
                block=BLOCK,
            ),
            measures=measurements.numbers,
            errors=measurements.errors,
            **self._by_class(comparison, measurements),
            seconds=seconds,
            at=time.time(),
            by=self._context.lease.job_id,
            advisory=self._spec.advisory,
            pictures=pictures,
        )

    def _by_class(self, comparison: Comparison, measurements: Measurements) -> dict[str, Any]:
        """Return what was measured of each class that was learned, by its name."""
        numbers = {
            "class_accuracies": measurements.by_class.get("gan_test_accuracy"),
            "class_frechet_distances": measurements.by_class.get("class_distance"),
        }
        if not any(numbers.values()):
            return {}
        learned = self._judge.training
        of = [(label, learned.classes[label]) for label in learned.present_classes.tolist()]
        real = class_counts(comparison.real_labels, learned.classes).tolist()
        return {
            **{key: {name: values[label] for label, name in of} for key, values in numbers.items() if values},
            "class_pictures": {name: (comparison.class_part, real[label]) for label, name in of},
        }

    # What an evaluation leaves behind in the store

    def _store_nearest(self, comparison: Comparison) -> str:
        """Store a picture of the generated pictures most like a training picture, each above that; return its key."""
        self._check()
        rows = comparison.training_distances.argsort()[:NEAREST_SHOWN]
        chosen = nearest(comparison.features[rows], comparison.learned.features, comparison.blocks)
        originals = self._judge.training.images.take(chosen)
        both = torch.cat([comparison.generated[rows].cpu(), originals])
        png = grid_png(to_floats(both.numpy()), len(rows))
        return self._context.store.put_evaluation_picture(self._context.lease, "nearest", png)

    def _publish_if_best(self, candidate: Candidate, evaluation: Evaluation, earlier: list[Evaluation]) -> str | None:
        """Return the key of the generator's folder: of an earlier evaluation, or published now if none better is known.

        None of one that has a better, of an advisory one, which chooses nothing, and of weights that were sent back: no
        training is known to publish them with.
        """
        for other in earlier:
            same_weights = other.checkpoint == evaluation.checkpoint or not candidate.history
            if evaluation.replaces(other) and same_weights and other.generator:
                return other.generator
        if not candidate.history or evaluation.advisory or not evaluation.is_best_among(earlier):
            return None
        if published := self._context.store.published_generator(self._context.lease.job_id):
            return published  # by an attempt that died before it could say so
        self._context.heartbeat.does(Activity.PUBLISHING)
        training = self._context.store.get_spec(evaluation.job_id)
        others = held_out(self._context.settings, self._context.store, training)
        bundle = candidate.bundle(training, self._judge.training, others)
        return publish(self._context.store, self._context.lease, bundle, self._context.heartbeat.hold, evaluation)
