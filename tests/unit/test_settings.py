import os
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from ganservice.errors import SettingsInvalid
from ganservice.settings import Settings
from ganservice.stack_file import SETTINGS_FILE


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANSERVICE_STATE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", "nonsense"),
        ("BROKER_URL", "redis://"),
        ("BROKER_URL", "http://:hunter2@127.0.0.1:80"),
        ("BROKER_URL", "redis://:hunter2@127.0.0.1:99999"),
        ("BROKER_URL", "redis://127.0.0.1:abc"),
        ("BROKER_URL", "redis://:hunter2#4@127.0.0.1/0"),
        ("BROKER_URL", "redis://:hunter2/4@127.0.0.1/0"),
        ("BROKER_URL", "redis://:1234/hunter2@127.0.0.1/0"),
        ("BROKER_URL", "redis://:hunter2?4@127.0.0.1/0"),
        ("BROKER_URL", "redis://:hunter2[4@127.0.0.1/0"),
        ("BROKER_URL", "redis://127.0.0.1/-1"),
        ("BROKER_URL", "redis://127.0.0.1/first"),
        ("BROKER_URL", "redis://127.0.0.1/0?foo=bar"),
        ("BROKER_URL", "redis://127.0.0.1/0?dbs=1"),
        ("BROKER_URL", "redis://127.0.0.1/0?ssl_ca_certs=file"),
        ("BROKER_URL", "redis://127.0.0.1/0?decode_responses=no"),
        ("STORE_URL", "nonsense"),
        ("STORE_URL", "http://127.0.0.1:8333"),
        ("STORE_URL", "http://127.0.0.1:8333/bucket/folder"),
        ("STORE_URL", "http://127.0.0.1:8333/a bucket"),
        ("STORE_URL", "http://127.0.0.1:8333/bucket?prefix=a"),
        ("STORE_URL", "http://key:hunter2@127.0.0.1:8333/bucket"),
        ("STORE_ACCESS_KEY", "two words"),
        ("STORE_ACCESS_KEY", "key\n"),
        ("STORE_SECRET_KEY", "hunter2\n"),
        ("STORE_SECRET_KEY", "hunter2 "),
        ("RAY_ADDRESS", "127.0.0.1"),
        ("RAY_ADDRESS", "me:hunter2@127.0.0.1:6379"),
        ("RAY_ADDRESS", "127.0.0.1:6379/hunter2"),
        ("RAY_ADDRESS", "127.0.0.1:hunter2"),
        ("PROMETHEUS_URL", "nonsense"),
        ("PROMETHEUS_URL", "redis://127.0.0.1:9090"),
        ("PROMETHEUS_URL", "http://gan:hunter2@127.0.0.1:9090/?query=up"),
        ("PROMETHEUS_URL", "http://gan:1234/hunter2@127.0.0.1:9090"),
        ("LEASE_S", "abc"),
        ("LEASE_S", "-1"),
        ("HEARTBEAT_S", "60"),
    ],
)
def test_an_impossible_setting_is_named_and_no_password_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GANSERVICE_{name}", value)
    with pytest.raises(SettingsInvalid) as refused:
        Settings()
    assert f"GANSERVICE_{name}" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b'{"broker_url": "redis://:hunter2@host", ', b'["redis://:hunter2@host"]', b"hunter2", b"\xff\xfe"],
)
def test_a_file_of_settings_that_cannot_be_read_is_named_and_not_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"settings[.]json: is no file of settings; delete it") as refused:
        Settings()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_settings_are_shown_without_their_secrets() -> None:
    settings = Settings(
        broker_url=SecretStr("redis://me:hunter2@host/0"),
        store_secret_key=SecretStr("hunter2"),
        data_mirrors="http://me:hunter2@mirror/ https://host/?token=hunter2",
    )
    for shown in (str(settings), repr(settings), f"{(settings,)}"):
        assert "hunter2" not in shown
        assert "mirror/" in shown


@pytest.mark.parametrize("password", ["a#b", "a/b", "a?b", "a[b", "12/b"])
def test_a_letter_that_ends_a_password_is_told(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("GANSERVICE_BROKER_URL", f"redis://:{password}@127.0.0.1:6379/0")
    with pytest.raises(SettingsInvalid, match=r"write # / [?] .* as %23 %2F %3F"):
        Settings()


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "rediss://:p@host:6380/2",
        "redis://:p%40@[::1]:6379",
        "rediss://u:p@host/0?ssl_ca_certs=/ca.pem",
        "redis://127.0.0.1/0?socket_timeout=1",
    ],
)
def test_a_broker_url_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GANSERVICE_BROKER_URL", url)
    assert Settings().require_broker() == url


