"""The table that `list` prints: a row for each job, with what matters of it at a glance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ganservice.cli.output import ago, say, span, table_lines
from ganservice.cli.standing import standing_note
from ganservice.evaluation import Evaluation
from ganservice.job import Health, Job, State
from ganservice.job_heading import Heading
from ganservice.job_list import Found
from ganservice.mistakes import one_line
from ganservice.reservation import Reservation, reservation

# Of these columns each that is empty in all rows is left out.
OPTIONAL = ("user", "priority", "left", "health", "quality", "evals", "tags", "note")
# And of these, from the first on, as many as it takes to fit a terminal.
DISPENSABLE = ("tags", "priority", "user", "evals")
USUAL_PRIORITY = 50
WORST_FIRST = list(reversed(Health))
# By what a list can be sorted, each with the key of a job: those that have no such thing come
# last, and the newest first where that is equal.
SORTS: dict[str, Callable[[Job], Any]] = {
    "age": lambda job: -job.order,
    "name": lambda job: job.name,
    "user": lambda job: (job.user is None, job.user),
    "state": lambda job: list(State).index(job.state),
    "priority": lambda job: -job.priority,
    "progress": lambda job: -job.share_done,
    "left": lambda job: float("inf") if job.left_s is None else job.left_s,
    "health": lambda job: WORST_FIRST.index(job.health_seen) if job.health_seen else len(WORST_FIRST),
    "quality": lambda job: job.evaluation.quality if job.evaluation else float("inf"),
}


@dataclass(frozen=True)
class Looks:
    """What is needed beside the jobs themselves to tell how they stand."""

    evaluations: dict[str, list[Evaluation]]  # by training, where they may matter
    now_s: float  # by Redis' clock

    def against(self, job: Job) -> Reservation | None:
        """What is to be said against a success."""
        return reservation(job, self.evaluations.get(job.id, ()))


def table_of(found: Found, looks: Looks, columns: int | None) -> list[str]:
    """The lines of the table, for a terminal of so many columns; of a job that cannot be shown there is none, and a
    word."""
    rows = list(_rows(found, looks))
    rows = _without(rows, *(name for name in OPTIONAL if not any(row[name] for row in rows)))
    for name in DISPENSABLE:
        if columns is None or max(map(len, table_lines(_without(rows, "note"))), default=0) <= columns:
            break
        rows = _without(rows, name)
    return table_lines(rows, columns)


def _without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: text for name, text in row.items() if name not in names} for row in rows]


def _rows(found: Found, looks: Looks) -> Iterator[dict[str, Any]]:
    for job in found.jobs:
        try:
            yield _row(job, found.evaluations.get(job.id, ()), looks)
        except (ArithmeticError, OSError, TypeError, ValueError) as error:
            say(one_line(f"{job.id} cannot be shown: {type(error).__name__}: {error}"))


def _row(job: Job, evaluations: Sequence[Heading], looks: Looks) -> dict[str, Any]:
    against = looks.against(job)
    return {
        "id": job.id,
        "user": job.user,
        "state": "stopping" if job.state is State.RUNNING and job.cancel_requested else job.state,
        "priority": job.priority if job.priority != USUAL_PRIORITY and not job.state.is_final else None,
        "done": f"{job.share_done:.0%}" if job.attempt else "",
        "left": span(job.left_s) if job.left_s is not None else "",
        "health": against.kind if against else job.health_seen,
        "quality": f"{job.evaluation.quality:.4g}" if job.evaluation else "",
        "evals": _evaluations(evaluations),
        "age": ago(job.submitted_at),
        "tags": ",".join(job.spec.tags),
        "note": standing_note(job, against, looks.now_s),
    }


def _evaluations(headings: Sequence[Heading]) -> str:
    """How many of a training's evaluation jobs have succeeded, of how many, and how one of the others stands."""
    if not headings:
        return ""
    states = [heading.state for heading in headings]
    others = [state for state in (State.RUNNING, State.QUEUED, State.FAILED, State.CANCELLED) if state in states]
    return " ".join([f"{states.count(State.SUCCEEDED)}/{len(states)}", *others[:1]])
