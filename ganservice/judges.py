"""Judges: the networks by which the checkpoints of one training were judged, and where they disagree. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

from ganservice.evaluation import Evaluation, best_of, comparable

# Below this correlation of ranks two judges tell different stories; of fewer checkpoints it says nothing.
LEAST_CORRELATION, LEAST_RANKED = 0.5, 4
# Of fewer checkpoints nobody knows how much a judge's numbers scatter.
LEAST_SCATTERED = 3


@dataclass(frozen=True)
class Disagreement:
    """Another judge than the one that chooses the best checkpoint, and what it has against the choice."""

    judge: str  # full name of its number
    chosen: Evaluation  # its own of the checkpoint that was chosen
    best: Evaluation  # its best
    checkpoints: int  # that both have judged
    correlation: float | None  # of the ranks that both give them; None of too few

    def __str__(self) -> str:
        said = [f"judges disagree: by {self.judge}"]
        if self.best is not self.chosen:
            said.append(
                f"the best is at {self.best.images:,} images ({self.best.quality:.4g}; "
                f"{self.chosen.quality:.4g} at {self.chosen.images:,}, which was chosen),"
            )
        if self.correlation is not None:
            said.append(f"ranks of {self.checkpoints} checkpoints correlate by {self.correlation:.2f}")
        return " ".join(said).rstrip(",")


def other_judges(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Return what each other judge found than the one that chooses the best checkpoint, by images.

    A judge is a network; of one that was used under several protocols it is what it found under the most used.
    """
    choosing = comparable(evaluations)
    by_judge: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        by_judge.setdefault(_judge(evaluation), []).append(evaluation)
    others = [own for judge, own in by_judge.items() if choosing and judge != _judge(choosing[0])]
    found = [sorted(comparable(own), key=lambda evaluation: evaluation.images) for own in others]
    return [own for own in found if own]


def disagreements(evaluations: Sequence[Evaluation]) -> list[Disagreement]:
    """Return where other judges disagree with the choice of the best checkpoint.

    One does where its own best is better than the chosen one by more than its numbers scatter, or where it ranks the
    checkpoints otherwise. Only checkpoints that both have judged count.
    """
    choosing = {evaluation.subject: evaluation for evaluation in comparable(evaluations)}
    found = []
    for others in other_judges(evaluations):
        pairs = [(choosing[own.subject], own) for own in others if own.subject in choosing]
        if disagreement := _disagreement(pairs):
            found.append(disagreement)
    return found


def _disagreement(pairs: Sequence[tuple[Evaluation, Evaluation]]) -> Disagreement | None:
    """What is between two judges, from what both found of each checkpoint, by images."""
    best, own_best = best_of([one for one, _ in pairs]), best_of([other for _, other in pairs])
    if best is None or own_best is None:
        return None
    chosen = next(other for one, other in pairs if one is best)
    correlation = _correlation([(one.quality, other.quality) for one, other in pairs])
    ranks_differ = correlation is not None and correlation < LEAST_CORRELATION
    scatter = _scatter([other.quality for _, other in pairs])
    best_differs = scatter is not None and chosen.quality - own_best.quality > scatter
    if not (ranks_differ or best_differs):
        return None
    return Disagreement(
        judge=own_best.quality_name,
        chosen=chosen,
        best=own_best if best_differs else chosen,
        checkpoints=len(pairs),
        correlation=correlation,
    )


def _scatter(qualities: Sequence[float]) -> float | None:
    """By how much a judge's numbers usually differ from one checkpoint to the next; None of too few."""
    if len(qualities) < LEAST_SCATTERED:
        return None
    return median(abs(one - next_one) for one, next_one in pairwise(qualities))


def _correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau of two judges' numbers: 1 where they rank alike, -1 where the other way round; None of too few."""
    if len(pairs) < LEAST_RANKED:
        return None
    agreements = [_sign(a[0] - b[0]) * _sign(a[1] - b[1]) for a, b in combinations(pairs, 2)]
    return sum(agreements) / len(agreements)


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _judge(evaluation: Evaluation) -> tuple[str, str]:
    return evaluation.protocol.network, evaluation.protocol.network_digest
