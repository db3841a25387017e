"""A short run of `make chaos`: one fault of each family strikes the whole service, and nothing is lost or left."""

import subprocess
import sys
from pathlib import Path

from tests.lifetime import bound

ROOT = Path(__file__).parents[2]
# Below the time that a test may take, for what is killed then says nothing of where it was.
LIMIT_S = 840
RUN = ("--seed", "7", "--faults", "11", "--recipes", "ring", "pair", "--limit-s", str(LIMIT_S))


def test_nothing_is_lost_under_faults_of_every_family() -> None:
    command = bound([sys.executable, "-m", "tests.chaos", *RUN])
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "11 faults" in run.stdout
