"""A short run of `make hostile`: inputs of each family are refused with one line, and the service is undisturbed."""

import subprocess
import sys
from pathlib import Path

from tests.lifetime import bound

ROOT = Path(__file__).parents[2]
RUN = ("--seed", "7", "--seconds", "600", "--rounds", "1", "--most", "2")


def test_hostile_inputs_of_every_family_are_refused_with_one_line() -> None:
    command = bound([sys.executable, "-m", "tests.hostile", *RUN])
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert " 0 violations" in run.stdout.splitlines()[-1]
