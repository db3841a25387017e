"""Roles: what each user of Redis may do and may not, as the table of docs/operating.md says; on both servers."""

import itertools
import re
import secrets
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from ganservice.cli import ganctl
from ganservice.errors import OutageKind, RequestError, RightMissing, StoreOutage
from ganservice.leadership import Leadership
from ganservice.maintenance import Maintenance
from ganservice.objects import ObjectStore
from ganservice.probes import BrokerProbe
from ganservice.queue import JobQueue
from ganservice.roles import NAMES, STORE_KEYS, Role, template
from ganservice.settings import Settings
from ganservice.spec import Evaluate, TrainSpec
from ganservice.sweep_request import make_sweep
from ganservice.users import UserRecord, Users
from tests.commands import commands
from tests.integration.broker import Broker
from tests.integration.conftest import Submitter
from tests.integration.jobs import CLUSTER, FAILURE, report, submit, submit_evaluation, submit_sweep
from tests.integration.store import as_role

OPERATING = Path("docs/operating.md")
ROLES = [role for role in Role if role is not Role.RAY]
USERS = {role: name for name, role in NAMES.items()} | {Role.SUBMITTER: "bob"}
# Commands, each by the row of the table that it falls under.
LOOKS, SUBMITS, SWEEPS, CANCELS, TAKES, ENTERS = "look", "submit", "sweep", "cancel", "take", "enter users"
HOLDS, DELETES = "hold the queue or a node", "delete"
COMMANDS = {
    **dict.fromkeys(("list", "show", "watch", "logs", "events", "wait", "fetch", "link", "report", "compare"), LOOKS),
    **dict.fromkeys(("nodes", "quota show", "ls", "cp", "follow", "sweeps"), LOOKS),
    **dict.fromkeys(
        ("doctor", "sample", "interpolate", "recover", "inpaint", "augment", "upscale", "explore", "users list"), LOOKS
    ),
    **dict.fromkeys(("submit", "evaluate"), SUBMITS),
    "sweep": SWEEPS,
    **dict.fromkeys(("cancel", "retry", "set-priority"), CANCELS),
    **dict.fromkeys(("run", "verify-resume"), TAKES),
    **dict.fromkeys(("users add", "users remove", "quota set"), ENTERS),
    **dict.fromkeys(("pause", "resume", "cordon", "uncordon", "drain"), HOLDS),
    **dict.fromkeys(("delete", "gc", "data delete"), DELETES),
}
WITHOUT_REDIS = {"up", "down", "data list", "data show", "data get", "data import", "networks put"}


class Try:
    """What a role tries, each time on a job of its own that the operator has made for it."""

    def __init__(self, role: Role, settings: Settings, operator: JobQueue, spec: TrainSpec, broker: Broker) -> None:
        self.role = role
        self.name = USERS[role]
        self.settings = settings
        self.queue = JobQueue(settings)
        self.operator = operator
        self.spec = spec
        self.redis: Any = redis.Redis.from_url(settings.require_broker(), decode_responses=True)
        self.url = broker.url_of(self.name)

    def close(self) -> None:
        self.queue.close()
        self.redis.close()

    def running(self) -> Any:
        return self.operator.take(submit(self.operator, self.spec))

    def look(self) -> None:
        job_id = submit(self.operator, self.spec)
        for command in (["list"], ["events", job_id], ["logs", job_id], ["users", "list"]):
            self.ganctl(*command)
        self.queue.resolve(job_id[:-1])
        self.queue.evaluations(job_id)
        with BrokerProbe(self.settings) as probe, Leadership(self.settings) as leadership:
            probe.check()
            probe.warnings()
            leadership.leader()
            leadership.dispatchers()

    def ganctl(self, *arguments: str) -> None:
        done = CliRunner(env={"GANSERVICE_BROKER_URL": self.url}).invoke(ganctl, arguments)
        if done.exception:
            raise done.exception

    def submit(self) -> None:
        job_id, _ = self.queue.submit(self.spec)
        submit_evaluation(self.queue, self.spec, job_id, 16)

    def sweep(self) -> None:
        base = self.spec.model_copy(update={"evaluate": Evaluate()})
        self.ganctl("cancel", submit_sweep(self.queue, make_sweep(base, grid={"recipe.d_steps": [1, 2]})))

    def cancel(self) -> None:
        job_id = self.of(self.name)
        self.ganctl("cancel", job_id)
        self.ganctl("retry", job_id)
        self.ganctl("set-priority", job_id, "high")

    def cancel_others(self) -> None:
        changes = (self.queue.cancel, partial(self.queue.prioritise, priority=75))
        [found] = {attempt(partial(change, self.of("eve"))) for change in changes}
        if found == "no":
            raise RightMissing("neither may be done")

    def of(self, user: str) -> str:
        """A queued job of a user."""
        with closing(JobQueue(self.operator_settings.model_copy(update={"user": user}))) as queue:
            return submit(queue, self.spec)

    operator_settings: Settings

    def take(self) -> None:
        self.queue.take(submit(self.operator, self.spec))

    def lease(self) -> None:
        submit(self.operator, self.spec)
        assert self.queue.lease(CLUSTER, CLUSTER)

    def lead(self) -> None:
        with Leadership(self.settings) as leadership:
            token = leadership.lead()
            if token:
                leadership.resign(token)

    def beat(self) -> None:
        self.queue.heartbeat(self.running(), report(16), logs=["a line"])

    def finish(self) -> None:
        self.queue.finish(self.running(), FAILURE)

    def reap(self) -> None:
        held = self.running()
        assert self.queue.reap({held.job_id: self.operator.leases()[held.job_id]}) == [held.job_id]

    def forge(self) -> None:
        self.redis.hset(f"{{gan}}:job:{submit(self.operator, self.spec)}", "state", "succeeded")

    def enter(self) -> None:
        with Users(self.settings) as users:
            users.put("mallory", UserRecord())
            users.remove("mallory")

    def hold(self) -> None:
        with Maintenance(self.settings) as maintenance:
            maintenance.pause("tea")
            maintenance.resume()
            maintenance.cordon("f00d")
            maintenance.uncordon("f00d")

    def delete(self) -> None:
        job_id = submit(self.operator, self.spec)
        self.operator.cancel(job_id)
        self.queue.delete(job_id)

    def run_lua(self) -> None:
        self.redis.evalsha(self.redis.script_load("return 1"), 0)

    def do(self, command: str) -> None:
        self.redis.execute_command(*command.split())


