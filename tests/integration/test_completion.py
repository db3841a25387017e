"""What the shell completes of jobs, on real brokers and without Redis' library."""

import contextlib
import os
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from ganservice.cli import OF_JOBS, ganctl
from ganservice.cli.completion import MOST, OF_SWEEPS
from ganservice.cli.quick_redis import QuickRedis
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.sweep_request import make_sweep
from tests.integration.broker import Broker
from tests.integration.jobs import submit, submit_sweep


def completed(typed: str, **environment: str) -> list[str]:
    """What is offered for the last word of a line."""
    words = typed.split(" ")
    asked = {"_GANCTL_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = CliRunner(env=environment | asked).invoke(ganctl, prog_name="ganctl")
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def url(settings: Settings) -> str:
    assert settings.broker_url
    return settings.broker_url.get_secret_value()


def test_ids_and_names_are_completed_for_every_command_that_takes_them(
    url: str, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id, other = submit(queue, spec), submit(queue, spec, name="other")
    for command in sorted(OF_JOBS):
        assert completed(f"ganctl {command} ti", GANSERVICE_BROKER_URL=url) == [job_id, "tiny"]
    assert set(completed("ganctl cancel ", GANSERVICE_BROKER_URL=url)) == {job_id, other, "tiny", "other"}
    assert completed(f"ganctl wait {job_id} oth", GANSERVICE_BROKER_URL=url) == [other, "other"]
    assert completed("ganctl show @", GANSERVICE_BROKER_URL=url) == ["@last"]


def test_sweeps_are_completed_where_a_command_takes_them(url: str, queue: JobQueue, spec: TrainSpec) -> None:
    base = spec.model_copy(update={"evaluate": Evaluate()})
    job_id, sweep_id = submit(queue, spec), submit_sweep(queue, make_sweep(base, grid={"recipe.d_steps": [1, 2]}))
    for command in ("show", "watch", "wait", "cancel", "report", "delete"):
        assert completed(f"ganctl {command} ti", GANSERVICE_BROKER_URL=url) == [job_id, "tiny", sweep_id]
        assert completed(f"ganctl {command} {sweep_id[:-2]}", GANSERVICE_BROKER_URL=url) == [sweep_id]
    for command in sorted(OF_JOBS - OF_SWEEPS):
        assert completed(f"ganctl {command} ti", GANSERVICE_BROKER_URL=url) == [job_id, "tiny"]


def test_options_and_their_values_are_those_of_the_command(url: str) -> None:
    assert "--healthy" in completed("ganctl wait --", GANSERVICE_BROKER_URL=url)
    assert completed("ganctl fetch --checkpoint b", GANSERVICE_BROKER_URL=url) == ["best"]
    assert completed("ganctl set-", GANSERVICE_BROKER_URL=url) == ["set-priority"]


def test_of_a_queue_of_thousands_the_newest_are_offered(
    url: str, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    admin.zadd("{gan}:jobs", {f"gone-{number}": 10 + number for number in range(3 * MOST)})
    admin.zadd("{gan}:ids", {f"gone-{number}": 0 for number in range(3 * MOST)})
    assert completed("ganctl show ", GANSERVICE_BROKER_URL=url) == [], "those that are gone are not there"
    assert completed("ganctl show t", GANSERVICE_BROKER_URL=url) == [job_id, "tiny"]


def test_the_address_is_that_of_the_stack_that_is_up(
    url: str, queue: JobQueue, spec: TrainSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GANSERVICE_BROKER_URL", raising=False)
    job_id = submit(queue, spec)
    file = tmp_path / "settings.json"
    file.write_text(f'{{"broker_url": "{url}"}}')
    assert completed("ganctl show ti", GANSERVICE_STATE_DIR=str(tmp_path))[0] == job_id
    file.write_text("[")
    assert completed("ganctl show ti", GANSERVICE_STATE_DIR=str(tmp_path)) == []


@pytest.mark.parametrize(
    "address", ["redis://127.0.0.1:9/0", "rediss://127.0.0.1:9/0", "redis://:wrong@{host}/0", "odd"]
)
def test_where_nobody_answers_nothing_is_offered_and_nothing_said(address: str, broker: Broker) -> None:
    host = f"127.0.0.1:{broker.port}"
    assert completed("ganctl show ti", GANSERVICE_BROKER_URL=address.format(host=host)) == []


def test_what_another_hand_has_put_there_is_not_offered(
    url: str, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    for odd in ("tiny; rm -rf", "tiny\x1b[2J", "tin\u202ey"):
        admin.zadd("{gan}:ids", {odd: 0})
        admin.hset("{gan}:job:" + odd, "state", "queued")
    assert completed("ganctl show ti", GANSERVICE_BROKER_URL=url) == [job_id, "tiny"]


def test_answers_of_every_kind_are_read(url: str, admin: redis.Redis) -> None:
    admin.set("{gan}:token", 7)
    with contextlib.closing(QuickRedis(url, 5.0)) as quick:
        answers = quick.ask([("GET", "{gan}:token"), ("GET", "{gan}:order"), ("EXISTS", "{gan}:token"), ("PING",)])
        assert answers == ["7", None, 1, "PONG"]
        assert quick.ask([("ZRANGE", "{gan}:jobs", 0, -1)]) == [[]]
        with pytest.raises(ValueError, match="Redis says"):
            quick.ask([("HGET", "{gan}:token", "state")])
    assert os.environ.get("_GANCTL_COMPLETE") is None
