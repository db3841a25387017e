"""Series of what evaluations found of a training, and the memory of them: they are read when there is a new one."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ganservice.evaluation import Evaluation, best_of, last_and_best
from ganservice.job import Job
from ganservice.metrics import MEASURES, PROTOCOLS

# The name of a metric, a value, and the labels beside the id of the job.
Sample = tuple[str, float | None, *tuple[str, ...]]


@dataclass(frozen=True)
class Quality:
    """What the evaluations of one training say."""

    samples: tuple[Sample, ...] = ()
    last_and_best: tuple[Evaluation, ...] = ()  # of those that compare


class Qualities:
    """The quality of each training, read again once the evaluations of one have changed."""

    def __init__(self, read: Callable[[Iterable[str]], dict[str, list[Evaluation]]]) -> None:
        """`read` is that of `JobRecords.evaluations_of`."""
        self._read = read
        self._known: dict[str, tuple[float | None, Quality]] = {}

    def look(self, jobs: Iterable[Job]) -> dict[str, Quality]:
        """The quality of each of the jobs that has been evaluated; any other job is forgotten. Raises BrokerOutage."""
        changed_at = {job.id: job.evaluated_at for job in jobs if job.evaluation is not None}
        known = {job_id: self._known[job_id] for job_id in changed_at if job_id in self._known}
        stale = [job_id for job_id, at in changed_at.items() if job_id not in known or known[job_id][0] != at]
        for job_id, evaluations in self._read(stale).items():
            known[job_id] = changed_at[job_id], quality_of(evaluations)
        self._known = known
        return {job_id: quality for job_id, (_, quality) in known.items()}


def quality_of(evaluations: Sequence[Evaluation]) -> Quality:
    """What all evaluations of one training say, by the protocols that most of them share."""
    by_protocol: dict[str, list[Evaluation]] = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: (evaluation.images, evaluation.at)):
        by_protocol.setdefault(evaluation.protocol.digest, []).append(evaluation)
    usual = sorted(by_protocol, key=lambda digest: (len(by_protocol[digest]), by_protocol[digest][-1].at))
    samples = [sample for digest in reversed(usual[-PROTOCOLS:]) for sample in _samples(digest, by_protocol[digest])]
    return Quality(tuple(samples), last_and_best(evaluations) or ())


def _samples(digest: str, evaluations: list[Evaluation]) -> Iterator[Sample]:
    """The samples of what was found by one protocol, in the order of the images."""
    newest = evaluations[-1]
    labels = digest, newest.protocol.network
    yield "job_protocol", float(any(not each.advisory for each in evaluations)), digest
    yield "job_quality_images", newest.images, *labels
    for name, value in itertools.islice(newest.measures.items(), MEASURES):
        yield "job_quality", value, name, *labels
    first = next((evaluation for evaluation in evaluations if evaluation.has_quality), None)
    best = best_of(evaluations)
    if first and best:
        yield "job_first_quality", first.quality, *labels
        yield "job_best_quality", best.quality, *labels
        yield "job_best_quality_images", best.images, *labels
