"""Places that an operator lists."""

from pathlib import Path

import pytest

from ganservice.errors import SettingsInvalid
from ganservice.places import Places, is_http
from ganservice.settings import Settings

LISTED = "/srv/weights, https://example.org/weights/,http://files.lab:8080"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/weights/a.pth", True),
        ("https://EXAMPLE.org:443/weights/a.pth", True),
        ("https://example.org./weights//a.pth", True),
        ("http://files.lab:8080/any/where", True),
        ("https://example.org/weights", True),
        ("https://example.org/weights-of-others/a.pth", False),
        ("https://example.org/", False),
        ("https://example.org/weights/../a.pth", False),
        ("https://example.org/weights/%2e%2e/a.pth", False),
        ("https://example.org/weights/%252e%252e%252fa.pth", False),
        ("https://example.org/weights/..\\a.pth", False),
        ("https://example.org/weights/..%5ca.pth", False),
        ("http://example.org/weights/a.pth", False),
        ("https://example.org:444/weights/a.pth", False),
        ("https://example.org@169.254.169.254/weights/a.pth", False),
        ("https://me:secret@example.org/weights/a.pth", False),
        ("https://example.org.evil.net/weights/a.pth", False),
        ("http://files.lab/any", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("http://127.0.0.1:8080/", False),
        ("http://[::1]:8080/", False),
        ("file:///srv/weights/a.pth", False),
        ("ftp://example.org/weights/a.pth", False),
        ("https://exam\tple.org/weights/a.pth", False),
        ("https://example.org/weights/\na.pth", False),
        ("https://example.org:port/weights/a.pth", False),
        ("", False),
    ],
)
def test_urls_are_allowed_that_begin_with_a_place(url: str, allowed: bool) -> None:
    assert Places(LISTED).allow_url(url) is allowed
    assert not Places("").allow_url(url)


def test_files_are_allowed_that_lie_in_a_place_whatever_links_lead_there(tmp_path: Path) -> None:
    inside, outside = tmp_path / "weights", tmp_path / "secrets"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "file").write_text("content")
    (inside / "out").symlink_to(outside / "file")
    (outside / "in").symlink_to(inside / "file")
    places = Places(f"{inside},https://example.org")
    allowed = [inside / "file", outside / "in", inside / ".." / "weights" / "file"]
    refused = [
        inside / "out",
        outside / "file",
        inside / ".." / "secrets" / "file",
        inside,
        inside / "none",
        Path("/proc/1/environ"),
    ]
    assert [places.allow_file(path) for path in allowed] == [True] * 3
    assert [places.allow_file(path) for path in refused] == [False] * 6
    assert not Places("").allow_file(inside / "file")


def test_what_no_file_can_be_called_is_in_no_place(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("a\x00b", "x" * 300, "loop/x"):
        assert not Places(str(tmp_path)).allow_file(tmp_path / name)


def test_a_url_that_is_understood_otherwise_by_others_is_none() -> None:
    assert is_http("https://example.org/a?b=c")
    assert not any(map(is_http, ["https://a@b/", "https://a\\@b/", "ftp://a/", "https:///a", "file:///etc/hostname"]))


@pytest.mark.parametrize(
    "text", ["weights", "~/weights", "https://", "ftp://example.org", "https://me:secret@example.org"]
)
def test_a_place_that_is_none_is_told_with_its_setting(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANSERVICE_WEIGHTS_FROM", text)
    with pytest.raises(SettingsInvalid, match=r"^GANSERVICE_WEIGHTS_FROM: expected folders such as") as caught:
        Settings()
    assert "secret" not in str(caught.value)
