"""What `doctor` says of servers in trouble, and how a supervisor goes on with parts that end."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import redis
from pydantic import SecretStr

from ganservice.broker_versions import advice_on_version
from ganservice.embedded.doctor import Diagnosis
from ganservice.embedded.parts import Part
from ganservice.embedded.stack import Stack
from ganservice.errors import OutageKind, StoreOutage
from ganservice.objects import ObjectStore
from ganservice.settings import Settings
from tests.integration.store import Store
from tests.integration.strangers import http_server, resp_server, silent_server


@pytest.fixture
def both(settings: Settings, store_settings: Settings, tmp_path: Path) -> Settings:
    """Of the broker and the store, which are somebody else's here."""
    names = ("store_url", "store_access_key", "store_secret_key")
    elsewhere = {name: getattr(store_settings, name) for name in names}
    return settings.model_copy(update=elsewhere | {"ray_address": None, "state_dir": tmp_path / "none"})


def examine(settings: Settings, **changes: Any) -> dict[str, Diagnosis]:
    return {diagnosis.part: diagnosis for diagnosis in Stack(settings.model_copy(update=changes)).examine()}


def test_servers_that_work_need_no_advice(both: Settings, admin: redis.Redis) -> None:
    # The Redis that Debian has is one that only Debian has patched.
    advice = advice_on_version(admin.info()) or ""
    assert ("7.0.15" in admin.info()["redis_version"]) is bool(advice)
    assert {(each.part, each.state, each.advice) for each in examine(both).values()} == {
        ("broker", "works, external", advice),
        ("store", "works, external", ""),
    }


