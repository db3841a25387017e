import hashlib
import os
import random
import secrets
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from ganservice.errors import (
    ArtifactExists,
    ArtifactMissing,
    DataInvalid,
    DigestMismatch,
    DiskFull,
    SettingsInvalid,
    StoreOutage,
)
from ganservice.objects import PART_BYTES, ObjectStore
from ganservice.probes import StoreProbe
from ganservice.settings import Settings
from tests.conftest import Proxy, wait_until
from tests.integration.store import Store, damage, fill_disk, raw_client
from tests.integration.strangers import tcp_server


@pytest.fixture
def objects(store_settings: Settings) -> ObjectStore:
    return ObjectStore(store_settings)


@pytest.fixture
def key() -> str:
    """A key that no other test has."""
    return f"test/{secrets.token_hex(8)}/object"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    line = str(error.value)
    assert line.splitlines() == [line]
    return line


# Created once, checked when read


@pytest.mark.parametrize("data", [b"", b"some bytes"])
def test_what_is_put_is_what_is_got(objects: ObjectStore, key: str, data: bytes) -> None:
    assert objects.put(key, data) == sha256(data) == objects.sha256(key)
    assert objects.get(key) == data


def test_an_object_is_created_once(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"first")
    assert objects.put(key, b"first") == sha256(b"first")
    with pytest.raises(ArtifactExists, match=key):
        objects.put(key, b"other")
    assert objects.get(key) == b"first"


