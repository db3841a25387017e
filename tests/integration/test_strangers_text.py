"""What a stranger wrote into a job is shown by every command, and obeyed by no terminal."""

import json
import sys
from pathlib import Path

import click
import pytest
import redis

from ganservice.cli import main
from ganservice.cli.completion import JobReference
from ganservice.job import State
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Start, TrainSpec
from tests.integration.broker import Broker
from tests.integration.jobs import evaluation, submit
from tests.strangers_text import OBEYED

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1A\u202e\u200b\ufeff\u2028\x00\r\nerror: \x7fforged"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b1A\u202e\u200b\ufeff\u2028\x00\r\nerror: \x7fforged"
# What `print_json` makes of it.
IN_JSON = r"\u001b]0;owned\u0007\u001b[2J\u009b1A\u202e\u200b\ufeff\u2028\u0000\r\nerror: \u007fforged"
COMMANDS = {
    "list": SHOWN,
    "list -o json": IN_JSON,
    "show {job}": SHOWN,
    "show {job} -o json": IN_JSON,
    "events {job}": SHOWN,
    "events {job} -o json": IN_JSON,
    "logs {job}": SHOWN,
    "logs {job} -o json": IN_JSON,
    "wait {job}": SHOWN,
    "watch {job}": SHOWN,
}


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is printed does not depend on it."""
    return valkey


@pytest.fixture
def job(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A job that has failed, and in which every text is a stranger's."""
    start = Start(job_id="other", images=8, checkpoint="a/b.pt", sha256="0" * 64, changes={HOSTILE: (HOSTILE, HOSTILE)})
    job_id = submit(queue, spec, start=start)
    admin.hset("{gan}:job:" + job_id, mapping={"state": State.FAILED, "reason": "error"})
    for name in ("message", "waiting_for", "owner"):
        admin.hset("{gan}:job:" + job_id, name, HOSTILE)
    found = evaluation(job_id, 64, 1.0, by=HOSTILE)
    found = found.model_copy(update={"class_accuracies": {HOSTILE: 0.5}, "measures": found.measures | {HOSTILE: 1.0}})
    admin.hset("{gan}:evaluations:" + job_id, "64", found.model_dump_json())
    for kind in ("failed", HOSTILE):
        detail = json.dumps({"message": HOSTILE, HOSTILE: [HOSTILE, {"a": HOSTILE}]})
        admin.xadd("{gan}:events:" + job_id, {"kind": kind, "attempt": 1, "detail": detail})
    admin.xadd("{gan}:logs:" + job_id, {"attempt": 1, "text": HOSTILE})
    assert settings.broker_url
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.broker_url.get_secret_value())
    monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:9/bucket")
    return job_id


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_it_and_no_terminal_obeys(
    command: str, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "argv", ["ganctl", *command.format(job=job).split()])
    with pytest.raises(SystemExit):
        main()
    printed = "".join(capfd.readouterr())
    assert not (set(OBEYED) - {"\n"}) & set(printed)
    assert COMMANDS[command] in printed
    assert "\nerror: \x7fforged" not in printed
    assert "Traceback" not in printed


def test_the_shell_completes_no_word_that_it_would_run(job: str, admin: redis.Redis, spec: TrainSpec) -> None:
    admin.zadd("{gan}:ids", {"tiny-$(reboot)": 0})
    admin.hset("{gan}:job:tiny-$(reboot)", "state", "queued")
    parameter = click.Argument(["reference"], type=JobReference())
    items = parameter.type.shell_complete(click.Context(click.Command("show")), parameter, "t")
    assert [item.value for item in items] == [job, spec.name]
