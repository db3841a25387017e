"""What commands import that are to be there at once: nothing that they do not use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganservice.cli.exit_codes import NOT_IN_TIME
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker
from tests.integration.jobs import submit

HEAVY = {"torch", "ray", "numpy", "boto3", "botocore", "rich", "matplotlib", "PIL", "prometheus_client"}
LIGHT = {*HEAVY, "redis", "pydantic", "pydantic_settings"}


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: it answers, and that is all."""
    return valkey


CASES = (
    ("list", HEAVY),
    ("show tiny", HEAVY),
    ("submit {spec}", HEAVY),
    ("wait tiny --timeout 0", HEAVY),
    ("--help", LIGHT),
    ("complete ganctl show ti", LIGHT),
    ("complete ganctl sho", LIGHT),
)


@pytest.mark.parametrize(("given", "spared"), CASES, ids=[given for given, _ in CASES])
def test_what_a_command_does_not_import(
    given: str, spared: set[str], settings: Settings, queue: JobQueue, spec: TrainSpec, tmp_path: Path
) -> None:
    submit(queue, spec)
    assert settings.broker_url
    environment = os.environ | {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value()}
    (tmp_path / "points.yaml").write_text(Path("configs/ring2d.yaml").read_text())
    arguments = given.format(spec=tmp_path / "points.yaml").split()
    if arguments[0] == "complete":
        typed = " ".join(arguments[1:])
        environment |= {"_GANCTL_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(arguments) - 2)}
        arguments = []
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from ganservice.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout or done.returncode == NOT_IN_TIME, done.stderr
    assert not spared & set(done.stderr.splitlines()[-1].split())