# Each row of the table, and how it is tried.
ROWS: dict[str, Callable[[Try], Any]] = {
    "`list`, `show`, `watch`, `logs`, `events`, `wait`, `report`, `doctor` and others that look": Try.look,
    "`submit`, `evaluate`": Try.submit,
    "`sweep`, and `cancel` a sweep of one's own": Try.sweep,
    "`cancel`, `retry`, `set-priority` a job of one's own": Try.cancel,
    "`cancel`, `retry`, `set-priority` another's job": Try.cancel_others,
    "`run`, `verify-resume`: take a job's lease": Try.take,
    "`users add`, `users remove`; quotas": Try.enter,
    "`pause`, `resume`, `cordon`, `uncordon`, `drain`": Try.hold,
    "`delete`, `gc`, `data delete`": Try.delete,
    "lead, as a dispatcher": Try.lead,
    "lease jobs": Try.lease,
    "beat and report for a running job": Try.beat,
    "finish a running job": Try.finish,
    "end a job as silent": Try.reap,
    "write a job as one pleases (`HSET`)": Try.forge,
    "run Lua of one's own": Try.run_lua,
    "ask in another's name (`XADD`)": lambda it: it.redis.xadd("{gan}:requests:eve", {"id": "1"}),
    "say who leads (`HSET {gan}:leader`)": lambda it: it.redis.hset("{gan}:leader", "looked_at", 1),
    **{
        f"`{command}`": partial(Try.do, command=command)
        for command in ("FLUSHALL", "CONFIG GET requirepass", "ACL LIST", "KEYS *", "GET another:key",
                        "SET another:key 1", "EVAL return{} 0", "SHUTDOWN NOSAVE", "CLIENT LIST", "MONITOR",
                        "PUBLISH a b", "SELECT 7", "FUNCTION LIST", "FUNCTION FLUSH")
    },
}  # fmt: skip


def table() -> dict[str, dict[Role, str]]:
    """The table of the handbook, by row and role."""
    text = OPERATING.read_text()
    head, _, *rows = re.findall(r"^\| .*\|$", text[text.index("### Roles") :], re.MULTILINE)
    rows = list(itertools.takewhile(lambda row: row.count("|") == head.count("|"), rows))
    roles = [Role(word) for word in cells(head)[1:]]
    return {cells(row)[0]: dict(zip(roles, cells(row)[1:], strict=True)) for row in rows}


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def attempt(act: Callable[[], Any]) -> str:
    """Whether something could be done, in the words of the table."""
    try:
        act()
    except (RightMissing, redis.exceptions.NoPermissionError):
        return "no"
    except RequestError as refusal:
        if not re.search("may (cancel|prioritise) no job but", str(refusal)):
            raise
        return "no"
    return "yes"


def test_the_table_has_every_role_and_every_row() -> None:
    found = table()
    assert list(found) == list(ROWS)
    assert all(list(row) == ROLES for row in found.values())


