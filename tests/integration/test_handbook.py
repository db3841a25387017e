"""The chapters of docs/operating.md on backup, restore and upgrading, with their very commands."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from ganservice.job import Reason, State
from ganservice.maintenance import Maintenance
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.conftest import wait_until
from tests.integration.broker import SERVERS, server_binary
from tests.integration.jobs import CLUSTER, SUCCESS, checkpoint, lease, reap, skip_delay, submit
from tests.lifetime import bound, last_will

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def blocks(chapter: str) -> list[str]:
    """The commands of a chapter, as they stand there."""
    [text] = re.findall(rf"^## {chapter}$(.*?)^## ", OPERATING.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


class Machine:
    """The machine of Redis: its folder, its port and its password in the place of the handbook's."""

    def __init__(self, server: str, folder: Path) -> None:
        self._folder, self._password = folder, secrets.token_hex(16)
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        (folder / "bin").mkdir()
        (folder / "bin" / "redis-server").symlink_to(server_binary(server))
        assert shutil.which("redis-cli"), "this takes redis-cli: on Debian, `apt-get install redis-tools`"
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        programs = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = os.environ | {"PATH": ":".join(programs), "GANSERVICE_BROKER_URL": self.url}
        self.stop_command = ["redis-cli", "-p", str(self._port), "-a", self._password, "shutdown", "nosave"]

    def run(self, commands: str) -> None:
        """Run commands of the handbook in a shell that ends at the first that fails."""
        replaced = commands.replace("redis-cli -h 10.0.0.1", f"redis-cli -h 127.0.0.1 -p {self._port}")
        for theirs, ours in {
            "/var/lib": str(self._folder),
            "10.0.0.1": "127.0.0.1",
            "6379": str(self._port),
            "RAY_PASSWORD": "ray",
            "PASSWORD": self._password,
        }.items():
            replaced = replaced.replace(theirs, ours)
        done = subprocess.run(
            bound(["bash", "-euc", replaced]),
            cwd=self._folder, env=self.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def configure(self) -> None:
        """Write the configuration of Redis, by the command of the handbook."""
        [command] = re.findall(r"^printf 'bind.*/redis\.conf$", OPERATING.read_text(), re.MULTILINE)
        self.run(f"mkdir -p /var/lib/gan-redis\n{command}")

    def start(self) -> None:
        """Start Redis as always."""
        command = bound([str(self._folder / "bin" / "redis-server"), "gan-redis/redis.conf"])
        log = (self._folder / "log").open("ab")
        with log:
            self._processes.append(subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log))
        wait_until(self._answers)

    def kill(self) -> None:
        """End it as a power cut would."""
        for process in self._processes:
            process.kill()
            process.wait(timeout=60)

    def lose_disk(self) -> None:
        """All that Redis had is gone, and its configuration written again."""
        shutil.rmtree(self._folder / "gan-redis")
        self.configure()

    def _answers(self) -> bool:
        assert self._processes[-1].poll() is None, (self._folder / "log").read_text()
        with closing(redis.Redis.from_url(self.url)) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@contextmanager
def by_hand(server: str, folder: Path) -> Iterator[Machine]:
    """A Redis that is set up by the commands of the handbook."""
    machine = Machine(server, folder)
    machine.configure()
    with last_will(machine.stop_command, machine.environment):
        try:
            machine.start()
            yield machine
        finally:
            subprocess.run(machine.stop_command, env=machine.environment, capture_output=True, check=False)
            machine.kill()


@pytest.mark.parametrize("server", SERVERS)
def test_a_queue_is_restored_from_a_backup_that_was_made_while_it_ran(
    server: str, tmp_path: Path, spec: TrainSpec
) -> None:
    backup, restore = blocks("Backup and restore")
    with by_hand(server, tmp_path) as machine:
        settings = Settings(broker_url=machine.url, user="ada", lease_s=30.0)
        with JobQueue(settings) as queue, Maintenance(settings) as maintenance:
            ran, waited, over = (submit(queue, spec) for _ in range(3))
            held = lease(queue)
            queue.heartbeat(held, checkpoint=checkpoint(64))
            queue.cancel(over)
            maintenance.cordon("f00d")
            with closing(redis.Redis.from_url(machine.url)) as admin:
                admin.set("RAYof_then", "an actor")
            machine.run(backup)
            since = submit(queue, spec)
            queue.finish(held, SUCCESS)
            machine.kill()
            machine.lose_disk()

            machine.run(restore)
            machine.start()
            assert {job.id: job.state for job in queue.list_jobs()} == {
                ran: State.RUNNING,
                waited: State.QUEUED,
                over: State.CANCELLED,
            }
            assert since not in {job.id for job in queue.list_jobs()}
            assert list(maintenance.cordons()) == ["f00d"]
            with closing(redis.Redis.from_url(machine.url, decode_responses=True)) as admin:
                assert admin.keys("RAY*") == []
                assert admin.config_get("appendonly") == {"appendonly": "yes"}
                admin.config_set("appendfsync", "always")  # a busy disk may cost a second otherwise
                # Nobody beats for what ran then: it goes on from its checkpoint, under a token of its own.
                assert reap(queue) == [ran]
                skip_delay(admin, ran)
            again = lease(queue)
            assert (again.job_id, again.attempt, queue.get(ran).resumed_images) == (ran, 2, 64)
            assert again.token > held.token
            # What comes after the restoration is kept as always.
            machine.kill()
            machine.start()
            assert queue.get(ran).state is State.RUNNING
            assert lease(queue, CLUSTER).job_id == waited


@pytest.mark.parametrize("server", SERVERS)
def test_ray_is_upgraded_while_jobs_wait(server: str, tmp_path: Path, spec: TrainSpec) -> None:
    """What ends and starts in between is the business of the tests of dispatchers."""
    before, between, after = blocks("Upgrading")
    with by_hand(server, tmp_path) as machine, JobQueue(Settings(broker_url=machine.url, user="ada")) as queue:
        job_id = submit(queue, spec)
        held = lease(queue)
        machine.run(before)
        queue.finish(held, SUCCESS.model_copy(update={"reason": Reason.YIELDED}))  # as its gang does when told to
        with closing(redis.Redis.from_url(machine.url, decode_responses=True)) as admin:
            skip_delay(admin, job_id)
            assert queue.lease(CLUSTER, CLUSTER) is None
            admin.set("RAYof_then", "an actor")
            machine.run(between)
            assert admin.keys("RAY*") == []
        machine.run(after)
        assert (lease(queue).job_id, queue.get(job_id).failures) == (job_id, 0)
