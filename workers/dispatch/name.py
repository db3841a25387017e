"""GangName: by which the group and the actors of an attempt are found in Ray. Pure."""

import re
from dataclasses import dataclass
from typing import Self

PATTERN = re.compile(r"([a-z0-9][a-z0-9-]*)/([0-9]+)(?:/[0-9]+)?")


@dataclass(frozen=True, order=True)
class GangName:
    """The attempt of a gang, in the name of its placement group and, with a rank, of its actors."""

    job_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.job_id}/{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read the name of a group or an actor; None of one that is no gang's."""
        found = PATTERN.fullmatch(name)
        return cls(found[1], int(found[2])) if found else None
