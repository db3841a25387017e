"""What a gang says of the death of a worker: why, in whole words, out of the paragraphs that Ray writes."""

import logging

import pytest
from ray.exceptions import RayActorError

from ganservice.job import Lease
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from workers.dispatch.gang import Gang, Phase

RAY_SAYS = """The actor died unexpectedly before finishing this task.
	class_name: Worker
	actor_id: bc0c28ff0de956f3041736b101000000
	pid: 5314
	name: mlp-3c75e7/1/0
	namespace: ganservice
	ip: 127.0.0.1
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker
unexpectedly exits with a connection error code 2. End of file. There are some potential root causes. (1) The process is
killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called. (3) The worker is crashed
unexpectedly due to SIGSEGV or other unexpected errors."""


def message_of(text: str, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> str:
    gang = Gang(Settings(), Lease(job_id="tiny-abc", attempt=1, token=1, lease_s=30.0, spec=spec))
    gang.phase = Phase.RUNNING

    def wait(*_: object, **__: object) -> None:
        death = RayActorError()
        death.error_msg = text
        raise death

    monkeypatch.setattr("workers.dispatch.gang.ray.wait", wait)
    assert gang.poll() is Phase.BROKEN
    return gang.message


def test_a_death_is_told_by_its_cause_in_whole_words(
    spec: TrainSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        message = message_of(RAY_SAYS, spec, monkeypatch)
    begin, _, end = message.partition("...")
    assert begin.startswith("a worker died: its worker process has died. Worker exit type: SYSTEM_ERROR")
    assert f"{begin} " in f"a worker died: {' '.join(RAY_SAYS.partition('dead because ')[2].split())}"
    assert end == " (the whole of it is in the dispatcher's log)"
    assert "SIGSEGV or other unexpected errors." in caplog.text


def test_a_death_without_a_cause_is_told_as_it_is(spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_of("The node is gone.", spec, monkeypatch) == "a worker died: The node is gone."
