"""Folders of one's own, and files that are there whole or not at all."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ganservice.errors import RequestError
from ganservice.files import make_private_folder, write_aside


def test_a_folder_is_private_from_then_on(tmp_path: Path) -> None:
    made, old = tmp_path / "a" / "b", tmp_path / "old"
    old.mkdir(mode=0o777)
    old.chmod(0o777)
    for folder in (made, old):
        make_private_folder(folder, "TMPDIR")
        make_private_folder(folder, "TMPDIR")
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(RequestError, match="is another user's; set TMPDIR to a folder of your own"):
        make_private_folder(tmp_path, "TMPDIR")


def test_another_user_leads_us_into_no_folder_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another = SimpleNamespace(st_uid=os.geteuid() + 1)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    make_private_folder(link, "TMPDIR")
    monkeypatch.setattr(Path, "lstat", lambda _: of_another)
    with pytest.raises(RequestError, match="is another user's"):
        make_private_folder(link, "TMPDIR")


@pytest.mark.parametrize("name", ["x" * 250, "x" * 300, "file/x", "none/x"])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be written"), write_aside(tmp_path / name):
        pytest.fail("nobody may write there")


def test_no_file_takes_the_place_of_a_device(tmp_path: Path) -> None:
    """As root a picture became /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(RequestError, match="is no file"), write_aside(path):
            pytest.fail("nobody may write there")
    assert (tmp_path / "pipe").is_fifo()
