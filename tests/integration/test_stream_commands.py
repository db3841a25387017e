"""What parts of a job's events and log can be asked for, on a real broker."""

import json
import re
import time

import click
import pytest
import redis

from ganservice.job import EventKind
from ganservice.queue import JobQueue, NewEvent
from ganservice.spec import TrainSpec
from tests.commands import Command
from tests.integration.broker import Broker
from tests.integration.jobs import TROUBLE, lease, skip_delay, submit


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what scripts do is tested on both elsewhere."""
    return valkey


@pytest.fixture
def told(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> str:
    """A job of two attempts that had something to say."""
    job_id = submit(queue, spec)
    for attempt in (1, 2):
        held = lease(queue)
        events = [NewEvent(EventKind.SAMPLES, {"images": images, "key": "k"}) for images in (8, 16)]
        queue.heartbeat(held, events=events, logs=[f"info: line {line} of attempt {attempt}" for line in range(3)])
        queue.finish(held, TROUBLE)
        skip_delay(admin, job_id)
    return job_id


def test_events_are_sentences(command: Command, told: str) -> None:
    first, *_, last = command("events", told).out.splitlines()
    assert re.fullmatch(r"[\d-]{10} [\d:]{8}   0  submitted             submitted by ada", first)
    assert "requeued              the attempt ended because a worker died: an actor is gone; again " in last


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 9), (("--attempt", "2"), 4), (("--kind", "samples"), 4), (("--kind", "samples", "--kind", "leased"), 6),
        (("--tail", "3"), 3), (("--tail", "1", "--kind", "samples"), 1), (("--since", "1h"), 9), (("--tail", "0"), 0),
        (("--kind", "failed"), 0), (("--attempt", "2", "--kind", "samples"), 2),
    ],
)  # fmt: skip
def test_some_events_can_be_asked_for(options: tuple[str, ...], count: int, command: Command, told: str) -> None:
    assert len(command("events", told, *options).out.splitlines()) == count


def test_the_last_of_those_wanted_are_told(command: Command, told: str) -> None:
    [event] = [json.loads(line) for line in command("events", told, "--tail", "1", "-o", "json").out.splitlines()]
    assert (event["kind"], event["attempt"]) == ("requeued", 2)
    assert command("logs", told, "--tail", "1", "--attempt", "1").out.endswith("info: line 2 of attempt 1\n")


def test_what_is_older_is_left_out(command: Command, told: str, queue: JobQueue, admin: redis.Redis) -> None:
    moments = (int((time.time() - age_s) * 1000) for age_s in (7_200, 60))
    admin.delete(f"{{gan}}:logs:{told}")
    for moment in moments:
        admin.xadd(f"{{gan}}:logs:{told}", {"text": f"at {moment}", "attempt": 1}, id=f"{moment}-0")
    assert len(queue.logs(told)) == 2
    assert len(command("logs", told, "--since", "10m").out.splitlines()) == 1


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(command: Command, told: str) -> None:
    with pytest.raises(click.BadParameter, match="'checkpoint', 'checkpoint_damaged'"):
        command("events", told, "--kind", "checkpoints")


def test_whoever_follows_begins_with_the_tail(command: Command, queue: JobQueue, told: str) -> None:
    queue.cancel(told)
    lines = command("events", told, "--follow", "--tail", "1").out.splitlines()
    assert [line.split()[3] for line in lines] == ["cancelled"]
