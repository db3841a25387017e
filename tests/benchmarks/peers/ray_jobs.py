"""Ray Jobs: a script, submitted to the dashboard of a head."""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from tests.benchmarks.peers import first_step
from tests.benchmarks.peers.ray_head import Head
from tests.conftest import wait_until


def build(head: Head) -> Callable[[], float]:
    """Return what submits a job, waits for its end, and gives the time to its first step, s."""
    client = JobSubmissionClient(head.dashboard)
    wait_until(partial(_takes_jobs, client))

    def seconds() -> float:
        file = Path(tempfile.mkdtemp(dir=head.folder)) / "moment"
        submitted_at = time.time()
        job_id = client.submit_job(entrypoint=f"{sys.executable} {first_step.__file__} {file}")
        wait_until(lambda: client.get_job_status(job_id).is_terminal())
        if not file.exists():
            raise RuntimeError(client.get_job_logs(job_id))
        return float(wait_until(partial(first_step.moment_in, file))) - submitted_at

    return seconds


def _takes_jobs(client: JobSubmissionClient) -> bool:
    """Whether the head's agent, which comes later than the head, starts jobs by now."""
    try:
        job_id = client.submit_job(entrypoint="true")
    except RuntimeError:
        return False
    wait_until(lambda: client.get_job_status(job_id).is_terminal())
    return True
