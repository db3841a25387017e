"""What docs/operating.md says of the brokers that may be used: a cluster's nodes, and what our user may not do."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from ganservice.errors import BrokerOutage
from ganservice.job import State
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import SERVERS, Broker, running
from tests.integration.jobs import FAILURE, SUCCESS, checkpoint, lease, report, skip_delay, submit

Eventually = Callable[..., Any]


def client_of(broker: Broker, folder: Path) -> JobQueue:
    return JobQueue(Settings(broker_url=broker.url, state_dir=folder))


def ask(node: Any, command: str, *arguments: object) -> Any:
    return node.execute_command(f"CLUSTER {command}", *arguments)


def use(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    """Have a job go through all that may happen to one."""
    job_id = submit(queue, spec)
    queue.finish(lease(queue), FAILURE)
    skip_delay(admin, job_id)
    held = lease(queue)
    queue.heartbeat(held, report(8), trained_images=8, checkpoint=checkpoint(8), logs=["a line"])
    queue.ask_to_yield(held)
    assert queue.reap({job_id: 1}) == [], "it has moved since"
    queue.finish(held, SUCCESS)
    cancelled = submit(queue, spec, name="other")
    queue.cancel(cancelled)
    queue.retry(cancelled)
    assert [job.state for job in queue.list_jobs()] == [State.SUCCEEDED, State.QUEUED]
    assert queue.resolve(spec.name) == job_id
    assert queue.events(job_id)
    assert queue.logs(job_id)


@pytest.mark.parametrize("server", SERVERS)
def test_of_a_cluster_the_node_that_holds_our_keys_serves_and_the_others_are_told_apart(
    server: str, spec: TrainSpec, tmp_path: Path, eventually: Eventually
) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    with (
        running(server, ours, "cluster-enabled yes") as holder,
        running(server, other, "cluster-enabled yes") as stranger,
        closing(redis.Redis.from_url(holder.admin_url, decode_responses=True)) as admin,
        closing(redis.Redis.from_url(stranger.admin_url, decode_responses=True)) as of_stranger,
        client_of(holder, tmp_path) as queue,
        client_of(stranger, tmp_path) as lost,
    ):
        ask(admin, "ADDSLOTSRANGE", 0, 16_383)
        ask(admin, "MEET", "127.0.0.1", stranger.port)
        for node in (admin, of_stranger):
            eventually(lambda node=node: ask(node, "INFO")["cluster_state"] == "ok")
        use(queue, admin, spec)
        with Leadership(Settings(broker_url=holder.url, state_dir=tmp_path)) as leadership:
            assert leadership.lead()
        with pytest.raises(BrokerOutage, match=f"holds our keys on another node .*127.0.0.1:{holder.port}"):
            lost.list_jobs()
        [slot] = {ask(admin, "KEYSLOT", key) for key in admin.scan_iter()}
        assert f"(`CLUSTER KEYSLOT\n'{{gan}}:'` is {slot})" in Path("docs/operating.md").read_text()


@pytest.mark.parametrize(
    "command",
    ["GET secret", "SET other:job 1", "KEYS *", "FLUSHALL", "CONFIG GET requirepass", "ACL LIST", "SHUTDOWN NOSAVE"],
)
def test_our_user_may_do_no_more_than_its_rights_say(broker: Broker, command: str) -> None:
    client: Any = redis.Redis.from_url(broker.url)
    with closing(client), pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


@pytest.mark.parametrize("server", SERVERS)
def test_the_user_of_ray_reaches_its_own_keys_and_no_job(server: str, tmp_path: Path) -> None:
    with running(server, tmp_path) as broker:
        client: Any = redis.Redis.from_url(broker.url_of("ray"))
        with closing(client):
            client.hset("RAYgan@KV", "key", "value")
            client.delete("DUMMY")  # by which Ray finds a cluster's primary
            for command in ("HGETALL {gan}:job:a", "SET {gan}:token 1", "DEL {gan}:totals", "KEYS *", "FLUSHALL"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*command.split())
