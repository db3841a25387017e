"""Commands that wait live through every kind of outage; all others end with one line and its exit code."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import redis

from ganservice.cli import ganctl
from ganservice.cli.reference import patiently
from ganservice.errors import BrokerOutage, OutageKind
from ganservice.job import Job
from ganservice.job_records import JobRecords
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.jobs import submit
from tests.integration.strangers import resp_server

OUTAGES = {
    "LOADING Redis is loading the dataset in memory": 3,
    "READONLY You can't write against a read only replica.": 3,
    "OOM command not allowed when used memory > 'maxmemory'.": 5,
    "BUSY Redis is busy running a script.": 3,
    "NOPERM this user has no permissions": 3,
    "SURPRISE": 3,
}


@dataclass
class Troubled:
    """An outage that ends when it has been met so often."""

    left: int
    kinds: list[OutageKind] = field(default_factory=lambda: [OutageKind.UNREACHABLE])

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise BrokerOutage(f"trouble {self.left}", self.kinds[self.left % len(self.kinds)])
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was slept, in s; nobody sleeps really."""
    slept = list[float]()
    monkeypatch.setattr("ganservice.cli.reference.time", SimpleNamespace(sleep=slept.append, monotonic=time.monotonic))
    return slept


@pytest.mark.parametrize("kind", OutageKind)
def test_every_kind_is_waited_for_and_told_once(
    kind: OutageKind, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert patiently(Troubled(20, [kind])) == "answer"
    assert capsys.readouterr().err == "trouble 19; trying again\n"
    assert max(pauses[:2]) < min(pauses[-5:]) <= 5


def test_another_kind_is_told_again(pauses: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    patiently(Troubled(4, [OutageKind.BUSY, OutageKind.FULL]))
    assert len(capsys.readouterr().err.splitlines()) == len(pauses) == 4


def test_nobody_waits_beyond_the_time_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda pause_s: now.__setitem__(0, now[0] + pause_s))
    monkeypatch.setattr("ganservice.cli.reference.time", clock)
    with pytest.raises(BrokerOutage):
        patiently(Troubled(10_000), deadline=110.0)
    assert now[0] == 110.0


@pytest.fixture
def troubled_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Have commands meet a broker that answers with this error."""
    answer = {"text": ""}
    with resp_server(lambda _: f"-{answer['text']}\r\n".encode()) as port:
        monkeypatch.setenv("GANSERVICE_BROKER_URL", f"redis://127.0.0.1:{port}/0")
        monkeypatch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:1/gan")
        yield lambda text: answer.update(text=text)


@pytest.mark.parametrize("command", ["list", "show job", "cancel job", "retry job", "submit configs/ring2d.yaml"])
@pytest.mark.parametrize(("answer", "exit_code"), OUTAGES.items(), ids=[answer.split()[0] for answer in OUTAGES])
def test_a_command_that_does_not_wait_ends_with_its_exit_code(
    command: str, answer: str, exit_code: int, troubled_broker: Callable[[str], None]
) -> None:
    troubled_broker(answer)
    with pytest.raises(BrokerOutage) as caught:
        ganctl.main(command.split(), prog_name="ganctl", standalone_mode=False)
    assert caught.value.exit_code == exit_code
    assert len(str(caught.value).splitlines()) == 1


def test_a_wait_that_ends_in_an_outage_exits_as_one_that_was_too_short(
    troubled_broker: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    troubled_broker("LOADING Redis is loading the dataset in memory")
    with pytest.raises(SystemExit) as ended:
        ganctl.main(["wait", "tiny", "--timeout", "0.01"], prog_name="ganctl", standalone_mode=False)
    assert ended.value.code == 101
    assert "nothing is known of tiny after 0.01 s" in capsys.readouterr().err


def test_a_wait_that_ends_in_an_outage_tells_what_it_knows(
    queue: JobQueue,
    settings: Settings,
    spec: TrainSpec,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two jobs one had failed, which was forgotten."""
    failed, other = submit(queue, spec), submit(queue, spec)
    queue.fail(failed, "on purpose")
    get = JobQueue.get

    def look(asked: JobQueue, job_id: str) -> Job:
        if job_id == other:
            raise BrokerOutage("away", OutageKind.UNREACHABLE)
        return get(asked, job_id)

    monkeypatch.setattr(JobQueue, "get", look)
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.require_broker())
    with pytest.raises(SystemExit) as ended:
        ganctl.main(
            ["wait", failed, other, "--timeout", "0.5", "-o", "json"], prog_name="ganctl", standalone_mode=False
        )
    assert ended.value.code == 100
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["id"], each["exit_code"]) for each in told] == [(failed, 100), (other, 101)]


def test_each_word_that_could_not_be_looked_up_is_told(
    troubled_broker: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    troubled_broker("LOADING Redis is loading the dataset in memory")
    with pytest.raises(SystemExit) as ended:
        ganctl.main(["wait", "a", "b", "--timeout", "0.01", "-o", "json"], prog_name="ganctl", standalone_mode=False)
    assert ended.value.code == 101
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]


@pytest.fixture
def service(settings: Settings, store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker and the store, as commands find them."""
    monkeypatch.setenv("GANSERVICE_BROKER_URL", settings.require_broker())
    monkeypatch.setenv("GANSERVICE_STORE_URL", store_settings.require_store())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that were asked for, in turn."""
    jobs, get = list[str](), JobRecords.get

    def noted(queue: JobRecords, job_id: str) -> Job:
        jobs.append(job_id)
        return get(queue, job_id)

    monkeypatch.setattr(JobRecords, "get", noted)
    return jobs


@pytest.fixture
def outage(admin: redis.Redis, unused_port: int) -> Callable[[], AbstractContextManager[None]]:
    """with outage(): meanwhile the broker is a replica that has lost its primary, and cannot even be read."""

    @contextmanager
    def lost() -> Iterator[None]:
        admin.config_set("replica-serve-stale-data", "no")
        admin.replicaof("127.0.0.1", unused_port)
        try:
            yield
        finally:
            admin.replicaof("NO", "ONE")
            admin.config_set("replica-serve-stale-data", "yes")

    return lost


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("command", ["wait", "watch", "events -f", "logs -f"])
def test_a_command_that_waits_outlives_an_outage(
    command: str,
    queue: JobQueue,
    spec: TrainSpec,
    asked: list[str],
    outage: Callable[[], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
    eventually: Callable[..., object],
) -> None:
    job_id, ended, said = submit(queue, spec), list[object](), list[str]()

    def give() -> None:
        try:
            ganctl.main([*command.split(), job_id], prog_name="ganctl", standalone_mode=False)
            ended.append(0)
        except (SystemExit, BrokerOutage) as end:
            ended.append(getattr(end, "code", end))

    def says(words: str) -> bool:
        said.append(capsys.readouterr().err)
        return words in "".join(said)

    waiting = threading.Thread(target=give)
    waiting.start()
    eventually(lambda: asked)
    with outage():
        eventually(lambda: says("trying again"))
    queue.cancel(job_id)
    waiting.join()
    assert ended == [103 if command in ("wait", "watch") else 0]
    says("")
    assert "".join(said).count("trying again") == 1
