"""Keys of what an attempt writes: jobs/ID/attempts/NNNN/KIND/IMAGES.SUFFIX."""

import re

from ganservice.job import Lease
from ganservice.retention import NOTHING, Written


def attempt_prefix(job_id: str, attempt: int) -> str:
    """The beginning of the keys of all that an attempt writes."""
    return f"jobs/{job_id}/attempts/{attempt:04d}/"


def attempt_key(lease: Lease, kind: str, images: int, suffix: str) -> str:
    """The key of what an attempt writes after so many images."""
    return f"{attempt_prefix(lease.job_id, lease.attempt)}{kind}/{images:012d}.{suffix}"


def attempt_of(key: str) -> int:
    """The attempt that wrote an object of a job."""
    match = re.search(r"/attempts/(\d+)/", key)
    return int(match[1]) if match else 0


def is_checkpoint_of(key: str, job_id: str, attempt: int, images: int) -> bool:
    """Whether a key is that of this very checkpoint of a job; weights that were sent are no attempt's."""
    if attempt == 0:
        return re.fullmatch(r"weights/[0-9a-f]{64}\.safetensors", key) is not None
    return key == f"{attempt_prefix(job_id, attempt)}checkpoints/{images:012d}.pt"


def written(checkpoint_key: str) -> Written:
    """When a checkpoint of a job was taken, and by which attempt; of another job's, it is no matter."""
    match = re.search(r"/attempts/(\d+)/checkpoints/(\d+)\.pt$", checkpoint_key)
    return Written(images=int(match[2]), attempt=int(match[1])) if match else NOTHING
