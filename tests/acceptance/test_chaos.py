"""A short run of `make chaos`: one fault of each family strikes the whole service, and nothing is lost or left."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifetime import bound

ROOT = Path(__file__).parents[2]
# A busy machine takes five times as long as an idle one, and a run that stands still ends itself. Less than pytest
# gives it, who would have it killed without a word of where it was.
LIMIT_S, TIMEOUT_S = 2_300, 2_400
RUN = ("--seed", "7", "--faults", "11", "--recipes", "ring", "pair", "--limit-s", str(LIMIT_S))


@pytest.mark.timeout(TIMEOUT_S)
def test_nothing_is_lost_under_faults_of_every_family() -> None:
    command = bound([sys.executable, "-m", "tests.chaos", *RUN])
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "11 faults" in run.stdout
