"""Submitters, who run no script: what they ask, what the leading dispatcher does of it, and what it refuses."""

import faulthandler
import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ganservice.errors import (
    BrokerOutage,
    IllegalTransition,
    JobNotFound,
    LeadershipLost,
    NoDispatcher,
    RequestError,
    RightMissing,
)
from ganservice.job import State
from ganservice.judging import Judging
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.requests import (
    LARGEST_STREAM_BYTES,
    LONGEST_REQUEST_BYTES,
    LONGEST_STREAM,
    CancelRequest,
    Requests,
    SubmitRequest,
)
from ganservice.settings import Settings
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from ganservice.users import UserRecord, Users
from tests.integration.broker import Broker
from tests.integration.cluster import InMemoryCluster
from tests.integration.conftest import Submitter
from tests.integration.jobs import kinds, lease, submit
from workers.dispatch.dispatcher import Dispatcher
from workers.dispatch.requests import AT_ONCE, Desk

ID = "0123456789abcdef" * 2


@pytest.fixture
def bob(submitter: Submitter) -> JobQueue:
    return submitter("bob")


@pytest.fixture
def eve(submitter: Submitter) -> JobQueue:
    return submitter("eve")


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitters wait for the twentieth of a second."""
    for name, value in {"LIFETIME_S": 0.05, "WORD_S": 0.0, "GRACE_S": 0.0}.items():
        monkeypatch.setattr(f"ganservice.requests.{name}", value)


@pytest.fixture
def token(dispatching: Settings) -> int:
    """That of the leadership."""
    with Leadership(dispatching) as leadership:
        token = leadership.lead()
        assert token
        return token


@pytest.fixture
def desk(dispatching: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Answers when a test says so, with the rights of a dispatcher; however slow the machine, in one round."""
    monkeypatch.setattr("workers.dispatch.requests.ROUND_S", 600.0)
    with closing(JobQueue(dispatching)) as queue:
        yield Desk(dispatching, queue)


def put(admin: redis.Redis, user: str, request: Any, **changes: Any) -> None:
    """Have a user ask, who does not wait for the answer."""
    text = request if isinstance(request, str | bytes) else request.model_dump_json()
    fields: dict[Any, Any] = {"id": ID, "lifetime_ms": 60_000, "request": text} | changes
    admin.xadd(f"{{gan}}:requests:{user}", {name: value for name, value in fields.items() if value is not None})


def reply(admin: redis.Redis, user: str) -> Any:
    return admin.get(f"{{gan}}:reply:{user}/{ID}")


def left(admin: redis.Redis, user: str = "bob") -> int:
    return admin.xlen(f"{{gan}}:requests:{user}")