def test_of_many_writers_at_once_one_wins(objects: ObjectStore, key: str) -> None:
    won, refused, ready = list[bytes](), list[bytes](), threading.Barrier(4)

    def write(data: bytes) -> None:
        ready.wait()
        try:
            objects.put(key, data)
        except ArtifactExists:
            refused.append(data)
        else:
            won.append(data)

    threads = [threading.Thread(target=write, args=(b"%d" % number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 3)
    assert objects.get(key) == won[0]


def test_a_large_object_travels_in_parts_and_is_created_once_too(objects: ObjectStore, key: str) -> None:
    data = random.Random(0).randbytes(PART_BYTES + 1)
    objects.put(key, data)
    assert objects.put(key, data) == sha256(data)
    with pytest.raises(ArtifactExists):
        objects.put(key, data[::-1])
    assert objects.get(key) == data


def test_what_is_put_anew_is_young(objects: ObjectStore, key: str) -> None:
    assert objects.put_anew(key, b"some bytes") == sha256(b"some bytes") == objects.sha256(key)
    before = objects.modified_at(key)
    # The store tells the time of an object in whole seconds.
    wait_until(lambda: objects.put_anew(key, b"some bytes") and objects.modified_at(key) > before)
    assert objects.get(key) == b"some bytes"


def test_a_large_object_is_put_anew_in_parts(objects: ObjectStore, key: str) -> None:
    data = random.Random(0).randbytes(PART_BYTES + 1)
    assert [objects.put_anew(key, data) for _ in range(2)] == 2 * [sha256(data)]
    assert [entry.bytes for entry in objects.list_objects(key)] == [len(data)]


def test_damaged_bytes_are_never_given_out(
    objects: ObjectStore, store_settings: Settings, key: str, tmp_path: Path
) -> None:
    digest = objects.put(key, b"some bytes")
    damage(store_settings, key)
    with pytest.raises(DigestMismatch, match=key):
        objects.get(key)
    with pytest.raises(DigestMismatch, match=key):
        objects.download(key, tmp_path / "file", digest)
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_unknown_origin_are_never_given_out(objects: ObjectStore, store_settings: Settings, key: str) -> None:
    bucket = store_settings.require_store().rpartition("/")[2]
    raw_client(store_settings).put_object(Bucket=bucket, Key=key, Body=b"no digest")
    with pytest.raises(DigestMismatch, match="without its sha256"):
        objects.get(key)
    with pytest.raises(ArtifactExists):
        objects.put(key, b"no digest")


def test_more_than_a_reader_expects_is_not_read(objects: ObjectStore, key: str, tmp_path: Path) -> None:
    digest = objects.put(key, b"some bytes")
    assert objects.get(key, 10) == b"some bytes"
    objects.download(key, tmp_path / "file", digest, 10)
    asks: list[Callable[[], Any]] = [
        lambda: objects.get(key, 9),
        lambda: objects.download(key, tmp_path / "other", digest, 9),
        lambda: objects.check_bytes(key, digest, 9),
    ]
    for ask in asks:
        with pytest.raises(DigestMismatch, match="holds 10 bytes, expected 9 at most"):
            ask()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_more_is_read_than_the_store_has_promised(store_settings: Settings, tmp_path: Path) -> None:
    head = f"HTTP/1.1 200 OK\r\nETag: x\r\nx-amz-meta-sha256: {sha256(b'abc')}\r\n"
    with tcp_server(f"{head}Content-Length: 3\r\n\r\nabc and more".encode()) as port:
        objects = ObjectStore(at_port(store_settings, port))
        assert objects.get("key") == b"abc"
        objects.download("key", tmp_path / "file", sha256(b"abc"), 3)
        assert (tmp_path / "file").read_bytes() == b"abc"
    with tcp_server(f"{head}\r\nwithout an end".encode()) as port:
        objects = ObjectStore(at_port(store_settings, port))
        for ask in (lambda: objects.get("key"), lambda: objects.download("key", tmp_path / "other", sha256(b"abc"))):
            with pytest.raises(StoreOutage, match="is no S3 store"):
                ask()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def at_port(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"store_url": f"http://127.0.0.1:{port}/gan"})


def test_bytes_are_those_of_the_pin_whatever_the_store_says_of_them(objects: ObjectStore, key: str) -> None:
    digest = objects.put(key, b"some bytes")
    assert objects.get(key, sha256=digest) == b"some bytes"
    with pytest.raises(DigestMismatch, match=key) as caught:
        objects.get(key, sha256=sha256(b"other bytes"))
    assert digest[:8] not in str(caught.value)


def test_what_is_stored_is_looked_at_with_and_without_its_bytes(
    objects: ObjectStore, store_settings: Settings, key: str
) -> None:
    digest = objects.put(key, b"some bytes")
    objects.check_stored(key, digest, 10)
    objects.check_bytes(key, digest, 10)
    for asked in ((digest, 11), (digest, 9), (sha256(b"other bytes"), 10)):
        with pytest.raises(DigestMismatch, match=key):
            objects.check_stored(key, *asked)
    damage(store_settings, key)
    objects.check_stored(key, digest, 10)
    with pytest.raises(DigestMismatch, match=key):
        objects.check_bytes(key, digest, 10)
    objects.delete(key)
    for ask in (objects.check_stored, objects.check_bytes):
        with pytest.raises(ArtifactMissing, match=key):
            ask(key, digest, 10)


def test_a_missing_object_is_told(objects: ObjectStore, key: str, tmp_path: Path) -> None:
    asks: list[Callable[[], Any]] = [
        lambda: objects.get(key),
        lambda: objects.sha256(key),
        lambda: objects.download(key, tmp_path / "file", sha256(b"")),
    ]
    for ask in asks:
        with pytest.raises(ArtifactMissing, match=key):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_objects_are_listed_by_key_and_deleted(objects: ObjectStore, key: str) -> None:
    for name in ("c", "a", "b/d"):
        objects.put(f"{key}/{name}", name.encode())
    assert [(found.key, found.bytes) for found in objects.list_objects(key)] == [
        (f"{key}/a", 1),
        (f"{key}/b/d", 3),
        (f"{key}/c", 1),
    ]
    objects.delete(f"{key}/a")
    objects.delete(f"{key}/a")
    assert [found.key for found in objects.list_objects(f"{key}/")] == [f"{key}/b/d", f"{key}/c"]


def test_the_bucket_may_be_made_again(objects: ObjectStore, key: str) -> None:
    objects.put(key, b"kept")
    objects.create_bucket()
    assert objects.get(key) == b"kept"


# Downloads


def test_a_download_replaces_what_was_there_only_when_whole(objects: ObjectStore, key: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    objects.put(key, b"new")
    with pytest.raises(DigestMismatch):
        objects.download(key, path, sha256(b"another"))
    assert path.read_bytes() == b"old"
    objects.download(key, path, sha256(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_download_to_a_full_disk_leaves_nothing(
    objects: ObjectStore, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_disk(monkeypatch)
    digest = objects.put(key, b"x" * 100_000)
    with pytest.raises(DiskFull, match=r"file: the disk is full") as caught:
        objects.download(key, tmp_path / "file", digest)
    one_line(caught)
    assert list(tmp_path.iterdir()) == []


# A store in trouble


def test_a_closed_port_is_an_unreachable_store(store_settings: Settings, unused_port: int) -> None:
    settings = store_settings.model_copy(update={"store_url": f"http://127.0.0.1:{unused_port}/gan"})
    with pytest.raises(StoreOutage, match=f"127.0.0.1:{unused_port} cannot be reached") as caught:
        ObjectStore(settings).get("key")
    one_line(caught)


def test_wrong_credentials_are_told(store_settings: Settings, key: str) -> None:
    wrong = {"store_secret_key": SecretStr("wrong")}, {"store_access_key": "stranger"}
    for update in wrong:
        objects = ObjectStore(store_settings.model_copy(update=update))
        asks: list[Callable[[], Any]] = [
            partial(objects.put, key, b""),
            partial(objects.list_objects, key),
        ]
        for ask in asks:
            with pytest.raises(StoreOutage, match="refuses our credentials") as caught:
                ask()
            assert "wrong" not in one_line(caught)


def test_missing_credentials_are_told(
    store_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    none = {"store_access_key": None, "store_secret_key": None}
    with pytest.raises(StoreOutage, match="set GANSERVICE_STORE_ACCESS_KEY") as caught:
        ObjectStore(store_settings.model_copy(update=none)).get("key")
    one_line(caught)


def test_a_missing_bucket_is_told(store_settings: Settings) -> None:
    url = store_settings.require_store().rpartition("/")[0] + "/absent"
    objects = ObjectStore(store_settings.model_copy(update={"store_url": url}))
    asks: list[Callable[[], Any]] = [lambda: objects.get("key"), lambda: objects.list_objects("")]
    for ask in asks:
        with pytest.raises(StoreOutage, match="has no bucket absent") as caught:
            ask()
        one_line(caught)


@pytest.mark.parametrize("length_bytes", [3, PART_BYTES + 1])
def test_an_upload_that_is_ended_while_it_travels_is_told_and_leaves_no_file_open(
    length_bytes: int, objects: ObjectStore, key: str, tmp_path: Path
) -> None:
    (path := tmp_path / "file").write_bytes(bytes(length_bytes))

    def enough(_: int) -> None:
        raise DataInvalid("enough")

    kept: list[BaseException] = []  # what failed, and with it all that it was about
    for _ in range(2):
        with pytest.raises(DataInvalid, match="enough") as caught:
            objects.put_file(key, path, sha256(path.read_bytes()), enough)
        kept.append(caught.value)
    assert str(path) not in [file.path for file in psutil.Process().open_files()]
    del kept


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"store_secret_key": None}, "GANSERVICE_STORE_SECRET_KEY: one is set without the other"),
        ({"store_access_key": None}, "GANSERVICE_STORE_SECRET_KEY: one is set without the other"),
        ({"store_region": "me:hunter2@host"}, "GANSERVICE_STORE_REGION: is no name of a region"),
        ({"store_url": "http://my_store:9000/gan"}, "Invalid endpoint: http://my_store:9000"),
        ({"store_access_key": None, "store_secret_key": None}, r"profile \(nobody\) .* AWS_PROFILE"),
    ],
)
def test_settings_of_which_no_client_can_be_made_are_named(
    store_settings: Settings, update: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    if "profile" in says:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SettingsInvalid, match=says) as caught:
        ObjectStore(store_settings.model_copy(update=update))
    one_line(caught)
    assert "hunter2" not in str(caught.value)


# Proxies


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_store_on_loopback_is_asked_past_every_proxy(
    store_settings: Settings, key: str, proxy: Proxy, host: str, tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    settings = store_settings.model_copy(
        update={"store_url": store_settings.require_store().replace("127.0.0.1", host)}
    )
    objects, large = ObjectStore(settings), random.Random(0).randbytes(PART_BYTES + 1)
    objects.create_bucket()
    for data in (b"small", large):
        digest = objects.put(f"{key}/{len(data)}", data)
        objects.download(f"{key}/{len(data)}", tmp_path / "file", digest)
    assert len(objects.list_objects(key)) == 2
    objects.delete(f"{key}/5")
    probe = StoreProbe(settings)
    assert eventually(lambda: probe.look().is_up) is True
    assert proxy.asked == []


def test_a_store_elsewhere_is_asked_through_the_proxy_which_is_named(store_settings: Settings, proxy: Proxy) -> None:
    for url, asked in (("http://192.0.2.1:9000", "GET"), ("https://store.invalid", "CONNECT")):
        objects = ObjectStore(store_settings.model_copy(update={"store_url": f"{url}/gan"}))
        with pytest.raises(StoreOutage) as caught:
            objects.get("key")
        scheme = url.partition(":")[0].upper()
        assert f"{url} (by way of the proxy {proxy.address} of {scheme}_PROXY)" in one_line(caught)
        assert "secret" not in one_line(caught)
        assert proxy.asked.pop().startswith(asked)


def test_nothing_acknowledged_is_lost_when_the_store_is_killed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    acknowledged: list[str] = []
    enough = threading.Event()
    large = random.Random(0).randbytes(2**20)

    def write_until_it_dies() -> None:
        objects = ObjectStore(store.settings)
        for number in range(100_000):
            key = f"jobs/tiny/{number:05d}"
            try:
                objects.put(key, key.encode() + large)
            except StoreOutage:
                return
            acknowledged.append(key)
            if number == 20:
                enough.set()

    try:
        store.start()
        writer = threading.Thread(target=write_until_it_dies)
        writer.start()
        assert enough.wait(120)
        store.kill()
        writer.join()
        store.start()
        objects = ObjectStore(store.settings)
        assert set(acknowledged) <= {found.key for found in objects.list_objects("jobs/")}
        assert all(objects.get(key) == key.encode() + large for key in acknowledged)
        with pytest.raises(ArtifactExists):
            objects.put(acknowledged[0], b"other")
    finally:
        store.kill()
