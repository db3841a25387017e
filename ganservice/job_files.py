"""Job files: what a job has in the store, by the names that users read and ask by.

A name is the key without `jobs/ID/`, such as attempts/0001/samples/000000001280.png. Users ask by a word, which means
the newest of its kind, or by a pattern of names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ganservice.errors import ArtifactMissing
from ganservice.job_keys import attempt_of
from ganservice.objects import ObjectStore, StoredObject


@dataclass(frozen=True)
class Word:
    """A word for the newest object of a kind."""

    names: str  # a regular expression
    copy: str  # what a copy of it is called
    advice: str  # what makes one where there is none


WORDS = {
    "grid": Word(r"attempts/\d+/samples/\d+\.png", "grid.png", "the first comes as `samples.every_images` says"),
    "metrics": Word(
        r"attempts/\d+/metrics/\d+\.jsonl",
        "metrics.jsonl",
        "they are stored with each checkpoint, and each half minute",
    ),
    "checkpoint": Word(
        r"attempts/\d+/checkpoints/\d+\.pt", "checkpoint.pt", "the first comes as `checkpoints.every_images` says"
    ),
    "report": Word(r"reports/\d+\.html", "report.html", "`ganctl report {job_id}` writes one"),
}
# Names that can become those of files in a folder, and lead nowhere else.
HARMLESS = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,199}/)*[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True)
class JobFile:
    """An object of a job."""

    job_id: str
    object: StoredObject
    copy: str  # what a copy of it is called, in a folder

    @property
    def name(self) -> str:
        """Its key, but for what it has in common with all of the job."""
        return self.object.key.removeprefix(f"jobs/{self.job_id}/")

    @property
    def is_harmless(self) -> bool:
        """Whether a copy of it stays in its folder, whoever chose its name."""
        return HARMLESS.fullmatch(self.copy) is not None


def list_files(objects: ObjectStore, job_id: str) -> list[JobFile]:
    """All that a job has in the store, by name. Raises StoreOutage."""
    prefix = f"jobs/{job_id}/"
    return [JobFile(job_id, entry, entry.key.removeprefix(prefix)) for entry in objects.list_objects(prefix)]


def choose_files(files: Sequence[JobFile], wanted: str, job_id: str) -> list[JobFile]:
    """Those that a word or a pattern means: the newest of a kind, or all whose names, or the ends of these, match it; a
    folder's name means all in it.

    Raises:
        ArtifactMissing: there is none.
    """
    if word := WORDS.get(wanted):
        alike = [file for file in files if re.fullmatch(word.names, file.name)]
        if not alike:
            advice = word.advice.format(job_id=job_id)
            raise ArtifactMissing(f"{job_id} has no {wanted} in the store; {advice}")
        newest = max(alike, key=lambda file: (attempt_of(file.object.key), file.name))
        return [JobFile(job_id, newest.object, word.copy)]
    found = [file for file in files if _matches(file.name, wanted.rstrip("/"))]
    if not found:
        raise ArtifactMissing(f"{job_id} has nothing in the store that matches; see `ganctl ls {job_id}`")
    return found


def _matches(name: str, pattern: str) -> bool:
    return any(fnmatchcase(name, each) for each in (pattern, f"*/{pattern}", f"{pattern}/*", f"*/{pattern}/*"))
