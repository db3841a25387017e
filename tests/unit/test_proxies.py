"""Which requests go through a proxy."""

import pytest

from ganservice.proxies import by_way_of, is_loopback, proxies_of
from tests.conftest import Proxy


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "gan.localhost", "127.0.0.1", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_loopback_is_never_asked_through_a_proxy(host: str) -> None:
    for url in (f"http://{host}:8333/gan", f"https://user:password@{host}/gan"):
        assert is_loopback(url)
        assert proxies_of(url) == {}
        assert by_way_of(url) == ""


@pytest.mark.parametrize(
    "host", ["s3.example.com", "10.0.0.1", "128.0.0.1", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_all_else_is_asked_through_the_proxy_of_its_scheme(proxy: Proxy, host: str) -> None:
    assert proxies_of(f"http://{host}")["http"].endswith(proxy.address)
    assert by_way_of(f"https://{host}:9000/gan") == f" (by way of the proxy {proxy.address} of HTTPS_PROXY)"


def test_what_no_proxy_names_is_asked_straight(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "example.com, 10.0.0.1:9000")
    assert proxies_of("https://s3.example.com/gan") == proxies_of("http://10.0.0.1:9000") == {}
    assert proxies_of("http://10.0.0.1:9001")["http"].endswith(proxy.address)
    monkeypatch.setenv("no_proxy", "*")
    assert by_way_of("https://elsewhere.org") == ""


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("proxy.corp:3128", "proxy.corp:3128 "),
        ("socks5://u:p@[::2]:1/", "[::2]:1 "),
        ("http://", ""),
        ("me:hunter2", ""),
        ("http://me:hun/ter2@proxy.corp:1", "proxy.corp:1 "),
        ("http://proxy.corp:1/hunter2 3", ""),
    ],
)
def test_a_proxy_is_named_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch, value: str, told: str) -> None:
    for name in ("no_proxy", "NO_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert by_way_of("https://s3.example.com") == f" (by way of the proxy {told}of HTTPS_PROXY)"
    assert by_way_of("http://[no address") == ""
