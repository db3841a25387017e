"""Jobs that are kept from look to look, and read again once Redis tells that they have changed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from ganservice.job import State
from ganservice.job_memory import JobMemory
from ganservice.queue import JobQueue
from ganservice.roles import Role, rights
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, lease, report, submit

# More than Python's calls may be nested: each change is told by a message of its own.
MANY = 1_200


@pytest.fixture
def memory(settings: Settings) -> Iterator[JobMemory]:
    with closing(JobMemory(settings)) as found:
        yield found


@pytest.fixture
def hashes_read(admin: Any) -> Callable[[Callable[[], Any]], int]:
    """How many hashes Redis is asked for as a whole while something is done, beside that of a pause."""

    def of(act: Callable[[], Any]) -> int:
        admin.config_resetstat()
        act()
        return int(admin.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]) - 1

    return of


def test_a_job_is_read_once_and_again_when_anything_of_it_has_changed(
    memory: JobMemory, queue: JobQueue, spec: TrainSpec, hashes_read: Callable[[Callable[[], Any]], int], admin: Any
) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    held = queue.take(first)
    assert hashes_read(memory.list_jobs) == 2
    assert hashes_read(memory.list_jobs) == 0
    queue.heartbeat(held, report(64))
    assert hashes_read(lambda: memory.read([first, second])) == 1
    assert memory.list_jobs() == queue.list_jobs()
    queue.prioritise(second, 77)
    assert memory.read([second])[0].priority == 77
    queue.finish(held, SUCCESS)
    assert memory.read([first])[0].state is State.SUCCEEDED
    admin.hset("{gan}:job:" + first, "message", "by another hand")
    assert memory.read([first])[0].message == "by another hand"
    queue.delete(first)
    assert [job.id for job in memory.read([first, second])] == [second]
    assert [job.id for job in memory.list_jobs()] == [second]


def test_a_job_that_expires_or_is_none_is_not_kept(
    memory: JobMemory, queue: JobQueue, spec: TrainSpec, admin: Any, eventually: Callable[..., Any]
) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    assert len(memory.read([first, second])) == 2
    admin.pexpire("{gan}:job:" + first, 1)
    eventually(lambda: len(memory.read([first, second])) == 1)
    admin.set("{gan}:job:" + second, "no hash")
    assert memory.read([first, second]) == []
    admin.delete("{gan}:job:" + second)
    third = submit(queue, spec)
    assert [job.id for job in memory.read([third])] == [third]


def test_each_keeps_its_own_and_a_pause_is_told_of_what_is_kept(
    memory: JobMemory, settings: Settings, queue: JobQueue, spec: TrainSpec, admin: Any
) -> None:
    job_id = submit(queue, spec)
    with closing(JobMemory(settings)) as other:
        for priority in (1, 2):
            queue.prioritise(job_id, priority)
            assert [each.read([job_id])[0].priority for each in (memory, other)] == [priority, priority]
    admin.hset("{gan}:pause", mapping={"by": "ada", "at": 1})
    assert memory.read([job_id])[0].waiting_for == "the queue to be resumed (paused by ada)"
    admin.delete("{gan}:pause")
    assert memory.read([job_id])[0].waiting_for is None


def test_nothing_is_kept_beyond_the_connection(
    memory: JobMemory, queue: JobQueue, spec: TrainSpec, hashes_read: Callable[[Callable[[], Any]], int], admin: Any
) -> None:
    job_id = submit(queue, spec)
    assert memory.read([job_id])
    admin.client_kill_filter(_type="normal", skipme=True)
    queue.prioritise(job_id, 3)
    assert memory.read([job_id])[0].priority == 3
    assert hashes_read(lambda: memory.read([job_id])) == 0
    admin.client_kill_filter(_type="normal", skipme=True)
    assert hashes_read(lambda: memory.read([job_id])) == 1


def test_what_nobody_asks_for_is_forgotten(
    memory: JobMemory, queue: JobQueue, spec: TrainSpec, hashes_read: Callable[[Callable[[], Any]], int]
) -> None:
    first, second = submit(queue, spec), submit(queue, spec)
    memory.read([first, second])
    memory.forget()
    memory.read([second])
    memory.forget()
    assert hashes_read(lambda: memory.read([second])) == 0
    assert hashes_read(lambda: memory.read([first])) == 1


def test_thousands_of_changes_between_two_looks_are_heard(memory: JobMemory, queue: JobQueue, spec: TrainSpec) -> None:
    ids = [submit(queue, spec) for _ in range(MANY)]
    assert len(memory.read(ids)) == MANY
    for job_id in ids:
        queue.prioritise(job_id, 88)
    assert {job.priority for job in memory.read(ids)} == {88}


def test_a_server_that_tells_nothing_is_asked_for_all(
    settings: Settings, queue: JobQueue, spec: TrainSpec, admin: Any
) -> None:
    job_id = submit(queue, spec)
    url = urlsplit(settings.require_broker())
    untold = f"redis://untold:secret@{url.hostname}:{url.port}/0"
    rights_of_one = rights(Role.EXPORTER, "untold").split()
    admin.execute_command("ACL", "SETUSER", "untold", "on", ">secret", *rights_of_one, "-client|tracking")
    try:
        with closing(JobMemory(settings.model_copy(update={"broker_url": SecretStr(untold)}))) as memory:
            for priority in (1, 2):
                queue.prioritise(job_id, priority)
                assert memory.read([job_id])[0].priority == priority
    finally:
        admin.execute_command("ACL", "DELUSER", "untold")


def test_an_exporter_may_be_told(
    broker: Broker,
    settings: Settings,
    queue: JobQueue,
    spec: TrainSpec,
    hashes_read: Callable[[Callable[[], Any]], int],
) -> None:
    job_id = submit(queue, spec)
    with closing(JobMemory(broker.as_user("gan-exporter", settings))) as memory:
        memory.read([job_id])
        assert hashes_read(lambda: memory.read([job_id])) == 0
        lease(queue)
        assert memory.read([job_id])[0].state is State.RUNNING
