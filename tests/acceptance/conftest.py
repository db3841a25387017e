"""A whole embedded stack, as a user starts it, with a short lease so that deaths are noticed in seconds."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from ganservice.errors import BrokerOutage
from ganservice.job import Job, State
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec
from tests.commands import Done, Service
from tests.conftest import wait_until
from tests.gang_workers import gang_workers
from tests.lifetime import bound, last_will
from tests.specs import write_spec

# An answer of the broker may take 5 s, and be asked for again, before a busy machine loses a lease.
LEASE_S = 15
GANCTL = (sys.executable, "-m", "ganservice.cli")
END = ("down", "--purge", "--yes")


@dataclass
class Stack(Service):
    """ganctl with the environment of one stack."""

    state_dir: Path
    environment: dict[str, str] = field(default_factory=dict)

    def ganctl(self, *arguments: str, cwd: str | Path | None = None, **environment: str) -> Done:
        done = subprocess.run(
            bound([*GANCTL, *arguments]),
            env={**os.environ, **self.environment, **environment},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def settings(self) -> Settings:
        return Settings(state_dir=self.state_dir)

    def queue(self) -> JobQueue:
        return JobQueue(self.settings)

    def pids(self) -> dict[str, int]:
        """What was started, by the names of the parts."""
        recorded = json.loads((self.state_dir / "pids.json").read_text())
        return {part: int(process["pid"]) for part, process in recorded.items()}

    def pid(self, part: str) -> int:
        return self.pids()[part]

    @property
    def is_up(self) -> bool:
        """Whether it was started and not yet ended."""
        return (self.state_dir / "pids.json").exists()

    def unfinished(self) -> list[Job]:
        """What is queued or runs."""
        with self.queue() as queue:
            return queue.list_jobs([State.QUEUED, State.RUNNING])

    def clear(self, kept: Collection[str] = ()) -> None:
        """Cancel what is queued or runs until no CPU is held; `kept` jobs and their evaluations go on, on theirs."""
        cancelled: list[str] = []

        def none_is_left() -> bool:
            with self.queue() as queue, suppress(BrokerOutage):  # one that a test has killed comes back
                left = [job.id for job in self.unfinished() if not {job.id, subject_id(job)} & set(kept)]
                for job_id in left:
                    queue.cancel(job_id, now=True)
                cancelled.extend(left)
                return not left
            return False

        if self.is_up:
            wait_until(none_is_left)
        if cancelled and not kept and "dispatcher" in self.pids():
            with self.queue() as queue:
                cancelled_at = queue.now_s()
            wait_until(lambda: self._is_free(cancelled_at))

    def _is_free(self, since: float) -> bool:
        with Leadership(self.settings) as leadership:
            leader, cluster = leadership.leader(), leadership.cluster()
        return bool(leader and cluster and leader.looked_at > since and cluster.free == cluster.total)

    def processes(self) -> list[psutil.Process]:
        """Everything the stack's supervisor started, directly or not."""
        return psutil.Process(self.pid("supervisor")).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """The workers of all gangs."""
        return gang_workers(self.processes())


def subject_id(job: Job) -> str | None:
    """The training that an evaluation is about."""
    return job.spec.subject.job_id if isinstance(job.spec, EvaluateSpec) else None


@pytest.fixture(scope="package")
def stacks() -> list[Stack]:
    """All that were made so far."""
    return []


@pytest.fixture(scope="package")
def new_stack(stacks: list[Stack]) -> Iterator[Callable[[], Stack]]:
    """Makes stacks that are not up yet; all are ended with the tests of this folder, or with their process.

    One that nobody uses any longer takes 2 GB and a tenth of a core from the tests that follow.
    """
    wills = ExitStack()

    def make() -> Stack:
        # Short, for the sake of Ray's sockets.
        state_dir = Path(tempfile.mkdtemp(prefix="gan-"))
        cache_dir = Path(os.environ.get("GANSERVICE_CACHE_DIR", state_dir / "cache"))
        environment = {
            "GANSERVICE_STATE_DIR": str(state_dir),
            "GANSERVICE_CACHE_DIR": str(cache_dir),
            "GANSERVICE_LEASE_S": str(LEASE_S),
            "GANSERVICE_HEARTBEAT_S": "0.3",
            # Ray runs actors at niceness 15: beside other tests they would get a thirtieth of a core, and lose leases.
            "RAY_worker_niceness": "0",
        }
        stacks.append(Stack(state_dir, environment))
        wills.enter_context(last_will([*GANCTL, *END], {**os.environ, **environment}))
        return stacks[-1]

    with wills:
        yield make
        for stack in stacks:
            stack.ok(*END)


@pytest.fixture(scope="module", autouse=True)
def _no_job_outlives_its_module(stacks: list[Stack]) -> Iterator[None]:
    yield
    for stack in stacks:
        stack.clear()


@pytest.fixture(autouse=True)
def _no_job_outlives_its_test(stacks: list[Stack]) -> Iterator[None]:
    """Cancel what a test leaves queued or running; what runs before it belongs to a fixture of its module."""
    kept = [job.id for stack in stacks if stack.is_up for job in stack.unfinished()]
    yield
    for stack in stacks:
        stack.clear(kept)


@pytest.fixture(scope="package")
def stack(new_stack: Callable[[], Stack]) -> Stack:
    """A stack that is up, with Prometheus, and has Fashion-MNIST in its store."""
    stack = new_stack()
    stack.ok("up", "-d", "--monitor")
    stack.ok("data", "get", "fashion-mnist")
    return stack


@pytest.fixture(scope="package")
def import_shapes(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Imports a data set of two classes that a classifier tells apart in seconds, drawn by its name."""
    return lambda name: stack.import_shapes(tmp_path_factory.mktemp(name), name)


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., str]:
    """Writes the spec of a small MLP GAN on real pictures; keyword arguments replace its top-level keys."""
    return partial(write_spec, tmp_path)
