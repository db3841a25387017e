"""Keys of what an attempt writes: jobs/ID/attempts/NNNN/KIND/IMAGES.SUFFIX."""

import re

from ganservice.job import Lease
from ganservice.retention import NOTHING, Written


def attempts_prefix(job_id: str) -> str:
    """The beginning of the keys of all that attempts of a job write."""
    return f"jobs/{job_id}/attempts/"


def attempt_prefix(job_id: str, attempt: int) -> str:
    """The beginning of the keys of all that an attempt writes."""
    return f"{attempts_prefix(job_id)}{attempt:04d}/"


def attempt_key(lease: Lease, kind: str, images: int, suffix: str) -> str:
    """The key of what an attempt writes after so many images."""
    return f"{attempt_prefix(lease.job_id, lease.attempt)}{kind}/{images:012d}.{suffix}"


def attempt_of(key: str) -> int:
    """The attempt that wrote an object of a job; 0 of what none wrote."""
    match = re.match(r"jobs/[^/]+/attempts/(\d+)/", key)
    return int(match[1]) if match else 0


def find_in_attempt(job_id: str, rest: str, key: str) -> re.Match[str] | None:
    """What a key of an attempt is, whole: the attempt's number, and the groups of the pattern `rest`.

    Never by a part of it: submitters may write below `reports/`, of which an attempt's key has none.
    """
    return re.fullmatch(rf"{re.escape(attempts_prefix(job_id))}(\d+)/{rest}", key)


def is_checkpoint_of(key: str, job_id: str, attempt: int, images: int) -> bool:
    """Whether a key is that of this very checkpoint of a job; weights that were sent are no attempt's."""
    if attempt == 0:
        return re.fullmatch(r"weights/[0-9a-f]{64}\.safetensors", key) is not None
    return key == f"{attempt_prefix(job_id, attempt)}checkpoints/{images:012d}.pt"


def written(checkpoint_key: str) -> Written:
    """When a checkpoint of a job was taken, and by which attempt; of another job's, it is no matter."""
    match = re.fullmatch(r"jobs/[^/]+/attempts/(\d+)/checkpoints/(\d+)\.pt", checkpoint_key)
    return Written(images=int(match[2]), attempt=int(match[1])) if match else NOTHING
