"""What is read of the jobs that are looked for: no more than it takes."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from ganservice.cli.listing import LISTED
from ganservice.errors import JobNotFound, LeadershipLost
from ganservice.job import State
from ganservice.job_list import JobList, Wanted
from ganservice.leadership import Leadership
from ganservice.queue import JobQueue
from ganservice.roles import Role, rights
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.jobs import SUCCESS, lease, submit

# Of a job that is finished, as many more as it takes to fill pages.
COPY = """
local first = '{gan}:job:' .. ARGV[1]
for number = 1, ARGV[2] do
  local id = string.format('many-%06d', number)
  redis.call('COPY', first, '{gan}:job:' .. id)
  redis.call('HSET', '{gan}:job:' .. id, 'id', id, 'order', 1000 + number)
  redis.call('ZADD', '{gan}:state:succeeded', 1, id)
  redis.call('ZADD', '{gan}:jobs', 1000 + number, id)
  redis.call('ZADD', '{gan}:jobs_of:ada', 1000 + number, id)
  redis.call('HSET', '{gan}:user_of', id, 'ada')
end
"""


@pytest.fixture
def jobs(settings: Settings) -> Iterator[JobList]:
    with JobList(settings) as found:
        yield found


@pytest.fixture
def many(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> int:
    """As many finished jobs as no command may read."""
    submit(queue, spec)
    queue.finish(lease(queue), SUCCESS)
    [job_id] = queue.list_ids()
    admin.eval(COPY, 0, job_id, 5_000)
    return 5_001


def reads(admin: redis.Redis, command: str) -> int:
    """How often Redis has carried out a command."""
    statistics: dict[str, Any] = admin.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_of_thousands_of_jobs_those_are_read_that_are_shown(jobs: JobList, admin: redis.Redis, many: int) -> None:
    whole, headings = reads(admin, "hgetall"), reads(admin, "hmget")
    found = jobs.find(Wanted(), LISTED, fold=True)
    assert [job.id for job in found.jobs] == [f"many-{number:06d}" for number in range(5_000, 5_000 - LISTED, -1)]
    assert found.has_more
    assert reads(admin, "hgetall") - whole <= LISTED + 2, "a page, and whether the queue is paused"
    assert reads(admin, "hmget") - headings <= 200 < many


def test_a_rare_job_is_found_by_headings_alone(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec, many: int
) -> None:
    rare = submit(queue, spec, name="rare")
    admin.zadd("{gan}:jobs", {rare: 0.5})
    admin.hset("{gan}:job:" + rare, "order", 0)
    whole = reads(admin, "hgetall")
    found = jobs.find(Wanted(pattern="r*"), LISTED)
    assert [job.id for job in found.jobs] == [rare]
    assert not found.has_more
    assert reads(admin, "hgetall") - whole <= 2
    headings = reads(admin, "hmget")
    assert [job.id for job in jobs.find(Wanted(states=frozenset({State.QUEUED})), LISTED).jobs] == [rare]
    assert reads(admin, "hmget") - headings <= 4 < many, "of jobs that live there are few"


@pytest.mark.usefixtures("many")
def test_of_states_that_few_or_many_are_in_no_more_is_read_than_is_shown(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    submit(queue, spec)
    failed = lease(queue).job_id
    queue.fail(failed, "of a few")
    admin.zadd("{gan}:jobs", {failed: 0.5})
    for state, shown, most in ((State.FAILED, 1, 2), (State.CANCELLED, 0, 0), (State.SUCCEEDED, LISTED, 200)):
        headings = reads(admin, "hmget")
        assert len(jobs.find(Wanted(states=frozenset({state})), LISTED).jobs) == shown
        assert reads(admin, "hmget") - headings <= most


def test_of_a_user_no_job_of_another_is_looked_at(
    jobs: JobList, settings: Settings, admin: redis.Redis, spec: TrainSpec, many: int
) -> None:
    with JobQueue(settings.model_copy(update={"user": "grace"})) as theirs:
        first, second = submit(theirs, spec), submit(theirs, spec)
    for job_id, order in ((first, 0), (second, 0.5)):
        admin.zadd("{gan}:jobs", {job_id: order})
    before = reads(admin, "hmget")
    assert [job.id for job in jobs.find(Wanted(user="grace"), LISTED).jobs] == [second, first]
    assert jobs.find(Wanted(user="nobody"), LISTED).jobs == []
    assert jobs.newest_of("grace") == second
    with pytest.raises(JobNotFound):
        jobs.newest_of("nobody")
    assert reads(admin, "hmget") - before <= 4 + 2 * 2 < many, "whose the newest jobs are, each time, and his own"


def test_jobs_of_a_user_that_an_earlier_release_has_submitted_are_listed_and_find_their_places(
    jobs: JobList, queue: JobQueue, settings: Settings, admin: redis.Redis, spec: TrainSpec
) -> None:
    with JobQueue(settings.model_copy(update={"user": "grace"})) as theirs:
        ids = [submit(theirs, spec) for _ in range(3)]
    submit(queue, spec)
    admin.delete("{gan}:jobs_of:grace", "{gan}:user_of")
    assert [job.id for job in jobs.find(Wanted(user="grace"), LISTED).jobs] == ids[::-1]
    list(queue.index())
    assert admin.zrange("{gan}:jobs_of:grace", 0, -1) == ids
    assert admin.hlen("{gan}:user_of") == 4
    assert [job.id for job in jobs.find(Wanted(user="grace"), LISTED).jobs] == ids[::-1]


def test_what_a_dispatcher_of_an_earlier_release_has_forgotten_is_forgotten_of_its_user(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    gone, there = submit(queue, spec), submit(queue, spec)
    admin.delete("{gan}:job:" + gone)
    for key in ("jobs", "ids", "named:tiny", "state:queued", "ready_of:ada"):
        admin.zrem("{gan}:" + key, gone)
    list(queue.index())
    assert admin.hkeys("{gan}:user_of") == admin.zrange("{gan}:jobs_of:ada", 0, -1) == [there]


def lose_and_leave(queue: JobQueue, admin: redis.Redis, spec: TrainSpec) -> tuple[str, str]:
    """A job that an earlier release has forgotten and one that it has submitted: as many places are there as should."""
    gone, there = submit(queue, spec), submit(queue, spec)
    admin.delete("{gan}:job:" + gone)
    for key in ("jobs", "ids", "named:tiny", "state:queued", "ready_of:ada"):
        admin.zrem("{gan}:" + key, gone)
    admin.zrem("{gan}:jobs_of:ada", there)
    admin.hdel("{gan}:user_of", there)
    return gone, there


def test_what_an_earlier_release_has_submitted_is_ones_newest_job_at_once(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    before = submit(queue, spec)
    _, newest = lose_and_leave(queue, admin, spec)
    assert jobs.newest_of("ada") == newest
    assert [job.id for job in jobs.find(Wanted(user="ada"), LISTED).jobs] == [newest, before]
    assert jobs.find(Wanted(user="nobody"), LISTED).jobs == []


@pytest.mark.parametrize("is_ada", [True, False])
def test_a_job_lacks_no_place_because_another_has_one_too_many(
    queue: JobQueue, settings: Settings, admin: redis.Redis, spec: TrainSpec, is_ada: bool
) -> None:
    with JobQueue(settings.model_copy(update={"user": "ada" if is_ada else ""})) as theirs:
        _, there = lose_and_leave(theirs, admin, spec)
    list(queue.index(compares=False))
    assert not admin.hexists("{gan}:user_of", there), "the numbers agree"
    list(queue.index())
    assert admin.hkeys("{gan}:user_of") == [there]
    assert admin.zrange("{gan}:jobs_of:ada", 0, -1) == [there] * is_ada


def test_a_job_that_is_among_no_users_though_its_user_is_known_finds_its_place(
    queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    ids = [submit(queue, spec) for _ in range(2)]
    admin.zrem("{gan}:jobs_of:ada", ids[0])
    list(queue.index())
    assert admin.zrange("{gan}:jobs_of:ada", 0, -1) == ids


@pytest.mark.usefixtures("many")
def test_places_are_tended_in_pages_and_what_is_well_is_written_nowhere(queue: JobQueue, admin: redis.Redis) -> None:
    scripts, looks = reads(admin, "evalsha"), 0
    for _ in queue.index():
        looks += 1
    assert looks >= 2 * 5_001 // 2_000
    assert reads(admin, "evalsha") == scripts


def test_who_leads_no_more_tends_no_places(
    queue: JobQueue, settings: Settings, admin: redis.Redis, spec: TrainSpec
) -> None:
    submit(queue, spec)
    with Leadership(settings) as leadership:
        token = leadership.lead()
    assert token
    admin.delete("{gan}:user_of")
    with pytest.raises(LeadershipLost):
        list(queue.index(token - 1))
    assert not admin.exists("{gan}:user_of")
    list(queue.index(token))
    assert admin.exists("{gan}:user_of")


@pytest.mark.parametrize("key", ["user_of", "jobs_of:ada"])
def test_what_another_hand_puts_in_the_place_of_a_users_jobs_keeps_nobody_out(
    jobs: JobList, queue: JobQueue, settings: Settings, admin: redis.Redis, spec: TrainSpec, key: str
) -> None:
    first = submit(queue, spec)
    with JobQueue(settings.model_copy(update={"user": "grace"})) as theirs:
        hers = submit(theirs, spec)
    admin.delete("{gan}:jobs_of:grace")
    admin.delete("{gan}:" + key)
    admin.set("{gan}:" + key, "another's")
    assert jobs.newest_of("ada") == first
    list(queue.index())
    assert admin.zrange("{gan}:jobs_of:ada", 0, -1) == [first]
    assert admin.zrange("{gan}:jobs_of:grace", 0, -1) == [hers]
    assert admin.hgetall("{gan}:user_of") == {first: "ada", hers: "grace"}
    admin.delete("{gan}:" + key)
    admin.set("{gan}:" + key, "another's")
    second = submit(queue, spec)
    assert jobs.newest_of("ada") == second
    assert admin.hget("{gan}:user_of", second) == "ada"
    assert admin.zscore("{gan}:jobs_of:ada", second)


@pytest.mark.parametrize("key", ["user_of", "jobs_of:ada"])
def test_without_the_right_to_write_the_places_of_users_all_goes_on(
    jobs: JobList, settings: Settings, admin: Any, spec: TrainSpec, key: str
) -> None:
    former = rights(Role.DISPATCHER, "former").replace(f" ~{{gan}}:{key.replace('ada', '*')}", "")
    admin.execute_command("ACL", "SETUSER", "former", "reset", "on", ">x", *former.split())
    try:
        url = settings.require_broker()
        url = url.replace(url[url.index("//") + 2 : url.rindex("@")], "former:x")
        with JobQueue(settings.model_copy(update={"broker_url": SecretStr(url)})) as queue:
            ids = [job_id for job_id, _ in queue.submit_all([(spec, None)] * 150)]
            list(queue.index())
            admin.config_resetstat()
            list(queue.index())
            assert reads(admin, "evalsha") == 1, "after the first refusal it asks for no other"
            assert [job.id for job in jobs.find(Wanted(user="ada"), 150).jobs] == ids[::-1]
            queue.finish(lease(queue), SUCCESS)
            assert queue.delete(ids[0])
    finally:
        admin.acl_deluser("former")


def test_no_job_comes_twice_or_not_at_all_where_pages_meet(jobs: JobList, many: int) -> None:
    ids = [heading.id for heading in jobs.headings()]
    assert len(ids) == len(set(ids)) == many


@pytest.mark.usefixtures("many")
def test_what_is_older_than_asked_for_is_not_looked_through(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    newest = submit(queue, spec)
    admin.zadd("{gan}:jobs", {newest: 1e6})
    admin.hset("{gan}:job:" + newest, mapping={"order": 1_000_000, "submitted_at": 4_000_000_000_000})
    headings = reads(admin, "hmget")
    assert [job.id for job in jobs.find(Wanted(since=3_999_999_999.0), LISTED).jobs] == [newest]
    assert reads(admin, "hmget") - headings <= 1_200


def test_jobs_of_an_earlier_release_that_have_no_places_are_listed(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    ids = [submit(queue, spec) for _ in range(3)]
    admin.delete("{gan}:jobs")
    assert [job.id for job in jobs.find(Wanted(), LISTED).jobs] == ids[::-1]


def test_a_job_that_this_version_cannot_read_hides_no_other(
    jobs: JobList, queue: JobQueue, admin: redis.Redis, spec: TrainSpec
) -> None:
    bad, good = submit(queue, spec), submit(queue, spec)
    admin.hset("{gan}:job:" + bad, mapping={"spec": "{", "submitted_at": "x"})
    found = jobs.find(Wanted(), LISTED)
    assert ([job.id for job in found.jobs], found.unreadable) == ([good], 1)
