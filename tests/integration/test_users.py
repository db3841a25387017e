"""Whose a job is, and who did what to it; the registry of users."""

import json
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import redis
from click.testing import CliRunner

from ganservice.cli import ganctl
from ganservice.errors import GanServiceError, RequestError
from ganservice.job import Event, Outcome, Reason
from ganservice.judging import Judging
from ganservice.queue import JobQueue
from ganservice.roles import Role, acl_line
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from ganservice.users import UserRecord, Users
from tests.integration.broker import Broker
from tests.integration.jobs import SUCCESS, lease, submit


def of(queue: JobQueue, job_id: str, kind: str) -> Event:
    [event] = [event for event in queue.events(job_id) if event.kind == kind]
    return event


@pytest.fixture
def bob(settings: Settings) -> "JobQueue":
    """The same queue, as another user."""
    return JobQueue(settings.model_copy(update={"user": "bob"}))


def test_a_job_says_whose_it_is_and_its_events_who_did_what(queue: JobQueue, bob: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    bob.cancel(job_id)
    queue.finish(held, Outcome(reason=Reason.CANCELLED, message="stopped after a checkpoint"))
    bob.retry(job_id)
    assert queue.get(job_id).user == "ada"
    told = {kind: of(queue, job_id, kind).detail["by"] for kind in ("submitted", "cancel_requested", "retried")}
    assert told == {"submitted": "ada", "cancel_requested": "bob", "retried": "bob"}
    cancelled = of(queue, job_id, "cancelled").detail
    assert (cancelled["by"], cancelled["message"]) == ("bob", "cancelled by bob; stopped after a checkpoint")


def test_who_asked_before_is_not_who_ends_it(queue: JobQueue, bob: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    lease(queue)
    queue.cancel(job_id)
    bob.cancel(job_id, now=True)
    assert queue.get(job_id).message == "cancelled by bob"


def test_nobody_is_named_for_a_job_that_succeeded_first(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    held = lease(queue)
    queue.cancel(job_id)
    queue.finish(held, SUCCESS)
    assert "by" not in of(queue, job_id, "succeeded").detail
    assert admin.hget("{gan}:job:" + job_id, "cancel_requested_by") is None


def test_an_evaluation_belongs_to_the_user_of_its_training(
    queue: JobQueue, bob: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    training, older = submit(bob, spec), submit(bob, spec)
    admin.hdel("{gan}:job:" + older, "user")
    for job_id, user in ((training, "bob"), (older, None)):
        subject = Subject(job_id=job_id, images=16, checkpoint="c")
        judging = EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())
        evaluation, _ = queue.submit(judging, for_user_of=job_id)
        assert queue.get(evaluation).user == user
        assert of(queue, evaluation, "submitted").detail.get("by") == user


def test_list_shows_the_jobs_of_one_user(
    queue: JobQueue, bob: JobQueue, broker: Broker, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, his = submit(queue, spec), submit(bob, spec)
    monkeypatch.setenv("GANSERVICE_BROKER_URL", broker.url)
    monkeypatch.setenv("GANSERVICE_USER", "bob")

    def listed(*options: str) -> list[str]:
        done = CliRunner().invoke(ganctl, ["list", "-o", "json", *options])
        assert done.exit_code == 0, done.output
        return [job["id"] for job in json.loads(done.stdout)["jobs"]]

    assert listed() == [his, mine], "the newest first"
    assert listed("--user", "ada") == [mine]
    assert listed("--user", "me") == [his]
    assert listed("--user", "me", "--state", "running") == []
    table = CliRunner().invoke(ganctl, ["list"]).stdout
    assert [line.split()[1] for line in table.splitlines()] == ["USER", "bob", "ada"]


def test_users_are_entered_changed_and_taken_out(
    settings: Settings, admin: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Users(settings)) as users:
        users.put("bob", UserRecord(jobs_queued=3))
        users.put("*", UserRecord(gpus=1))
        assert users.names() == ["bob"]
        assert users.all() == {"*": UserRecord(gpus=1), "bob": UserRecord(jobs_queued=3)}
        assert users.get("eve") is None
        admin.hset("{gan}:users", "bob", '{"jobs_queued": 3, "invented_later": 1}')
        record = users.get("bob")
        assert record
        users.put("bob", record)
        assert json.loads(admin.hget("{gan}:users", "bob") or "") == {"jobs_queued": 3, "invented_later": 1}
        assert [users.remove("bob"), users.remove("bob")] == [True, False]
        admin.hset("{gan}:users", "eve", '{"cpus": -1}')
        with pytest.raises(RequestError, match="the entry of eve is no record of a user"):
            users.get("eve")
        assert list(users.all()) == ["*"], "it hides no others"
        assert "the entry of eve is no record of a user" in caplog.text
        assert users.names() == ["eve"]


# ganctl users


def given(url: str, *arguments: str) -> list[str]:
    """What a command that must succeed prints, as whoever the address names."""
    done = CliRunner(env={"GANSERVICE_BROKER_URL": url}).invoke(ganctl, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def refusal(url: str, *arguments: str) -> str:
    done = CliRunner(env={"GANSERVICE_BROKER_URL": url}).invoke(ganctl, arguments)
    assert isinstance(done.exception, GanServiceError), done.output
    return str(done.exception)


@pytest.mark.usefixtures("dispatcher")
def test_who_is_entered_submits_by_his_own_address_until_he_is_taken_out(
    queue: JobQueue, broker: Broker, spec: TrainSpec
) -> None:
    line, url = given(broker.admin_url, "users", "add", "carol", "--apply")
    assert line == acl_line("carol", Role.SUBMITTER, urlsplit(url).password or "")
    try:
        with closing(JobQueue(Settings(broker_url=url, user="ada"))) as carol:
            job_id, _ = carol.submit(spec)
        assert queue.get(job_id).user == "carol"
        [job] = json.loads("".join(given(url, "list", "--user", "me", "-o", "json")))["jobs"]
        assert job["id"] == job_id
        given(url, "cancel", job_id)
        assert "carol" in "".join(given(broker.url, "users", "list"))
        # Another password, and what is laid down for her stays.
        with Users(Settings(broker_url=broker.url)) as users:
            users.put("carol", UserRecord(jobs_queued=7))
            _, other = given(broker.admin_url, "users", "add", "carol", "--apply")
            assert "refuses the user or the password" in refusal(url, "list")
            assert users.get("carol") == UserRecord(jobs_queued=7)
    finally:
        given(broker.admin_url, "users", "remove", "carol", "--apply")
    assert "refuses the user or the password" in refusal(other, "list")
    assert given(broker.url, "users", "list") == []


@pytest.mark.parametrize("name", ["gan", "ray", "default", "me", "*", "two words", "-a", "a" * 65, "bob\n"])
def test_nobody_is_called_what_would_mean_another(name: str, settings: Settings, broker: Broker) -> None:
    del settings
    told = refusal(broker.url, "users", "add", "--", name)
    assert "\n" not in told
    assert given(broker.url, "users", "list") == []


def test_an_operator_cannot_tell_redis_of_users(settings: Settings, broker: Broker) -> None:
    del settings
    assert "refuses our user a right" in refusal(broker.url, "users", "add", "carol", "--apply")
    assert "no such user is entered" in refusal(broker.url, "users", "remove", "carol")
    line, _ = given(broker.url, "users", "add", "carol", "--role", "reader")
    assert line.endswith("resetchannels %R~{gan}:* -@all +@read +@connection +time -@dangerous -select +info")
