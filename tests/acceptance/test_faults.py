"""Deaths in the middle of a training: the job goes on from its checkpoint and ends as if nothing had happened."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from ganservice.artifacts import ArtifactStore
from ganservice.job import State
from tests.acceptance.conftest import Stack
from tests.integration.store import raw_client
from tests.specs import write_spec

Eventually = Callable[..., Any]
SpecFile = Callable[..., str]


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that a run of the small spec comes to when nothing disturbs it."""
    job_id = stack.ok("submit", write_spec(tmp_path_factory.mktemp("specs")))
    stack.ok("wait", job_id)
    return stack.weights(job_id)


def disturbed(stack: Stack, spec_file: SpecFile, eventually: Eventually) -> str:
    """A job that has just written its first checkpoint."""
    job_id = stack.ok("submit", spec_file())
    eventually(lambda: stack.job(job_id).checkpoint)
    assert stack.job(job_id).state is State.RUNNING
    return job_id


def assert_ended_as_if_undisturbed(stack: Stack, job_id: str, expected: bytes) -> None:
    stack.ok("wait", job_id, "--timeout", "600")
    assert len(stack.events(job_id, "succeeded")) == 1
    assert stack.weights(job_id) == expected


def test_a_killed_worker_resumes_bit_for_bit(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    [worker] = stack.workers()
    os.kill(worker.pid, signal.SIGKILL)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)
    first, second = stack.events(job_id, "started")
    assert first.detail["images"] == 0
    assert second.detail["images"] >= 4_000
    assert stack.events(job_id, "requeued")[0].detail["reason"] == "worker_died"


@pytest.mark.parametrize("rank", [0, 1], ids=["first worker", "follower"])
def test_a_terminated_worker_takes_its_gang_to_a_checkpoint_without_waiting_for_a_report(
    stack: Stack, spec_file: SpecFile, eventually: Eventually, rank: int
) -> None:
    silent = {"images": 10**9, "report_every_images": 10**9, "resources": {"workers": 2}}
    job_id = stack.ok("submit", spec_file("silent", **silent))
    eventually(lambda: len(stack.workers()) == 2 and stack.job(job_id).images > 0)
    workers = sorted(stack.workers(), key=lambda process: process.create_time())
    os.kill(workers[rank].pid, signal.SIGTERM)
    eventually(lambda: len(stack.events(job_id, "started")) == 2)
    [requeued] = stack.events(job_id, "requeued")
    assert requeued.detail["reason"] == "yielded"
    first, second = stack.events(job_id, "started")
    assert (first.detail["images"], second.detail["images"] > 0) == (0, True)
    assert stack.job(job_id).failures == 0


def test_a_killed_dispatcher_costs_the_job_nothing(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    before = stack.pid("dispatcher")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: stack.pid("dispatcher") != before)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)
    assert len(stack.events(job_id, "started")) == 1
    # The next dispatcher adopted the gang and gave its room back.
    eventually(lambda: not stack.workers())


def test_a_killed_broker_loses_no_job(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    os.kill(stack.pid("broker"), signal.SIGKILL)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)


def test_a_killed_store_loses_no_artifact(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    os.kill(stack.pid("store"), signal.SIGKILL)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)


def test_a_worker_frozen_past_its_lease_publishes_nothing(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    [frozen] = stack.workers()
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        eventually(lambda: stack.job(job_id).attempt == 2)
    finally:
        if frozen.is_running():
            os.kill(frozen.pid, signal.SIGCONT)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)
    eventually(lambda: not frozen.is_running())
    manifests = [key for key in ArtifactStore(stack.settings).keys(job_id) if key.endswith("manifest.json")]
    assert manifests == [f"jobs/{job_id}/attempts/0002/generator/manifest.json"]


def test_a_worker_that_cannot_reach_the_broker_for_a_lease_time_ends_itself(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    [cut_off] = stack.workers()
    broker = stack.pid("broker")
    # Frozen, not dead: connections stay open and nothing answers, as when a network is cut.
    os.kill(broker, signal.SIGSTOP)
    try:
        eventually(lambda: not cut_off.is_running())
    finally:
        os.kill(broker, signal.SIGCONT)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = stack.ok("submit", spec_file())
    eventually(lambda: len(stack.events(job_id, "checkpoint")) >= 2)
    # Not by `ganctl`: while a busy machine loads it, the training may come to its end.
    stack.queue().cancel(job_id)
    assert stack.ganctl("wait", job_id).returncode == 103
    store = ArtifactStore(stack.settings)
    newest = store.checkpoint_keys(job_id)[0]
    bucket = stack.settings.require_store().rpartition("/")[2]
    raw_client(stack.settings).put_object(Bucket=bucket, Key=newest, Body=b"damaged", Metadata={"sha256": "0" * 64})
    stack.ok("retry", job_id)
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)
    [damaged] = stack.events(job_id, "checkpoint_damaged")
    assert damaged.detail["key"] == newest
    assert stack.events(job_id, "started")[1].detail["images"] > 0


def test_a_stack_taken_down_goes_on_where_it_was(
    stack: Stack, spec_file: SpecFile, undisturbed: bytes, eventually: Eventually
) -> None:
    job_id = disturbed(stack, spec_file, eventually)
    processes = stack.processes()
    # As `down` begins: while a busy machine loads it, the training may come to its end.
    os.kill(stack.pid("supervisor"), signal.SIGTERM)
    stack.ok("down")
    assert not [process for process in processes if process.is_running()]
    stack.ok("up", "-d", "--monitor")  # as the stack was, for the tests that follow
    assert_ended_as_if_undisturbed(stack, job_id, undisturbed)
    # It was asked first: it gave its job back after a checkpoint of where it stood, and is blamed for nothing.
    (requeued,) = stack.events(job_id, "requeued")
    assert requeued.detail["reason"] == "yielded"
    assert stack.events(job_id, "started")[1].detail["images"] > 0
    assert stack.job(job_id).failures == 0
