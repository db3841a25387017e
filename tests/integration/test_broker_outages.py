"""What a Redis, or what stands in its place, may answer: an outage of its kind, or a wrong setting, in one line."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from pydantic import SecretStr

from ganservice.broker import Broker as Client
from ganservice.broker_versions import advice_on_version
from ganservice.cli import ganctl
from ganservice.errors import BrokerOutage, GanServiceError, JobNotFound, OutageKind, SettingsInvalid
from ganservice.probes import BrokerProbe
from ganservice.queue import JobQueue
from ganservice.settings import Settings
from ganservice.spec import TrainSpec
from tests.integration.broker import Broker
from tests.integration.strangers import resp_server, silent_server, tcp_server

HELLO = b"%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n"
UNREACHABLE, READ_ONLY, FULL = OutageKind.UNREACHABLE, OutageKind.READ_ONLY, OutageKind.FULL
BUSY, REFUSED, FAILING = OutageKind.BUSY, OutageKind.REFUSED, OutageKind.FAILING

# What Redis 7 and Valkey answer, word by word.
ERRORS = [
    ("LOADING Redis is loading the dataset in memory", UNREACHABLE, "is starting"),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.", UNREACHABLE, "lost its primary"),
    ("UNBLOCKED force unblock from blocking operation, instance state changed", UNREACHABLE, "become a replica"),
    ("CLUSTERDOWN Hash slot not served", UNREACHABLE, "cluster that is down"),
    ("READONLY You can't write against a read only replica. script: a1, on @user_script:3.", READ_ONLY, "is a replica"),
    ("NOREPLICAS Not enough good replicas to write.", READ_ONLY, "lacks the replicas"),
    ("OOM command not allowed when used memory > 'maxmemory'. script: a1, on @user_script:1.", FULL, "memory is full"),
    ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", FULL, "cannot save"),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL.", BUSY, "busy with a script"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", BUSY, "moving our keys"),
    ("MOVED 3999 127.0.0.1:6381", FAILING, "one node of a cluster"),
    ("ASK 3999 127.0.0.1:6381", FAILING, "one node of a cluster"),
    ("MOVED house", FAILING, "what no Redis says"),
    ("CROSSSLOT Keys in request don't hash to the same slot", FAILING, "takes a single Redis"),
    ("ERR max number of clients reached", BUSY, "as many clients as it takes"),
    ("MAXCLIENTS", BUSY, "as many clients as it takes"),
    ("NOAUTH Authentication required.", REFUSED, "asks for a password"),
    ("WRONGPASS invalid username-password pair or user is disabled.", REFUSED, "refuses the user or the password"),
    ("ERR AUTH <password> called without any password configured for the default user.", REFUSED, "has no password"),
    ("DENIED Redis is running in protected mode because protected mode is enabled", REFUSED, "protected mode"),
    ("NOPERM User gan has no permissions to run the 'evalsha' command", REFUSED, "docs/operating.md"),
    ("ERR ACL failure in script: User gan has no permissions to run the 'set' command", REFUSED, "docs/operating.md"),
    ("NOSCRIPT No matching script. Please use EVAL.", FAILING, "forgets scripts"),
    ("ERR unknown command 'EVALSHA', with args beginning with: 'secret' ", FAILING, "takes Redis 7 or Valkey"),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", FAILING, "another program"),
    ("NOPROTO unsupported protocol version", FAILING, "speaks another protocol"),
    ("ERR Error running script (call to f_a1): @user_script:14: OOM command not allowed", FULL, "memory is full"),
    ("SURPRISE what nobody has named", FAILING, "SURPRISE what nobody has named"),
    ("", FAILING, "fails"),
]
ASKS: list[Callable[[JobQueue], Any]] = [
    lambda queue: queue.list_jobs(),
    lambda queue: queue.cancel("job"),
]


def url_of(port: int) -> str:
    return f"redis://:secret@127.0.0.1:{port}/0"


def told(url: str, tmp_path: Path, ask: Callable[[JobQueue], Any]) -> GanServiceError:
    """The error of ours that `ask` ends with: one line, without the password."""
    with (
        pytest.raises(GanServiceError) as caught,
        closing(JobQueue(Settings(broker_url=url, state_dir=tmp_path))) as queue,
    ):
        ask(queue)
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert "secret" not in line
    return caught.value


def refuses(text: str, *, greets: bool) -> Callable[[list[bytes]], bytes]:
    """A server that answers with an error, to a greeting too unless it `greets`."""

    def respond(words: list[bytes]) -> bytes:
        if greets and words[0] in (b"HELLO", b"CLIENT"):
            return HELLO if words[0] == b"HELLO" else b"+OK\r\n"
        return b"-" + text.encode() + b"\r\n"

    return respond


@pytest.mark.parametrize("greets", [True, False], ids=["greets", "refuses at once"])
@pytest.mark.parametrize(("text", "kind", "says"), ERRORS, ids=[text[:30] for text, *_ in ERRORS])
def test_every_error_is_an_outage_of_its_kind(
    text: str, kind: OutageKind, says: str, greets: bool, tmp_path: Path
) -> None:
    with resp_server(refuses(text, greets=greets)) as port:
        for ask in ASKS:
            outage = told(url_of(port), tmp_path, ask)
            assert isinstance(outage, BrokerOutage), outage
            assert outage.kind is kind, outage
            assert says in str(outage)
            assert "does not answer" not in str(outage), "it was asked and did answer"
            assert outage.exit_code == (5 if kind is FULL else 3)


@pytest.mark.parametrize("text", ["ERR DB index is out of range", "ERR SELECT is not allowed in cluster mode"])
def test_a_database_that_is_not_there_is_a_wrong_setting(text: str, tmp_path: Path) -> None:
    with resp_server(refuses(text, greets=True)) as port:
        refused = told(f"redis://127.0.0.1:{port}/99", tmp_path, lambda queue: queue.ping())
    assert isinstance(refused, SettingsInvalid)
    assert "GANSERVICE_BROKER_URL" in str(refused)


@pytest.mark.parametrize(
    "text",
    [
        "ERR user_script:14: attempt to index a nil value script: a1, on @user_script:14.",
        "ERR Error running script (call to f_a1): @user_script: 14: attempt to compare nil with number",
    ],
)
def test_a_fault_of_our_own_script_is_not_waited_for(text: str, tmp_path: Path) -> None:
    with resp_server(refuses(text, greets=True)) as port:
        fault = told(url_of(port), tmp_path, lambda queue: queue.cancel("job"))
    assert not isinstance(fault, BrokerOutage)
    assert "a fault of ganservice itself, in line 14" in str(fault)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", FAILING, "what no Redis says"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FAILING, "what no Redis says"),
        (b"\x15\x03\x03\x00\x02\x02\x46", FAILING, "or it asks for TLS"),
        (b"+OK\r\n", FAILING, "what no Redis says"),
        (b"$-1\r\n", FAILING, "what no Redis says"),
        (b"+\xff\xfe\r\n", FAILING, "what no Redis says"),
        (b"%1\r\n+a\r\n+b\r\n", FAILING, "what no Redis says"),
        (b"", UNREACHABLE, "ended the connection"),
    ],
)
def test_who_is_no_redis_is_told(answer: bytes, kind: OutageKind, says: str, tmp_path: Path) -> None:
    with resp_server(lambda _: answer) as port:
        outage = told(url_of(port), tmp_path, lambda queue: queue.cancel("job"))
    assert isinstance(outage, BrokerOutage)
    assert (outage.kind, says in str(outage)) == (kind, True), outage


def test_tls_against_plain_text_is_told(tmp_path: Path) -> None:
    with tcp_server(b"-ERR Protocol error: unbalanced quotes\r\n") as port:
        outage = told(f"rediss://127.0.0.1:{port}/0", tmp_path, lambda queue: queue.ping())
    assert isinstance(outage, BrokerOutage)
    assert outage.kind is FAILING
    assert "for a server without TLS it is redis://" in str(outage)


def test_only_a_silent_server_does_not_answer(tmp_path: Path, unused_port: int) -> None:
    with silent_server() as port:
        outage = told(url_of(port) + "?socket_timeout=0.1", tmp_path, lambda queue: queue.ping())
    assert "does not answer" in str(outage)
    for url in (url_of(unused_port), "redis://nowhere.invalid/0"):
        outage = told(url, tmp_path, lambda queue: queue.ping())
        assert isinstance(outage, BrokerOutage)
        assert outage.kind is UNREACHABLE
        assert "cannot be reached" in str(outage)


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"$-1\r\n", b":1\r\n"])
def test_an_answer_that_no_script_of_ours_gives_is_told(answer: bytes, tmp_path: Path) -> None:
    def respond(words: list[bytes]) -> bytes:
        return HELLO if words[0] == b"HELLO" else answer

    with resp_server(respond) as port:
        outage = told(url_of(port), tmp_path, lambda queue: queue.cancel("job"))
    assert isinstance(outage, BrokerOutage)
    assert outage.kind is FAILING


def test_a_missing_file_of_tls_is_a_wrong_setting(tmp_path: Path) -> None:
    url = f"rediss://127.0.0.1:1/0?ssl_ca_certs={tmp_path}/ca.pem"
    assert "ssl_ca_certs names" in str(told(url, tmp_path, lambda queue: queue.ping()))
    url = "rediss://127.0.0.1:1/0?ssl_cert_reqs=perhaps"
    assert isinstance(told(url, tmp_path, lambda queue: queue.ping()), SettingsInvalid)


def test_a_fault_of_ours_is_no_outage(settings: Settings) -> None:
    """Were it one, it would be waited for, for hours."""

    class Faulty(Client):
        def ask(self) -> None:
            with self._translated():
                raise KeyError("ours")

    with Faulty(settings) as client, pytest.raises(KeyError):
        client.ask()


def test_letters_that_are_none_name_no_job(queue: JobQueue) -> None:
    with pytest.raises(JobNotFound, match="no job has the id or name job"):
        queue.resolve("job\udcff")


# Commands, whatever is answered


@pytest.fixture(scope="module")
def stranger() -> Iterator[tuple[dict[str, str], int]]:
    """What is answered to every command, to be set; and the port."""
    answer = {"text": ""}

    def respond(words: list[bytes]) -> bytes:
        return refuses(answer["text"], greets=True)(words)

    with resp_server(respond) as port:
        yield answer, port


@settings_of_hypothesis(max_examples=15)
@given(
    code=st.sampled_from(["", "ERR ", "LOADING ", "MOVED ", "ASK ", "CLUSTERDOWN ", "NOAUTH "]),
    text=st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=80),
    command=st.sampled_from([("list",), ("cancel", "job"), ("submit", "configs/ring2d.yaml")]),
)
def test_no_error_gives_a_traceback(
    code: str, text: str, command: tuple[str, ...], stranger: tuple[dict[str, str], int]
) -> None:
    answer, port = stranger
    answer["text"] = code + text
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANSERVICE_BROKER_URL", url_of(port))
        patch.setenv("GANSERVICE_STORE_URL", "http://127.0.0.1:1/gan")
        with pytest.raises(GanServiceError) as caught:
            ganctl.main([*command], prog_name="ganctl", standalone_mode=False)
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


# A real server in trouble


@contextmanager
def changed(admin: Any, **values: Any) -> Iterator[None]:
    before = {name: admin.config_get(name)[name] for name in (each.replace("_", "-") for each in values)}
    try:
        for name, value in values.items():
            admin.config_set(name.replace("_", "-"), value)
        yield
    finally:
        for name, value in before.items():
            admin.config_set(name, value)


def kind_of(ask: Callable[[], Any]) -> OutageKind | None:
    try:
        ask()
    except BrokerOutage as outage:
        return outage.kind
    return None


def writes(queue: JobQueue, settings: Settings, spec: TrainSpec) -> list[Callable[[], Any]]:
    return [BrokerProbe(settings).check, lambda: queue.submit(spec)]


def test_a_replica_takes_no_writes(
    queue: JobQueue, settings: Settings, spec: TrainSpec, admin: redis.Redis, unused_port: int
) -> None:
    admin.replicaof("127.0.0.1", unused_port)
    try:
        found = {kind_of(ask) for ask in writes(queue, settings, spec)}
        assert kind_of(queue.list_jobs) is None, "it can still be read"
        with changed(admin, replica_serve_stale_data="no"):
            stale = kind_of(queue.list_jobs)
    finally:
        admin.replicaof("NO", "ONE")
    assert found == {READ_ONLY}
    assert stale is UNREACHABLE


def test_a_primary_without_its_replicas_takes_no_writes(
    queue: JobQueue, settings: Settings, spec: TrainSpec, admin: redis.Redis
) -> None:
    with changed(admin, min_replicas_to_write=1):
        assert {kind_of(ask) for ask in writes(queue, settings, spec)} == {READ_ONLY}


def test_a_server_without_memory_is_full(
    queue: JobQueue, settings: Settings, spec: TrainSpec, admin: redis.Redis
) -> None:
    with changed(admin, maxmemory=1):
        assert {kind_of(ask) for ask in writes(queue, settings, spec)} == {FULL}


def test_a_user_without_rights_is_refused(settings: Settings, spec: TrainSpec, admin: Any, broker: Broker) -> None:
    rights = "on >few ~{gan}:* +@connection +evalsha +script +time"
    admin.execute_command("ACL", "SETUSER", "few", *rights.split())
    few = settings.model_copy(update={"broker_url": SecretStr(f"redis://few:few@127.0.0.1:{broker.port}/0")})
    try:
        with closing(JobQueue(few)) as queue:
            assert {kind_of(ask) for ask in [*writes(queue, few, spec), queue.list_jobs]} == {REFUSED}
    finally:
        admin.execute_command("ACL", "DELUSER", "few")


def test_keys_of_another_program_are_told(queue: JobQueue, spec: TrainSpec, admin: redis.Redis) -> None:
    admin.set("{gan}:state:queued", "another program's")
    with pytest.raises(BrokerOutage, match="keys of another program"):
        queue.submit(spec)
    with pytest.raises(BrokerOutage, match="keys of another program"):
        queue.list_jobs()


def test_a_database_too_far_is_a_wrong_setting(broker: Broker, tmp_path: Path) -> None:
    url = broker.url.removesuffix("/0") + "/9999"
    refused = told(url, tmp_path, lambda queue: queue.list_jobs())
    assert isinstance(refused, SettingsInvalid)


def test_a_paused_server_does_not_answer(broker: Broker, tmp_path: Path, admin: Any) -> None:
    admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    try:
        outage = told(f"{broker.url}?socket_timeout=0.1", tmp_path, lambda queue: queue.cancel("job"))
    finally:
        admin.execute_command("CLIENT", "UNPAUSE")
    assert "does not answer" in str(outage)


def test_what_puts_jobs_at_risk_is_told(
    settings: Settings, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = list(filter(None, [advice_on_version(admin.info())]))  # of the Redis that only Debian has patched
    with BrokerProbe(settings) as probe:
        assert probe.warnings() == version
        with changed(admin, maxmemory_policy="allkeys-lru", maxmemory="1gb"):
            policy = probe.warnings()[0]
        assert "(allkeys-lru): set maxmemory-policy noeviction" in policy
        now = time.time
        monkeypatch.setattr("ganservice.probes.time.time", lambda: now() + 60)
        clock = probe.warnings()[0]
        assert "s behind this machine's: set the clocks" in clock