def test_every_command_falls_under_a_row() -> None:
    assert set(commands()) == set(COMMANDS) | WITHOUT_REDIS


@pytest.mark.usefixtures("dispatcher")
@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_the_table_says(
    role: Role, settings: Settings, queue: JobQueue, submitter: Submitter, spec: TrainSpec, broker: Broker
) -> None:
    submitter("bob")
    mine = broker.as_user(USERS[role], settings.model_copy(update={"user": USERS[role]}))
    it = Try(role, mine, queue, spec, broker)
    it.operator_settings = settings
    with closing(it):
        found = {row: attempt(partial(act, it)) for row, act in ROWS.items()}
    # What a submitter may not do himself the dispatcher does for him, if it is his to ask.
    expected = {row: "yes" if cells[role] == "asks" else cells[role] for row, cells in table().items()}
    assert found == expected


def test_the_file_of_users_is_that_of_the_code() -> None:
    command = "run `python -m ganservice.roles >deploy/redis/users.acl`"
    assert Path("deploy/redis/users.acl").read_text() == template(), command


def test_a_function_runs_with_the_rights_of_who_calls_it(admin: redis.Redis, broker: Broker) -> None:
    """The reason why submitters run none: a library loaded by an administrator would lend them no right."""
    code = "#!lua name=tried\nredis.register_function('put', function(keys) return redis.call('SET', keys[1], '1') end)"
    commands: Any = admin
    commands.function_load(code, replace=True)
    commands.execute_command("ACL", "SETUSER", "caller", "on", ">caller", "%R~{gan}:*", "~{gan}:a", "+fcall")
    try:
        with closing(redis.Redis(port=broker.port, username="caller", password="caller")) as caller:
            with pytest.raises(redis.ResponseError, match="script"):
                caller.fcall("put", 1, "{gan}:a")
            commands.execute_command("ACL", "SETUSER", "caller", "+set")
            assert caller.fcall("put", 1, "{gan}:a") == b"OK"
            assert caller.set("{gan}:a", "what it likes"), "who may call it may write without it"
    finally:
        commands.execute_command("ACL", "DELUSER", "caller")
        commands.function_delete("tried")


def test_every_key_is_written_by_a_role_or_by_the_operator_alone() -> None:
    """A new key has a place in the map of its module, and somebody who may write it."""
    text = "\n".join(path.read_text() for path in Path("ganservice").glob("*.py"))
    keys = set(re.findall(r"^\{gan\}:([\w:*/]+) +(?:hash|zset|stream|string|int)", text, re.MULTILINE))
    assert {"job:ID", "leader", "users", "requests:NAME"} <= keys
    [line] = [line for line in template().splitlines() if line.startswith("user gan-dispatcher ")]
    patterns = re.findall(r"[ ]~\{gan\}:(\S*)", line)
    written = {key for key in keys if any(key.partition(":")[0] == pattern.partition(":")[0] for pattern in patterns)}
    assert keys - written == {"users", "pause", "cordons"}


# At the store


WRITTEN = ("data/d/f", "starts/d.pt", "weights/d", "jobs/a/reports/t.html", "jobs/a/attempts/0001/f", "networks/n",
           "statistics/n", "health/h", "elsewhere")  # fmt: skip


def store_table() -> dict[Role, set[str]]:
    """Where each role writes, as the handbook says."""
    text = OPERATING.read_text()
    rows = re.findall(r"^\| (\w+) \| everything \| (.*) \|$", text, re.MULTILINE)
    return {Role(role): set(re.findall(r"`([^`]+)`", keys)) for role, keys in rows}


def test_the_table_of_the_store_is_that_of_the_code() -> None:
    expected = {role: {key or "everything" for key in keys} for role, keys in STORE_KEYS.items()}
    assert store_table() == expected


@pytest.mark.parametrize("role", STORE_KEYS)
def test_each_role_writes_where_it_should_and_reads_everything(role: Role, store_settings: Settings) -> None:
    name = secrets.token_hex(4)
    owner, objects = ObjectStore(store_settings), ObjectStore(as_role(role, store_settings))
    written = set()
    for key in WRITTEN:
        owner.put(f"{key}-{name}", b"the owner's")
        assert objects.get(f"{key}-{name}") == b"the owner's"
        try:
            objects.put(f"{key}-{name}-{role}", b"mine")
            objects.delete(f"{key}-{name}")
        except StoreOutage as outage:
            if outage.kind is not OutageKind.REFUSED:
                raise
        else:
            written.add(key)
    patterns = [re.escape(key).replace(r"\*", ".*") + ".*" for key in STORE_KEYS[role]]
    assert written == {key for key in WRITTEN if any(re.fullmatch(pattern, key) for pattern in patterns)}