# What a submitter asks.


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_submits_cancels_and_retries_as_anybody(
    bob: JobQueue, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    job_id, created = bob.submit(spec, idempotency_key="k")
    assert created
    assert bob.submit(spec, idempotency_key="k") == (job_id, False)
    assert bob.submit_all([(spec, "k"), (spec, "k")]) == [(job_id, False)] * 2
    with pytest.raises(RequestError, match="the idempotency key k belongs to"):
        bob.submit(spec.model_copy(update={"priority": "high"}), idempotency_key="k")
    with pytest.raises(IllegalTransition, match="is queued; only"):
        bob.retry(job_id)
    assert bob.cancel(job_id) is State.CANCELLED
    assert bob.get(job_id).message == "cancelled by bob"
    bob.retry(job_id)
    held = queue.take(job_id)
    assert bob.cancel(job_id) is State.RUNNING
    assert bob.cancel(job_id, now=True) is State.CANCELLED
    assert not queue.holds(held)
    told = [event.detail["by"] for event in bob.events(job_id) if "by" in event.detail]
    assert told == ["bob"] * 5
    assert kinds(bob, job_id) == ["submitted", "cancelled", "retried", "leased", "cancel_requested", "cancelled"]
    assert bob.get(job_id).user == bob.me() == "bob", "whatever his settings say"
    assert left(admin) == 0
    with pytest.raises(JobNotFound):
        bob.cancel("nobody-000000")


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_leaves_the_jobs_of_others_alone(
    bob: JobQueue, submitter: Submitter, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    hers, older = submitter("eve").submit(spec)[0], submit(queue, spec)
    admin.hdel("{gan}:job:" + older, "user")
    with pytest.raises(RequestError, match=f"^{hers} is eve's job; bob may cancel no job but bob's$"):
        bob.cancel(hers, now=True)
    with pytest.raises(RequestError, match="may retry no job"):
        bob.retry(hers)
    with pytest.raises(RequestError, match=f"{older} is a job of nobody's"):
        bob.cancel(older)
    assert {job.state for job in bob.list_jobs()} == {State.QUEUED}


@pytest.mark.usefixtures("dispatcher")
def test_nobody_takes_the_keys_of_others(bob: JobQueue, eve: JobQueue, queue: JobQueue, spec: TrainSpec) -> None:
    key = "evaluate/jobs/a/attempts/0001/checkpoints/16.pt"
    ids = {each.submit(spec, idempotency_key=key)[0] for each in (eve, bob, queue)}
    assert len(ids) == 3
    with pytest.raises(RequestError, match="idempotency key"):
        bob.submit(spec, idempotency_key="k" * 201)


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_judges_his_own_checkpoints_as_what_they_are(bob: JobQueue, eve: JobQueue, spec: TrainSpec) -> None:
    """What is found of one counts as found of the training, and decides which generator is fetched."""
    bobs, eves = submit(bob, spec), submit(eve, spec)

    def judge(job_id: str, **changes: Any) -> EvaluateSpec:
        key = f"jobs/{job_id}/attempts/0001/checkpoints/000000000064.pt"
        subject: dict[str, Any] = {"job_id": job_id, "images": 64, "attempt": 1, "checkpoint": key} | changes
        return EvaluateSpec(name="e", recipe=spec.recipe, subject=Subject(**subject), judging=Judging())

    with pytest.raises(RequestError, match=f"{bobs} is bob's job; eve may evaluate no job but eve's"):
        eve.submit(judge(bobs, checkpoint=judge(eves).subject.checkpoint))
    for changes in ({"images": 10**13}, {"attempt": 2}, {"attempt": 0}, {"checkpoint": judge(bobs).subject.checkpoint}):
        with pytest.raises(RequestError, match=f"is no checkpoint of {eves}"):
            eve.submit(judge(eves, **changes))
    eve.submit(judge(eves))
    eve.submit(judge(eves, attempt=0, checkpoint=f"weights/{'0' * 64}.safetensors"))
    assert bob.get(bobs).state is State.QUEUED


@pytest.mark.usefixtures("dispatcher")
def test_a_name_means_a_job_of_ones_own_first(bob: JobQueue, eve: JobQueue, queue: JobQueue, spec: TrainSpec) -> None:
    bobs, eves = submit(bob, spec), submit(eve, spec)
    assert (bob.resolve(spec.name), eve.resolve(spec.name), queue.resolve(spec.name)) == (bobs, eves, eves)


def test_who_is_not_entered_is_told_what_to_do(bob: JobQueue, settings: Settings, spec: TrainSpec) -> None:
    with Users(settings) as users:
        users.remove("bob")
    with pytest.raises(RightMissing, match="ganctl users add NAME"):
        bob.submit(spec)


def test_who_may_only_look_is_told(broker: Broker, settings: Settings, queue: JobQueue, spec: TrainSpec) -> None:
    job_id = submit(queue, spec)
    with closing(JobQueue(broker.as_user("gan-reader", settings))) as reader:
        assert [job.id for job in reader.list_jobs()] == [job_id]
        with pytest.raises(RightMissing):
            reader.cancel(job_id)
    with Requests(broker.as_user("gan-reader", settings)) as requests, pytest.raises(RightMissing):
        requests.ask("bob", CancelRequest(job_id=job_id))


# What nobody answers.


@pytest.mark.usefixtures("_hasty")
def test_without_a_dispatcher_a_request_waits_and_then_lapses(
    bob: JobQueue, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NoDispatcher, match="no dispatcher has answered"):
        bob.submit(spec)
    assert "no dispatcher answers; the request waits" in caplog.text
    assert left(admin) == 1
    desk.serve(token)
    assert (left(admin), bob.list_jobs()) == (0, [])


def test_one_that_no_longer_leads_answers_nothing(
    bob: JobQueue, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int
) -> None:
    put(admin, "bob", SubmitRequest(spec=spec))
    with pytest.raises(LeadershipLost):
        desk.serve(token - 1)
    assert (left(admin), bob.list_jobs()) == (1, [])
    desk.serve(token)
    assert (left(admin), len(bob.list_jobs())) == (0, 1)


def test_a_request_that_is_come_to_twice_is_carried_out_once(
    bob: JobQueue, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int
) -> None:
    for _ in range(2):  # a dispatcher ended before it could take the request out, or the answer to XADD was lost
        put(admin, "bob", SubmitRequest(spec=spec))
    desk.serve(token)
    [job] = bob.list_jobs()
    assert f'"{job.id}"' in reply(admin, "bob")


def test_nobody_can_answer_in_the_place_of_another(
    bob: JobQueue, submitter: Submitter, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int
) -> None:
    submitter("eve")
    for user in ("eve", "bob"):  # she has seen the id of his request, which anybody may read
        put(admin, user, SubmitRequest(spec=spec))
    desk.serve(token)
    jobs = {job.user: job.id for job in bob.list_jobs()}
    assert f'"{jobs["bob"]}"' in reply(admin, "bob")
    assert f'"{jobs["eve"]}"' in reply(admin, "eve")


def test_an_outage_of_redis_keeps_what_is_asked(
    bob: JobQueue, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int
) -> None:
    put(admin, "bob", SubmitRequest(spec=spec))
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerOutage):
            desk.serve(token)
    finally:
        admin.config_set("maxmemory", 0)
    desk.serve(token)
    assert (left(admin), len(bob.list_jobs())) == (0, 1)


# What is no request.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not understand"),
        ("{", "does not understand"),
        ("[" * 100_000, "does not understand"),
        ('{"kind": "lease"}', "does not understand"),
        ('{"kind": "cancel", "job_id": "a", "user": "root"}', "does not understand"),
        ('{"kind": "cancel", "job_id": "' + "a" * 101 + '"}', "does not understand"),
        ('{"kind": "submit", "spec": {"kind": "train"}}', "does not understand"),
        (b'{"kind": "cancel", "job_id": "\xff\xfe"}', "does not understand"),
        ('"' + "a" * LONGEST_REQUEST_BYTES + '"', "bytes; expected at most"),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(
    text: str | bytes, says: str, bob: JobQueue, admin: redis.Redis, desk: Desk, token: int
) -> None:
    put(admin, "bob", text)
    desk.serve(token)
    answer = reply(admin, "bob")
    assert says in answer
    assert len(answer) < 1_000
    assert "\n" not in answer
    assert (left(admin), bob.list_jobs()) == (0, [])


BYTES = st.binary(max_size=40) | st.sampled_from(
    [ID.encode(), b"60000", b'{"kind":"retry","job_id":"a"}', b"-1", b"9" * 9]
)
FIELDS = st.dictionaries(
    st.sampled_from([b"id", b"lifetime_ms", b"request", b"\xff", b""]) | st.binary(max_size=5), BYTES, min_size=1
)


@pytest.mark.usefixtures("bob", "eve")
@given(entries=st.lists(FIELDS, min_size=1, max_size=AT_ONCE))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_submitter_writes_others_are_answered(
    entries: list[Any], admin: redis.Redis, desk: Desk, token: int
) -> None:
    admin.delete(f"{{gan}}:reply:bob/{ID}")
    for fields in entries:
        admin.xadd("{gan}:requests:eve", fields)
    put(admin, "bob", CancelRequest(job_id="nobody"))
    desk.serve(token)
    assert [left(admin, "eve"), left(admin, "bob")] == [0, 0]
    assert reply(admin, "bob") == '{"missing": true}'


@pytest.mark.usefixtures("bob")
def test_an_entry_of_a_time_to_come_is_nobody_elses_trouble(admin: redis.Redis, desk: Desk, token: int) -> None:
    admin.xadd("{gan}:requests:bob", {"id": ID, "lifetime_ms": 1, "request": ""}, id="18446744073709551615-5")
    desk.serve(token)
    assert left(admin) == 0


@pytest.mark.usefixtures("bob", "eve")
@pytest.mark.parametrize(("count", "size"), [(LONGEST_STREAM + 1, 1), (2, LARGEST_STREAM_BYTES // 2 + 1)])
def test_a_flood_is_thrown_away_and_others_are_answered(
    count: int, size: int, admin: redis.Redis, desk: Desk, token: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(count):
        put(admin, "eve", "x" * size)
    put(admin, "bob", CancelRequest(job_id="nobody"))
    with caplog.at_level(logging.WARNING):
        desk.serve(token)
    assert [left(admin, "eve"), left(admin, "bob")] == [0, 0]
    assert reply(admin, "bob")
    assert reply(admin, "eve") is None
    assert f"requests:eve is flooded: {count} requests are thrown away" in caplog.text


@pytest.mark.usefixtures("eve")
def test_a_flood_that_has_filled_the_broker_goes_though_nobody_can_lead(
    admin: redis.Redis, dispatching: Settings
) -> None:
    """A dispatcher becomes the leader by a write, for which there was no room."""
    for _ in range(LONGEST_STREAM + 1):
        put(admin, "eve", "x")
    dispatcher = Dispatcher(dispatching, InMemoryCluster(cpus=1))
    admin.config_set("maxmemory", 1)
    try:
        assert vars(Dispatcher)["_round"](dispatcher) > 0
    finally:
        faulthandler.cancel_dump_traceback_later()  # of a dispatcher that hangs
        admin.config_set("maxmemory", 0)
    assert left(admin, "eve") == 0


@pytest.mark.usefixtures("bob", "eve")
def test_who_asks_much_keeps_nobody_waiting(admin: redis.Redis, desk: Desk, token: int) -> None:
    for _ in range(2 * AT_ONCE):
        put(admin, "eve", CancelRequest(job_id="nobody"))
    put(admin, "bob", CancelRequest(job_id="nobody"))
    desk.serve(token)
    assert [left(admin, "eve"), left(admin, "bob")] == [AT_ONCE, 0]


def test_streams_of_those_who_are_not_entered_are_not_looked_at(
    admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int, queue: JobQueue
) -> None:
    put(admin, "mallory", SubmitRequest(spec=spec))
    desk.serve(token)
    assert (left(admin, "mallory"), queue.list_jobs()) == (1, [])


def test_a_job_that_was_asked_for_is_leased_like_any(
    bob: JobQueue, admin: redis.Redis, spec: TrainSpec, desk: Desk, token: int, queue: JobQueue
) -> None:
    put(admin, "bob", SubmitRequest(spec=spec))
    desk.serve(token)
    [job] = bob.list_jobs()
    assert lease(queue).job_id == job.id


@pytest.mark.usefixtures("dispatcher")
def test_a_submitter_is_held_to_his_quota(bob: JobQueue, admin: redis.Redis, spec: TrainSpec) -> None:
    admin.hset("{gan}:users", "bob", UserRecord(jobs_queued=1).model_dump_json())
    first = submit(bob, spec)
    with pytest.raises(RequestError, match="bob has 1 job in the queue, as many as the quota allows"):
        submit(bob, spec)
    bob.cancel(first)
    submit(bob, spec)
    with pytest.raises(RequestError, match="bob has 1 job in the queue"):
        bob.retry(first)
