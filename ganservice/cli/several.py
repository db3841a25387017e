"""Commands about several jobs: a line for each, and at the end the worst exit code."""

import sys
from collections.abc import Callable, Iterator, Sequence
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
        """Do it with all jobs that are meant, each once, and exit with the worst code.

        Raises:
            GanServiceError: there is one word alone, which means one job, and it cannot be done.
        """
        is_alone = len(references) == 1 and not is_pattern(references[0]) and output != "json"
        codes, seen = [0], set[str]()
        for reference in references:
            for job_id, found in self._each(reference, seen, is_alone):
                codes.append(found.get("exit_code", 0))
                if output == "json":
                    told = {"id": job_id, "done": True, "error": None, "exit_code": 0} | found
                    empty = {key: None for key in self.document.model_fields if key != "version"}
                    print_json_line(self.document.model_validate(empty | told).plain())
        if code := worst(codes):
            sys.exit(code)

    def _each(self, reference: str, seen: set[str], is_alone: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        job_id = reference
        try:
            for job_id in self.find(reference):
                if job_id not in seen:
                    seen.add(job_id)
                    yield job_id, self._one(job_id, is_alone)
        except (Outage, NoDispatcher):
            raise
        except GanServiceError as error:
            if is_alone:
                raise
            yield reference, _failure(error)

    def _one(self, job_id: str, is_alone: bool) -> dict[str, Any]:
        try:
            return self.do(job_id)
        except (Outage, NoDispatcher):
            raise
        except GanServiceError as error:
            if is_alone:
                raise
            return _failure(error)


def _failure(error: GanServiceError) -> dict[str, Any]:
    say(f"error: {error}")
    return {"done": False, "error": str(error), "exit_code": error.exit_code}
