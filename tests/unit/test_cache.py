"""A cache that nothing leaves, and to which nobody else writes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganservice.cache import cache_folder, cache_path
from ganservice.errors import RequestError
from ganservice.files import write_aside

CACHE = Path("/home/gan/cache")


@given(steps=st.lists(st.text(max_size=12) | st.sampled_from(["..", ".", "/etc", "a/b", "data"]), min_size=1))
def test_no_steps_lead_out_of_the_cache(steps: list[str]) -> None:
    try:
        path = cache_path(CACHE, *steps)
    except RequestError:
        return
    assert Path(os.path.normpath(path)).relative_to(CACHE) == Path(*steps)
    assert len(path.relative_to(CACHE).parts) == len(steps)


def test_folders_are_of_their_owner_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = cache_folder(cache, "data", "d" * 64)
    assert folder == cache / "data" / ("d" * 64)
    assert [path.stat().st_mode & 0o777 for path in (cache, cache / "data", folder)] == [0o700] * 3


def test_what_others_could_write_to_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    cache_folder(tmp_path, "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("depth", [0, 1])
def test_a_link_in_the_cache_is_not_followed(tmp_path: Path, depth: int) -> None:
    steps = ("data", "d" * 64)
    (tmp_path / "elsewhere").mkdir()
    if depth:
        (tmp_path / "cache" / "data").mkdir(parents=True)
    else:
        (tmp_path / "cache").mkdir()
    tmp_path.joinpath("cache", *steps[: depth + 1]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RequestError, match="is a link or a file where the cache has a folder; delete it, or set GAN"):
        cache_folder(tmp_path / "cache", *steps)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "data", 12_345, 12_345)
    else:
        somebody = os.geteuid() + 1
        monkeypatch.setattr("ganservice.cache.os.geteuid", lambda: somebody)
    with pytest.raises(RequestError, match=r"belongs to another user, .*; set GANSERVICE_CACHE_DIR"):
        cache_folder(tmp_path, "data")


def test_what_is_written_aside_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("precious")
    monkeypatch.setattr("ganservice.files.secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".page.html.guessed.part").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(RequestError, match=r"page\.html: cannot be written"),
        write_aside(tmp_path / "page.html") as aside,
    ):
        aside.write_text("a page")
    assert (tmp_path / "precious").read_text() == "precious"
