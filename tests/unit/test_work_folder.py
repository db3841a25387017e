import errno
import fcntl
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ganservice.errors import DataInvalid, DiskFull, RequestError
from tests.source_files import make_table, make_tar
from workers.gan.data.any_source import open_source
from workers.gan.data.decoding import Range, Target
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.layout import Layout, PictureFile
from workers.gan.data.work_folder import STALE_S, WorkKey, is_kept, key_of, work_folder

KEY, OTHER = WorkKey("0123", "ab"), WorkKey("4567", "ab")


def work(cache: Path, end: BaseException | None = None) -> None:
    """Leave a file in a folder, and end so."""
    with work_folder(cache, KEY) as folder:
        (folder / "rows").write_bytes(b"rows")
        if end:
            raise end


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "imports").iterdir())


def test_a_folder_is_gone_once_its_work_is_done(tmp_path: Path) -> None:
    work(tmp_path)
    assert folders(tmp_path) == []


@pytest.mark.parametrize("end", [KeyboardInterrupt(), DataInvalid(), OSError(errno.EIO, "failed")])
def test_the_next_goes_on_with_what_one_has_left(tmp_path: Path, end: BaseException) -> None:
    with pytest.raises((KeyboardInterrupt, DataInvalid, RequestError)):
        work(tmp_path, end)
    with work_folder(tmp_path, OTHER) as another:
        assert not (another / "rows").exists()
    with work_folder(tmp_path, KEY) as again:
        assert (again / "rows").read_bytes() == b"rows"


def test_two_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    with work_folder(tmp_path, KEY) as first:
        with work_folder(tmp_path, KEY) as second:
            assert first != second
        assert (first.exists(), second.exists()) == (True, False)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_where_the_disk_knows_no_locks_each_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, KeyboardInterrupt())
    left = folders(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with work_folder(tmp_path, KEY) as first, work_folder(tmp_path, KEY._replace(state="cd")) as second:
        assert {first.name, second.name}.isdisjoint(left)
        assert first != second
        assert list(first.iterdir()) == list(second.iterdir()) == []
        assert not is_kept(first)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, KeyboardInterrupt())
    assert folders(tmp_path) == sorted([*left, f"{KEY.source}-cd-0"])


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"the disk is full; nothing half-written was kept; .*GANSERVICE_CACHE_DIR"):
        work(tmp_path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert folders(tmp_path) == []


def test_a_cache_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RequestError, match=r"cannot be written .*; set GANSERVICE_CACHE_DIR"):
        work(tmp_path / "file")


def test_what_nobody_went_on_with_for_a_week_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, KeyboardInterrupt())
    with work_folder(tmp_path, OTHER) as at_work:
        for folder in (tmp_path / "imports").iterdir():
            os.utime(folder, (0, time.time() - STALE_S - 1))
        with work_folder(tmp_path, WorkKey("89ab", "ab")) as new:
            assert folders(tmp_path) == sorted([at_work.name, new.name])


def test_work_on_what_a_source_was_before_is_deleted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path, KeyboardInterrupt())
    with work_folder(tmp_path, OTHER):
        assert len(folders(tmp_path)) == 2
    with work_folder(tmp_path, KEY._replace(state="cd")) as new:
        assert folders(tmp_path) == [new.name]


@pytest.mark.parametrize("kind", ["tars", "tables"])
def test_work_is_another_once_a_file_below_a_linked_folder_is_another(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/linked").symlink_to(tmp_path / "elsewhere")

    def key(content: bytes) -> WorkKey:
        if kind == "tars":
            path = make_tar(tmp_path / "elsewhere/0001.tar", {"a.png": content})
        else:
            path = make_table(tmp_path / "elsewhere/a.parquet", {"image": [{"bytes": content, "path": "a.png"}] * 2})
        os.utime(path, (len(content), len(content)))
        with open_source(tmp_path / "pets") as source:
            return key_of(source, Layout([], (), []), Target(8))

    assert key(b"1") == key(b"1") != key(b"22")


def test_work_is_the_same_while_source_layout_and_target_are(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"picture")
    layout = Layout([PictureFile("a.png", "train", 0), PictureFile("b.png", "train", 0)], ("x", "y"), [])

    def key(target: Target | None = None, layout: Layout = layout) -> WorkKey:
        return key_of(FolderSource(tmp_path), layout, target or Target(8))

    others = [
        key(Target(9)), key(Target(8, 1)), key(Target(8, None, Range(0, 1))),
        key(layout=replace(layout, classes=("x", "z"))),
        key(layout=replace(layout, files=[layout.files[0], replace(layout.files[1], label=1)])),
        key(layout=replace(layout, files=[layout.files[0], replace(layout.files[1], split="test")])),
    ]  # fmt: skip
    before = key()
    assert key() == before
    os.utime(tmp_path / "a.png", (0, 0))
    assert len({before, key(), *others}) == len(others) + 2
    assert len({each.source for each in (before, key(), *others[3:])}) == 1
