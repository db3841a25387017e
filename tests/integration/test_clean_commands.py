"""What `delete`, `gc` and `list --stored` say and do, on a real broker and a real store."""

import json

import click
import pytest

from ganservice.artifacts import ArtifactStore
from ganservice.cli.spans import Span
from ganservice.errors import GanServiceError, IllegalTransition, JobNotFound, RequestError
from ganservice.garbage import Policy
from ganservice.queue import JobQueue
from ganservice.spec import TrainSpec
from tests.commands import Command, Said
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, lease, submit


@pytest.fixture
def broker(valkey: Broker) -> Broker:
    """One broker: what scripts do is tested on both elsewhere."""
    return valkey


def train(queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> str:
    """A finished job with one object."""
    job_id = submit(queue, spec)
    store.put_sample_grid(held := lease(queue), 64, b"png")
    queue.finish(held, SUCCESS)
    return job_id


def test_what_is_deleted_is_told(command: Command, queue: JobQueue, store: ArtifactStore, spec: TrainSpec) -> None:
    jobs = [train(queue, store, spec) for _ in range(2)]
    said = command("delete", *jobs, jobs[0], "--yes")
    assert said == Said("", "".join(f"deleted {job}: 1 object, 3 bytes\n" for job in jobs))
    assert queue.list_ids() == set()
    with pytest.raises(JobNotFound, match=f"neither the queue nor the store knows a job {jobs[0]}"):
        command("delete", jobs[0], "--yes")


def test_what_has_left_the_queue_is_listed_and_deleted_by_its_id(
    command: Command, queue: JobQueue, store: ArtifactStore, spec: TrainSpec
) -> None:
    job_id = train(queue, store, spec)
    assert job_id not in command("list", "--stored").out
    queue.delete(job_id)
    assert [row for row in json.loads(command("list", "--stored", "-o", "json").out)["jobs"] if row["id"] == job_id]
    command("delete", job_id, "--yes")
    assert job_id not in command("list", "--stored").out


def test_where_nobody_sits_nothing_is_deleted_without_a_word(
    command: Command, queue: JobQueue, store: ArtifactStore, spec: TrainSpec
) -> None:
    job_id = train(queue, store, spec)
    with pytest.raises(RequestError, match="nobody is there to be asked; add --yes"):
        command("delete", job_id)
    assert store.keys(job_id)
    assert queue.knows(job_id)


@pytest.mark.parametrize(("answer", "deletes"), [("n", False), ("y", True)])
def test_whoever_sits_at_a_terminal_is_asked(
    answer: str,
    deletes: bool,
    command: Command,
    queue: JobQueue,
    store: ArtifactStore,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = list[str]()

    def answers(question: str, **_: object) -> None:
        asked.append(question)
        if answer == "n":
            raise click.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", answers)
    job_id = train(queue, store, spec)
    if deletes:
        command("delete", job_id)
    else:
        with pytest.raises(click.Abort):
            command("delete", job_id)
    assert asked == [f"Delete {job_id}, with all that the store holds of it?"]
    assert queue.knows(job_id) is not deletes
    if not deletes:
        command("delete", job_id, "--yes")
        assert len(asked) == 1
        assert not queue.knows(job_id)


def test_garbage_is_told_by_kind_and_by_key(
    command: Command, queue: JobQueue, store: ArtifactStore, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = train(queue, store, spec)
    queue.delete(job_id)
    [key] = store.keys(job_id)
    assert command("gc", "--older-than", "0d") == Said("", "nothing to delete\n"), "all of it is young"
    # As if all had been stored long ago.
    monkeypatch.setattr("ganservice.cli.clean.policy_of", lambda *_, **__: Policy(-60, -60, None, 2))
    why = "its job has left the queue"
    said = command("gc", "--dry-run", "-o", "json")
    assert (json.loads(said.out)["garbage"], said.err) == ([{"key": key, "bytes": 3, "why": why}], "")
    assert store.keys(job_id) == [key]
    said = command("gc", "--yes")
    assert said.out.splitlines()[1].split() == ["samples", "1", "3", *why.split()]
    assert said.err == "deleted 1 object, 3 bytes\n"
    assert command("gc").err == "nothing to delete\n"


def test_a_job_that_runs_is_told_in_one_line(command: Command, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    with pytest.raises(IllegalTransition, match=f"^{job_id} is queued; `ganctl cancel {job_id}` first$"):
        command("delete", job_id, "--yes")
    with pytest.raises(GanServiceError):
        command("delete", "nobody-000000", "--yes")


@pytest.mark.parametrize(
    ("text", "span_s"), [("90m", 5_400), ("12h", 43_200), ("30d", 30 * 86_400), ("45s", 45), ("0d", 0)]
)
def test_a_span_has_a_unit(text: str, span_s: float) -> None:
    assert Span().convert(text, None, None) == span_s


@pytest.mark.parametrize("text", ["30", "d", "-1d", "1.5h", "9999999d", "30 days", "1d\n"])
def test_a_span_without_one_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a number with its unit"):
        Span().convert(text, None, None)
