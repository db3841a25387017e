"""`ganctl list`: what it shows, and in what order."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from ganservice.cli import listing
from ganservice.cli.listing import NO_JOBS
from ganservice.errors import RequestError
from ganservice.job import Activity, Health, Pulse
from ganservice.job_list import JobList, Wanted
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.commands import Command
from tests.integration.broker import Broker
from tests.integration.jobs import FAILURE, finish_training, judge, lease, report, submit, submit_evaluation
from tests.lifetime import bound

Ids = Callable[..., list[str]]


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what is asked of brokers is tested on both elsewhere."""
    return valkey


@pytest.fixture
def ids(command: Command) -> Ids:
    """The ids that `list` prints, in its order."""

    def listed(*options: str) -> list[str]:
        return [job["id"] for job in json.loads(command("list", "-o", "json", *options).out)["jobs"]]

    return listed


def test_the_newest_comes_first_and_more_is_told(command: Command, ids: Ids, queue: JobQueue, spec: TrainSpec) -> None:
    first, second, third = (submit(queue, spec) for _ in range(3))
    assert ids() == [third, second, first]
    assert ids("--limit", "2") == [third, second]
    assert command("list", "-n", "2").err == "the newest 2 of 3 jobs; --limit shows more\n"


def test_filters(
    ids: Ids,
    settings: Settings,
    queue: JobQueue,
    admin: redis.Redis,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GANSERVICE_USER", "ada")
    ill = finish_training(queue, spec, Health.COLLAPSED, name="ill")
    with JobQueue(settings.model_copy(update={"user": "bob"})) as bobs:
        old = submit(bobs, spec, name="old", tags=("paper", "gan"))
    admin.hset("{gan}:job:" + old, "submitted_at", 1_000)
    new = submit(queue, spec, tags=("paper",))
    judged = submit_evaluation(queue, spec, ill, 64)
    assert ids("--name", "o*") == ids("--name", "old") == ids("--name", f"{old[:-3]}*") == [old]
    assert ids("--kind", "evaluate") == [judged]
    assert ids("--kind", "train") == [new, old, ill]
    assert ids("--user", "bob") == [old]
    assert ids("--user", "me", "--kind", "train") == [new, ill]
    assert ids("--state", "succeeded") == ids("--health", "collapsed") == [ill]
    assert ids("--tag", "paper") == [new, old]
    assert ids("--tag", "paper", "--tag", "gan") == [old]
    assert ids("--since", "2d", "--kind", "train") == [new, ill]


def test_no_health_is_told_of_a_job_before_its_first_report(
    command: Command, ids: Ids, queue: JobQueue, spec: TrainSpec
) -> None:
    well, waits = finish_training(queue, spec), submit(queue, spec)
    assert ids("--health", "ok") == [well]
    assert ids() == [waits, well]
    assert "health" not in command("show", waits).out
    assert "health" in command("show", well).out


def test_evaluations_stand_with_their_training(command: Command, ids: Ids, queue: JobQueue, spec: TrainSpec) -> None:
    training = finish_training(queue, spec)
    done = judge(queue, spec, training, 32, 40.0)
    waiting = submit_evaluation(queue, spec, training, 64)
    head, row = command("list").out.splitlines()
    assert "EVALS" in head
    assert row.split()[0] == training
    assert "1/2 queued" in row
    assert "40" in row.split()
    assert ids("--unfold") == [waiting, done, training]
    [told] = json.loads(command("list", "-o", "json").out)["jobs"]
    assert told["evaluation_jobs"] == [
        {"id": waiting, "state": "queued", "images": 64}, {"id": done, "state": "succeeded", "images": 32}
    ]  # fmt: skip


def test_an_evaluation_whose_training_is_not_listed_has_a_row(ids: Ids, queue: JobQueue, spec: TrainSpec) -> None:
    training = finish_training(queue, spec)
    waiting = submit_evaluation(queue, spec, training, 64)
    assert ids() == [training]
    assert ids("--state", "queued") == [waiting]


def test_another_order(ids: Ids, queue: JobQueue, spec: TrainSpec) -> None:
    good, bad = finish_training(queue, spec, name="b"), finish_training(queue, spec, Health.SUSPECT, name="a")
    judge(queue, spec, good, 64, 10.0)
    judge(queue, spec, bad, 64, 90.0)
    never = submit(queue, spec, name="c")
    assert ids("--sort", "name") == [bad, good, never]
    assert ids("--sort", "quality") == [good, bad, never]
    assert ids("--sort", "health")[0] == bad
    assert ids("--sort", "progress")[-1] == never


def test_what_cannot_be_ordered_comes_last(
    ids: Ids, queue: JobQueue, admin: redis.Redis, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVICE_USER", "ada")
    slow, fast = (submit(queue, spec) for _ in range(2))
    for job_id, speed in ((slow, 1.0), (fast, 10.0)):
        pulse = Pulse(activity=Activity.TRAINING, images=8, images_per_s=speed)
        queue.heartbeat(queue.take(job_id), report(8), pulse=pulse)
    ended = submit_evaluation(queue, spec, slow, 64)
    held = queue.take(ended)
    queue.heartbeat(held, pulse=Pulse(activity=Activity.MEASURING, share_done=0.9, left_s=0.1))
    queue.finish(held, FAILURE)
    waits = submit(queue, spec)
    assert ids("--unfold", "--sort", "left") == [fast, slow, waits, ended]
    assert ids("--unfold", "--sort", "health") == [fast, slow, waits, ended]
    admin.hdel("{gan}:job:" + waits, "user")
    assert ids("--unfold", "--sort", "user")[-1] == waits


def test_a_success_with_a_reservation_reads_as_one(command: Command, queue: JobQueue, spec: TrainSpec) -> None:
    finish_training(queue, spec, Health.COLLAPSED)
    far = finish_training(queue, spec)
    judge(queue, spec, far, 32, 10.0)
    judge(queue, spec, far, 64, 90.0)
    _, row, older = command("list").out.splitlines()
    assert "succeeded" in row
    assert "far from its best" in row
    assert row.endswith("classifier_frechet_distance 90 at 64 images, 10 at 32")
    assert "collapsed" in older
    assert older.endswith("its samples were all alike")


def test_a_report_that_is_late_is_told(command: Command, queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    pulse = Pulse(
        activity=Activity.TRAINING, images=8, images_per_s=1.0, report_age_s=45.0, report_every_s=2.0, still_s=45.0
    )
    queue.heartbeat(lease(queue), report(8), pulse=pulse)
    assert "no report for 45 s; usually 2 s" in command("list").out


def test_columns_that_say_nothing_are_left_out(command: Command, queue: JobQueue, spec: TrainSpec) -> None:
    submit(queue, spec)
    assert command("list").out.splitlines()[0].split() == ["ID", "USER", "STATE", "DONE", "AGE"]


def test_where_there_is_none_a_word_says_so(command: Command, queue: JobQueue, spec: TrainSpec) -> None:
    said = command("list")
    assert (said.out, said.err) == ("", f"{NO_JOBS}\n")
    submit(queue, spec)
    said = command("list", "--name", "nobody*")
    assert (said.out, said.err) == ("", "no job matches\n")
    assert Path("configs/fashion-dcgan.yaml").exists(), "what the word names"


def test_of_a_store_without_forgotten_jobs_a_word_says_so(command: Command) -> None:
    said = command("list", "--stored")
    assert (said.out, said.err) == ("", "the store holds no job that has left the queue\n")


@pytest.mark.parametrize("given", [("--name", "a*"), ("-t", "paper"), ("--sort", "name"), ("--unfold",)])
def test_what_the_store_does_not_know_is_not_asked_of_it(command: Command, given: tuple[str, ...]) -> None:
    with pytest.raises(RequestError, match="found together with --stored, which takes only --limit and --output"):
        command("list", "--stored", "-n", "3", *given)


def test_ctrl_c_ends_a_list_that_looks_again_without_a_word(
    settings: Settings, queue: JobQueue, spec: TrainSpec
) -> None:
    job_id = submit(queue, spec)
    assert settings.broker_url
    environment = os.environ | {"GANSERVICE_BROKER_URL": settings.broker_url.get_secret_value()}
    code = "from ganservice.cli import main; main()"
    with subprocess.Popen(
        bound([sys.executable, "-c", code, "list", "-w"]),
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert lines[1].startswith(job_id)
    assert (process.returncode, said.strip()) == (130, "")


def test_on_a_terminal_of_eighty_columns_nothing_is_broken(
    command: Command, queue: JobQueue, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = finish_training(queue, spec, name="fashion-wide-2", tags=("paper", "gan"))
    judge(queue, spec, far, 32, 10.0)
    judge(queue, spec, far, 64, 90.0)
    submit(queue, spec, tags=("paper",), priority="high")
    monkeypatch.setattr(listing, "screen", lambda: os.terminal_size((80, 24)))
    lines = command("list").out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["ID", "STATE", "DONE", "HEALTH", "QUALITY", "EVALS", "AGE"]
    assert lines[-1] == "  classifier_frechet_distance 90 at 64 images, 10 at 32"
    assert len(lines) == 4, "a note has a line, and nothing else"


def test_a_terminal_is_drawn_over_and_cut_to_its_size(
    queue: JobQueue,
    settings: Settings,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(8):
        submit(queue, spec)
    looks = [None, KeyboardInterrupt]
    monkeypatch.setattr(listing, "screen", lambda: os.terminal_size((40, 5)))

    def sleep(_: float) -> None:
        if look := looks.pop(0):
            raise look

    monkeypatch.setattr(listing, "time", SimpleNamespace(sleep=sleep))
    with JobList(settings) as jobs, pytest.raises(KeyboardInterrupt):
        listing.Listing(settings, jobs, Wanted(), "age", 50, folds=True).watch("table")
    cleared, first, second = capsys.readouterr().out.split("\x1b[H")
    assert cleared == "\x1b[2J"
    lines = [line.removesuffix("\x1b[K") for line in second.splitlines()]
    assert first.endswith("\x1b[J")
    assert lines[3].startswith("... 6 more lines")
    assert all(len(line) <= 40 for line in lines[:4])