def test_a_state_dir_that_is_given_has_its_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "settings.json").write_text('{"ray_address": "127.0.0.1:1"}')
    (tmp_path / "settings.json").write_text('{"ray_address": "127.0.0.1:2"}')
    assert Settings(state_dir=tmp_path / "other").ray_address == "127.0.0.1:1"
    assert Settings().ray_address == "127.0.0.1:2"
    monkeypatch.setenv("GANSERVICE_RAY_ADDRESS", "127.0.0.1:3")
    assert Settings().ray_address == "127.0.0.1:3"


def test_without_a_home_only_what_needs_a_folder_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("GANSERVICE_STATE_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("GANSERVICE_BROKER_URL", "redis://127.0.0.1")
    settings = Settings()
    assert settings.require_broker() == "redis://127.0.0.1"
    assert settings.state_dir == Path("/nonexistent/.local/state/ganservice")


def test_settings_that_we_may_not_read_count_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"ray_address": "127.0.0.1:2"}')
    monkeypatch.setattr("os.access", lambda *_: False)
    assert Settings().ray_address is None


def test_workers_get_an_address_of_redis_of_their_own() -> None:
    both = Settings(broker_url="redis://a@h", worker_broker_url="redis://b@h").for_workers()
    assert (both.require_broker(), both.worker_broker_url) == ("redis://b@h", None)
    assert Settings(broker_url="redis://a@h").for_workers().require_broker() == "redis://a@h"
    with pytest.raises(SettingsInvalid, match="GANSERVICE_WORKER_BROKER_URL"):
        Settings(worker_broker_url="nonsense")


@pytest.mark.parametrize(
    ("login", "user"), [("ada", "ada"), ("LAB\\ada", "LAB-ada"), ("_apt", "apt"), ("a" * 80, "a" * 64), ("__", "uid-7")]
)
def test_a_user_is_called_as_the_system_calls_him(monkeypatch: pytest.MonkeyPatch, login: str, user: str) -> None:
    monkeypatch.setattr("os.getuid", lambda: 7)
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name=login))
    assert Settings().user == user


def test_a_user_whom_the_system_has_no_name_for_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_001)
    assert Settings().user == "uid-4000000001"
    monkeypatch.setenv("GANSERVICE_USER", "bob")
    assert Settings().user == "bob"


@pytest.mark.parametrize("user", ["two words", "*", "a:b", "-a", "a" * 65, "bob\n", "b\x1b[2J", "bøb"])
def test_a_name_that_no_user_may_have_is_refused(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.setenv("GANSERVICE_USER", user)
    with pytest.raises(SettingsInvalid, match="GANSERVICE_USER"):
        Settings()


def test_the_settings_of_another_user_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / SETTINGS_FILE
    file.write_text('{"store_url": "http://127.0.0.1:1/his"}')
    assert Settings().store_url == "http://127.0.0.1:1/his"
    found, of_another = Path.stat, SimpleNamespace(st_uid=os.geteuid() + 4711)
    monkeypatch.setattr(Path, "stat", lambda path, **how: of_another if path == file else found(path, **how))
    assert Settings().store_url is None


def test_workers_are_given_no_way_into_prometheus() -> None:
    settings = Settings(
        prometheus_url=SecretStr("https://me:hunter2@host/prometheus"), broker_url=SecretStr("redis://h")
    )
    assert settings.prometheus_url
    assert settings.for_workers().prometheus_url is None


def test_the_code_of_users_of_another_broker_is_not_run_because_that_of_the_stack_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / SETTINGS_FILE).write_text('{"broker_url": "redis://:p@127.0.0.1:1/0", "own_code": true}')
    assert Settings().own_code
    for own in ("redis://:p@127.0.0.1:1/0", SecretStr("redis://:p@127.0.0.1:1/0")):
        assert Settings.model_validate({"broker_url": own}).own_code
    monkeypatch.setenv("GANSERVICE_BROKER_URL", "rediss://shared.example:6379/0")
    assert not Settings().own_code
    monkeypatch.setenv("GANSERVICE_OWN_CODE", "true")
    assert Settings().own_code
