"""Commands about several jobs: a line for each, and at the end the worst exit code."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ganservice.cli.exit_codes import worst
from ganservice.cli.output import print_json_line, say
from ganservice.cli.reference import is_pattern
from ganservice.documents import ChangeDocument
from ganservice.errors import GanServiceError, NoDispatcher, Outage


@dataclass(frozen=True)
class Task:
    """What is done with each job."""

    find: Callable[[str], Sequence[str]]  # the ids that a word means
    do: Callable[[str], dict[str, Any]]  # what came of it, for the document
    document: type[ChangeDocument]  # the model of that, and of a failure

    def run(self, references: Sequence[str], output: str) -> None:
        """Find all jobs that are meant, then do it with each, once, and exit with the worst code.

        Raises:
            GanServiceError: there is one word alone, and it cannot be done.
        """
        is_alone = len(references) == 1 and output != "json"
        found = {reference: self._found(reference, is_alone) for reference in references}
        codes, seen = [0], set[str]()
        for reference, ids in found.items():
            if isinstance(ids, dict):
                codes.append(self._tell(reference, ids, output))
                continue
            for job_id in ids:
                if job_id not in seen:
                    seen.add(job_id)
                    came = self._done(job_id, is_alone and not is_pattern(reference))
                    codes.append(self._tell(job_id, came, output))
        if code := worst(codes):
            sys.exit(code)

    def _found(self, reference: str, is_alone: bool) -> Sequence[str] | dict[str, Any]:
        """The ids that a word means, or how that failed."""
        try:
            return self.find(reference)
        except GanServiceError as error:
            return _failure(error, is_alone)

    def _done(self, job_id: str, is_alone: bool) -> dict[str, Any]:
        """What came of it, or how it failed."""
        try:
            return self.do(job_id)
        except GanServiceError as error:
            return _failure(error, is_alone)

    def _tell(self, job_id: str, came: dict[str, Any], output: str) -> int:
        """Print what came of one job as a document where that is asked for. Returns its exit code."""
        told: dict[str, Any] = {"id": job_id, "done": True, "error": None, "exit_code": 0} | came
        if output == "json":
            empty = {key: None for key in self.document.model_fields if key != "version"}
            print_json_line(self.document.model_validate(empty | told).plain())
        return int(told["exit_code"])


def _failure(error: GanServiceError, is_alone: bool) -> dict[str, Any]:
    """How something failed, said aloud. Raises the error itself where the command has nothing else to do, or where none
    of the jobs would fare better."""
    if is_alone or isinstance(error, Outage | NoDispatcher):
        raise error
    say(f"error: {error}")
    return {"done": False, "error": str(error), "exit_code": error.exit_code}
