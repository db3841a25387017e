"""The part of the benchmark that takes a whole stack, and Ray's own ways beside it."""

import subprocess
import sys

from tests.lifetime import bound


def test_a_job_is_timed_from_its_submission_to_its_first_step() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "first_step", "--tiny"]
    done = subprocess.run(bound(command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout, done.stdout
    rows = [line for line in done.stdout.splitlines() if "submission to first step" in line]
    assert len(rows) == 3
