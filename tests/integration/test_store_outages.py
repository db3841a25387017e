"""What a store, or what stands in its place, may answer: an outage of its kind, or a wrong setting, in one line."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

from ganservice.artifacts import ArtifactStore
from ganservice.errors import ArtifactExists, ArtifactMissing, GanServiceError, OutageKind, SettingsInvalid, StoreOutage
from ganservice.objects import PART_BYTES, ObjectStore
from ganservice.probes import StoreProbe, check_store, store_warnings
from ganservice.settings import Settings, process_name
from tests.conftest import Proxy
from tests.integration.strangers import http_server, silent_server, tcp_server

KEYS: dict[str, Any] = {"store_access_key": "key", "store_secret_key": "secret"}
UNREACHABLE, FULL, BUSY = OutageKind.UNREACHABLE, OutageKind.FULL, OutageKind.BUSY
REFUSED, FAILING = OutageKind.REFUSED, OutageKind.FAILING
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
LISTING = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def xml(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


# The status and the word that a store answers with.
REFUSALS = [
    (404, "NoSuchBucket", FAILING, "has no bucket gan; make it, or correct GANSERVICE_STORE_URL"),
    (403, "AccessDenied", REFUSED, "refuses our credentials"),
    (403, "SignatureDoesNotMatch", REFUSED, "refuses our credentials"),
    (401, "Unauthorized", REFUSED, "refuses our credentials"),
    (403, "RequestTimeTooSkewed", REFUSED, "its clock and ours differ"),
    (400, "ExpiredToken", REFUSED, "they have expired"),
    (503, "SlowDown", BUSY, "come back later"),
    (429, "TooManyRequests", BUSY, "come back later"),
    (409, "ConditionalRequestConflict", BUSY, "come back later"),
    (400, "RequestTimeout", BUSY, "come back later"),
    (507, "InsufficientStorage", FULL, "no room left"),
    (507, "XMinioStorageFull", FULL, "no room left"),
    (403, "QuotaExceeded", FULL, "no room left"),
    (400, "XMinioAdminBucketQuotaExceeded", FULL, "no room left"),
    (500, "InternalError", FAILING, "failed on"),
    (501, "NotImplemented", FAILING, "failed on"),
    (418, "Surprise", FAILING, "418 Surprise"),
]


def asks(objects: ObjectStore, folder: Path) -> list[Callable[[], Any]]:
    return [
        lambda: objects.put("key", b"bytes"),
        lambda: objects.get("key"),
        lambda: objects.download("key", folder / "file", "0" * 64),
        lambda: objects.list_objects("key"),
        lambda: objects.delete("key"),
        objects.create_bucket,
    ]


def at(url: str, **changes: Any) -> ObjectStore:
    return ObjectStore(Settings(store_url=f"{url}/gan", **(KEYS | changes)))


def told(ask: Callable[[], Any]) -> GanServiceError:
    with pytest.raises(GanServiceError) as caught:
        ask()
    line = str(caught.value)
    assert line.splitlines() == [line]
    assert "secret" not in line
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"), REFUSALS, ids=[f"{each[0]} {each[1]}" for each in REFUSALS]
)
def test_every_refusal_is_an_outage_of_its_kind(
    status: int, code: str, kind: OutageKind, says: str, tmp_path: Path
) -> None:
    with http_server(status, xml(code), {"Content-Type": "application/xml"}) as url:
        for ask in asks(at(url), tmp_path)[:4:3]:
            outage = told(ask)
            assert isinstance(outage, StoreOutage), outage
            assert (outage.kind, says in str(outage)) == (kind, True), outage
            assert "does not answer" not in str(outage), "it was asked and did answer"
            assert outage.exit_code == (5 if kind is FULL else 3)


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503, 504, 507])
def test_a_status_without_a_word_is_an_outage_too(status: int, tmp_path: Path) -> None:
    """As a load balancer answers, and as every answer to HEAD is."""
    with http_server(status) as url:
        objects = at(url)
        for ask in [*asks(objects, tmp_path)[:2], lambda: objects.sha256("key")]:
            assert isinstance(told(ask), StoreOutage)


def test_only_what_a_store_says_is_missing_is_missing(tmp_path: Path) -> None:
    with http_server(404, xml("NoSuchKey")) as url:
        objects = at(url)
        for ask in (lambda: objects.get("key"), lambda: objects.sha256("key")):
            assert isinstance(told(ask), ArtifactMissing)
    with http_server(404) as url:
        for ask in asks(at(url), tmp_path):
            assert isinstance(told(ask), StoreOutage), "an address without S3 holds no jobs, and loses none"


@pytest.mark.parametrize("status", [200, 204, 302, 307, 404, 502])
@pytest.mark.parametrize(("body", "headers"), [(PAGE, HTML), (b"", HTML)])
def test_a_page_for_people_is_no_store(status: int, body: bytes, headers: dict[str, str], tmp_path: Path) -> None:
    headers = headers | ({"Location": "http://127.0.0.1:1/login"} if status in (302, 307) else {})
    with http_server(status, b"" if status == 204 else body, headers) as url:
        objects = at(url)
        large = bytes(PART_BYTES + 1)
        for ask in [*asks(objects, tmp_path), lambda: objects.put("key", large), lambda: check_store(objects)]:
            outage = told(ask)
            assert isinstance(outage, StoreOutage)
            assert outage.kind is FAILING
            assert "no S3 store" in str(outage), outage


@pytest.mark.parametrize("body", [b"<html><body>Sign in<br></html>", b'{"ok": true}', b"<a/>"])
def test_what_says_nothing_of_s3_is_no_store(body: bytes, tmp_path: Path) -> None:
    with http_server(200, body) as url:
        for ask in asks(at(url), tmp_path)[:4]:
            outage = told(ask)
            assert isinstance(outage, StoreOutage)
            assert outage.kind is FAILING
            assert "no S3 store" in str(outage), outage


def test_an_answer_of_200_to_everything_is_not_believed() -> None:
    with http_server(200, LISTING, {"ETag": '"etag"'}) as url:
        objects = at(url)
        assert objects.put("key", b"believed so far")
        with pytest.raises(StoreOutage, match="gives back other bytes"):
            check_store(objects)


@pytest.mark.parametrize(
    ("status", "code", "headers", "says"),
    [
        (301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}, "set it to eu-west-1"),
        (400, "AuthorizationHeaderMalformed", {}, "set it to that of the bucket"),
        (400, "IllegalLocationConstraintException", {}, "set it to that of the bucket"),
    ],
)
def test_a_wrong_region_is_a_wrong_setting(status: int, code: str, headers: dict[str, str], says: str) -> None:
    with http_server(status, xml(code), headers) as url:
        refused = told(lambda: at(url).get("key"))
    assert isinstance(refused, SettingsInvalid)
    assert "GANSERVICE_STORE_REGION" in str(refused)
    assert says in str(refused)


def test_an_answer_that_breaks_off_is_told(tmp_path: Path) -> None:
    with http_server(200, bytes(100_000), {"ETag": '"etag"'}, sent_bytes=1_000) as url:
        objects = at(url)
        for ask in (lambda: objects.get("key"), lambda: objects.download("key", tmp_path / "file", "0" * 64)):
            outage = told(ask)
            assert isinstance(outage, StoreOutage)
            assert "broke off its answer" in str(outage)
    assert list(tmp_path.iterdir()) == []
    with http_server(200, LISTING, sent_bytes=20) as url:
        assert isinstance(told(lambda: at(url).list_objects("")), StoreOutage)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"", UNREACHABLE, "ended the connection"),
        (b"-ERR unknown command 'PUT'\r\n", FAILING, "is no S3 store"),
    ],
)
def test_who_speaks_no_http_is_told(answer: bytes, kind: OutageKind, says: str) -> None:
    with tcp_server(answer) as port:
        outage = told(lambda: at(f"http://127.0.0.1:{port}").get("key"))
    assert isinstance(outage, StoreOutage)
    assert (outage.kind, says in str(outage)) == (kind, True), outage


def test_tls_against_plain_text_is_told() -> None:
    with tcp_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        outage = told(lambda: at(f"https://127.0.0.1:{port}").get("key"))
    assert "is it http:// in GANSERVICE_STORE_URL?" in str(outage)


def test_only_a_silent_store_does_not_answer(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.s3_client.SILENCE_S", 0.1)
    with silent_server() as port:
        assert "does not answer" in str(told(lambda: at(f"http://127.0.0.1:{port}").put("key", b"")))
    for url in (f"http://127.0.0.1:{unused_port}", "http://nowhere.invalid"):
        outage = told(partial(at(url).get, "key"))
        assert isinstance(outage, StoreOutage)
        assert outage.kind is UNREACHABLE
        assert "cannot be reached" in str(outage)


def test_who_waits_hears_of_a_silent_store_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganservice.s3_client.HASTY_SILENCE_S", 0.1)
    sent, send = list[str](), URLLib3Session.send

    def note(session: Any, request: Any) -> Any:
        sent.append(request.url)
        return send(session, request)

    monkeypatch.setattr(URLLib3Session, "send", note)
    with silent_server() as port:
        store = ArtifactStore(Settings(store_url=f"http://127.0.0.1:{port}/gan", **KEYS))
        looks: list[Callable[[], Any]] = [
            lambda: store.keys("job"),
            lambda: store.metrics("job"),
            lambda: store.get_spec("job"),
            lambda: store.objects.sha256("key"),
            lambda: check_store(store.objects),
        ]
        for look in looks:
            assert "does not answer (Read timed out. (read timeout=0.1))" in str(told(look))
    assert len(sent) == len(looks), "none is tried again"


def test_a_proxy_that_fails_is_named(proxy: Proxy) -> None:
    for scheme in ("http", "https"):
        outage = told(partial(at(f"{scheme}://store.invalid").get, "key"))
        assert isinstance(outage, StoreOutage)
        assert f"by way of the proxy {proxy.address} of {scheme.upper()}_PROXY" in str(outage)


def test_a_proxy_that_is_away_is_named(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port}")
    outage = told(lambda: at("http://store.invalid").get("key"))
    assert f"by way of the proxy 127.0.0.1:{unused_port} of HTTP_PROXY" in str(outage)
    assert "the proxy fails" in str(outage)


# A store that works


def test_a_store_that_works_has_no_warnings(store_settings: Settings) -> None:
    objects = ObjectStore(store_settings)
    check_store(objects)
    assert store_warnings(objects) == []
    assert f"health/{process_name()}" not in [each.key for each in objects.list_objects("health/")]


def test_what_a_killed_probe_left_is_no_trouble(store_settings: Settings) -> None:
    objects = ObjectStore(store_settings)
    objects.put(f"health/{process_name()}", b"left")
    check_store(objects)


def test_a_store_that_replaces_objects_is_told(store_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that does not know If-None-Match."""
    objects = ObjectStore(store_settings)
    monkeypatch.setattr(ObjectStore, "put", lambda *_: None)
    (warning,) = store_warnings(objects)
    assert "in spite of If-None-Match" in warning


def test_a_probe_knows_the_kind_of_an_outage(eventually: Callable[..., Any]) -> None:
    with http_server(507) as url:
        settings: dict[str, Any] = {"store_access_key": "key", "store_secret_key": "secret"}
        probe = StoreProbe(Settings(store_url=f"{url}/gan", **settings))
        look = eventually(lambda: (seen := probe.look()).is_up is not None and seen)
    assert (look.is_up, look.outage) == (False, FULL)


def test_a_taken_key_is_no_outage() -> None:
    with http_server(412, xml("PreconditionFailed")) as url, pytest.raises((ArtifactExists, StoreOutage)) as caught:
        at(url).put("key", b"")
    assert isinstance(caught.value, ArtifactExists)


@pytest.mark.parametrize("status", [403, 501])
def test_a_store_that_lists_no_uploads_keeps_nobody_from_work(status: int) -> None:
    with http_server(status) as url:
        at(url).abort_uploads("jobs/")