def test_a_silent_store_is_told_without_advice_to_ask_the_doctor(
    both: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.s3_client.HASTY_SILENCE_S", 0.1)
    with silent_server() as port:
        url = f"http://127.0.0.1:{port}"
        store = examine(both, store_url=f"{url}/gan")["store"]
    assert store.state == "unreachable"
    assert store.advice == f"the store at {url} does not answer (Read timed out. (read timeout=0.1))"


def test_what_its_rights_kept_from_being_looked_at_is_told(both: Settings, admin: redis.Redis) -> None:
    user = ["on", ">secret", "resetchannels", "~{gan}:*", "-@all", "+@read", "+@write", "+@scripting", "+@connection"]
    admin.execute_command("ACL", "SETUSER", "uninformed", *user, "+time")  # type: ignore[no-untyped-call]
    port = admin.connection_pool.connection_kwargs["port"]
    broker = examine(both, broker_url=SecretStr(f"redis://uninformed:secret@127.0.0.1:{port}/0"))["broker"]
    admin.execute_command("ACL", "DELUSER", "uninformed")  # type: ignore[no-untyped-call]
    assert broker.state == "works, external"
    assert broker.advice == (
        "its user has no right to INFO: eviction, persistence, memory and version were not looked at"
    )


def test_the_clock_of_a_store_is_told(both: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs((ObjectStore(both).now_s() or 0) - time.time()) < 5
    monkeypatch.setattr(ObjectStore, "now_s", lambda _: time.time() - 60)
    assert examine(both)["store"].advice == "its clock is 60 s behind this machine's: set the clocks"


@pytest.mark.parametrize(
    ("method", "right"), [("list_objects", "s3:ListBucket"), ("list_uploads", "s3:ListBucketMultipartUploads")]
)
def test_a_right_that_our_keys_lack_is_named(
    method: str, right: str, both: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise StoreOutage("no", OutageKind.REFUSED)

    monkeypatch.setattr(ObjectStore, method, refuses)
    store = examine(both)["store"]
    assert store.is_well
    assert f"refuses our keys the right {right}, so that " in store.advice


def test_of_a_ray_elsewhere_no_more_is_told_than_was_tried(both: Settings, unused_port: int) -> None:
    with silent_server() as port:
        ray = examine(both, ray_address=f"127.0.0.1:{port}")["ray"]
    assert (ray.state, ray.is_well) == ("listens, external", True)
    assert ray.advice == "whether it is Ray, and lets us in, only a dispatcher asks"
    assert not examine(both, ray_address=f"127.0.0.1:{unused_port}")["ray"].is_well


@pytest.fixture
def without_list(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a store whose keys may read and write, and list nothing."""
    store = Store(tmp_path / "limited")
    config = tmp_path / "limited" / "store" / "s3.json"
    identities = json.loads(config.read_text())
    keys = {"accessKey": "limited", "secretKey": "secret"}
    limited = {"name": "limited", "credentials": [keys], "actions": ["Read", "Write"]}
    config.write_text(json.dumps({"identities": [*identities["identities"], limited]}))
    try:
        store.start()
        yield store.settings.model_copy(
            update={"store_access_key": "limited", "store_secret_key": SecretStr("secret"), "broker_url": None}
        )
    finally:
        store.kill()


def test_keys_that_may_not_list_are_told_of_the_right_they_lack(without_list: Settings, tmp_path: Path) -> None:
    store = examine(without_list, ray_address=None, state_dir=tmp_path / "none")["store"]
    assert store.state == "works, external"
    assert "refuses our keys the right s3:ListBucket, so that jobs do not find their checkpoints" in store.advice


def test_what_a_broker_tells_of_itself_is_told_in_one_line(both: Settings) -> None:
    info = (
        "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nmaxmemory_policy:allkeys-lru\r\n"
        "aof_enabled:0\r\nmaxmemory:100\r\nused_memory:95\r\nrdb_last_bgsave_status:err\r\n"
    )
    answers = {
        b"HELLO": b"%1\r\n$5\r\nproto\r\n:3\r\n",
        b"EVALSHA": b"$2\r\n{}\r\n",
        b"TIME": b"*2\r\n$10\r\n1000000000\r\n$1\r\n0\r\n",
        b"INFO": f"${len(info)}\r\n{info}\r\n".encode(),
        b"HGETALL": b"%2\r\n$5\r\nowner\r\n$1\r\na\r\n$10\r\nexpires_at\r\n$1\r\n1\r\n",
    }
    with resp_server(lambda words: answers.get(words[0].upper(), b"+OK\r\n")) as port:
        broker = examine(both, broker_url=SecretStr(f"redis://127.0.0.1:{port}/0"))["broker"]
    assert broker.state == "works, external", broker.advice
    for words in (
        "s behind this machine's: set the clocks",
        "(allkeys-lru): set maxmemory-policy noeviction",
        "set appendonly yes",
        "its memory is 95% full: raise maxmemory",
        "its last snapshot failed",
        "valkey 8.0.1 has CVE-2025-49844 unless your distribution patched it: take 7.2.11, 8.0.6, 8.1.4 or newer",
    ):
        assert words in broker.advice
    assert broker.advice.count("\n") == 0


def test_a_disk_that_is_almost_full_is_told(both: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.embedded.doctor.LOW_DISK_BYTES", 1e18)
    assert "cache" not in examine(both, cache_dir=tmp_path / "none")
    cache = examine(both, cache_dir=tmp_path)["cache"]
    assert (cache.state, cache.is_well, cache.address) == ("almost full", False, str(tmp_path))
    assert "free some space, or set GANSERVICE_CACHE_DIR" in cache.advice


def test_a_broker_that_answers_and_takes_no_writes_is_not_well(both: Settings, admin: redis.Redis) -> None:
    admin.config_set("maxmemory", 1)
    try:
        broker = examine(both)["broker"]
    finally:
        admin.config_set("maxmemory", 0)
    assert (broker.state, broker.is_well) == ("full", False)
    assert "its memory is full" in broker.advice


def test_a_broker_that_would_forget_jobs_works_and_is_warned_of(both: Settings, admin: redis.Redis) -> None:
    admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        broker = examine(both)["broker"]
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
    assert broker.is_well
    assert "set maxmemory-policy noeviction" in broker.advice


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("LOADING Redis is loading the dataset in memory", "unreachable"),
        ("READONLY You can't write against a read only replica.", "read only"),
        ("WRONGPASS invalid username-password pair", "refused"),
        ("BUSY Redis is busy running a script.", "busy"),
        ("SURPRISE", "failing"),
        ("ERR DB index is out of range", "wrongly set"),
    ],
)
def test_every_kind_has_its_word(answer: str, state: str, both: Settings) -> None:
    with resp_server(lambda _: f"-{answer}\r\n".encode()) as port:
        broker = examine(both, broker_url=SecretStr(f"redis://127.0.0.1:{port}/0"))["broker"]
    assert broker.state == state
    assert "up -d" not in broker.advice, "it is somebody else's server"


@pytest.mark.parametrize(("status", "state"), [(507, "full"), (403, "refused"), (500, "failing"), (302, "failing")])
def test_a_store_in_trouble_has_its_word(status: int, state: str, both: Settings) -> None:
    with http_server(status) as url:
        assert examine(both, store_url=f"{url}/gan")["store"].state == state


# A supervisor


@dataclass
class Supervised:
    """A stack of two parts in a thread of this process: one stays, one ends at once whenever it is started."""

    stack: Stack
    said: list[str]

    def ends(self) -> int:
        return sum("brief has ended" in line for line in self.said)

    def brief(self) -> Diagnosis:
        return next(diagnosis for diagnosis in self.stack.examine() if diagnosis.part == "brief")


@pytest.fixture
def supervised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervised]:
    steady = Part("steady", "-", ("sleep", "600"), check=lambda: None)
    brief = Part("brief", "-", (str(tmp_path / "brief"),), check=lambda: None)
    (tmp_path / "brief").write_text("#!/bin/sh\n")
    (tmp_path / "brief").chmod(0o755)
    for module in ("stack", "doctor"):
        monkeypatch.setattr(f"ganservice.embedded.{module}.embedded_parts", lambda *_, **__: [steady, brief])
    monkeypatch.setattr("ganservice.embedded.stack.LOOK_S", 0.01)
    stopping = threading.Event()
    found = Supervised(Stack(Settings(state_dir=tmp_path / "state", broker_url=None, store_url=None)), [])
    thread = threading.Thread(target=found.stack.supervise, args=(stopping, found.said.append))
    thread.start()
    yield found
    stopping.set()
    thread.join()


def test_a_supervisor_slows_down_and_up_starts_at_once(
    supervised: Supervised, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.embedded.restarts.pause_s", lambda ends: 0.0 if ends < 8 else 60.0)
    eventually(lambda: supervised.ends() == 7)
    told = eventually(lambda: (seen := supervised.brief()).state == "not running" and "8 times" in seen.advice and seen)
    assert "ended 8 times in the last" in told.advice
    assert "is started again in " in told.advice
    assert "`ganctl up -d` starts it at once" in told.advice
    assert supervised.ends() == 7
    # The stack is up; nothing is started by this but what has ended.
    assert supervised.stack.start_detached(["false"], supervised.said.append) is False
    assert "brief has ended and is started again at once" in supervised.said
    eventually(lambda: supervised.ends() >= 8)


def test_a_part_that_cannot_be_started_ends_no_supervisor(
    supervised: Supervised, eventually: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganservice.embedded.restarts.pause_s", lambda _: 0.0)
    eventually(supervised.ends)
    (tmp_path / "brief").unlink()  # as while a program is replaced
    eventually(lambda: any("brief cannot be started: " in line for line in supervised.said))
    before = supervised.ends()
    eventually(lambda: supervised.ends() > before + 1)


def test_logs_are_turned_over_while_the_stack_is_up(
    supervised: Supervised, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = supervised.stack.folder / "logs" / "steady.log"
    eventually(log.exists)
    monkeypatch.setattr("ganservice.embedded.logs.LOG_BYTES", 10)
    with log.open("a") as output:
        output.write("more than ten bytes")
    eventually(log.with_name("steady.log.1").exists)
    eventually(lambda: log.stat().st_size == 0)


def test_a_part_that_other_machines_reach_is_told(
    supervised: Supervised, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def steady() -> Diagnosis | None:
        return next((each for each in supervised.stack.examine() if each.part == "steady"), None)

    eventually(lambda: (told := steady()) and told.advice == "" and told.is_well)
    listener = SimpleNamespace(laddr=SimpleNamespace(ip="0.0.0.0", port=8333), status=psutil.CONN_LISTEN)  # noqa: S104
    monkeypatch.setattr(psutil.Process, "net_connections", lambda *_, **__: [listener])
    told = steady()
    assert told
    assert "other machines reach it at 0.0.0.0:8333" in told.advice
