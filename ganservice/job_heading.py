"""Headings: what is told of a job without reading all of it, so that thousands can be looked through."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ganservice.job import State

# Fields of a job's hash, in this order.
FIELDS = ("state", "user", "order", "submitted_at", "evaluates", "evaluates_images", "idempotency_key")
# How a training begins the key by which it submits its own evaluations.
OF_A_TRAINING = "evaluate/"
# No number of a sound job has more digits.
LONGEST_NUMBER = 16


@dataclass(frozen=True)
class Heading:
    """The heading of one job."""

    id: str
    state: State | None  # None of one that only another version knows
    user: str | None
    order: int  # its place in the order of submission
    submitted_at: float  # Unix time, s
    evaluates: str | None  # the training that it judges; None of a training
    images: int  # of the checkpoint that it judges
    is_automatic: bool  # submitted by the training itself

    @property
    def name(self) -> str:
        """The name of the job, which its id begins with."""
        return name_of(self.id)

    @property
    def kind(self) -> Literal["train", "evaluate"]:
        """What kind of job it is."""
        return "evaluate" if self.evaluates else "train"


def read_heading(job_id: str, row: Sequence[str | None] | None) -> Heading | None:
    """The heading that these fields make; None of a job that is gone. What another hand has damaged counts as 0."""
    if row is None or row[0] is None:
        return None
    state, user, order, submitted_at, evaluates, images, key = row
    return Heading(
        id=job_id,
        state=next((known for known in State if known == state), None),
        user=user,
        order=_number(order),
        submitted_at=_number(submitted_at) / 1000,
        evaluates=evaluates,
        images=_number(images),
        is_automatic=bool(evaluates and key and key.startswith(OF_A_TRAINING)),
    )


def name_of(job_id: str) -> str:
    """The name that a job's id begins with, as the scripts have it."""
    return re.sub(r"-[^-]*$", "", job_id)


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) <= LONGEST_NUMBER else 0
