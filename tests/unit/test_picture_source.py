import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ganservice.errors import DataInvalid
from ganservice.files import CHUNK_BYTES
from tests.source_files import make_folder, make_table, make_tar, make_zip, named
from workers.gan.data import parquet, parquet_rows, picture_source
from workers.gan.data.any_source import open_source
from workers.gan.data.layout import Layout, read_layout

BLOCK = tarfile.BLOCKSIZE
MIB = 2**20
# Tells the most memory that a process has taken, KiB, before and after it reads the first picture of a source.
READ_FIRST = """
import re, sys, pyarrow.parquet
from pathlib import Path
from workers.gan.data.any_source import open_source
def peak(): return re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
before = peak()
with open_source(Path(sys.argv[1])) as source:
    source.read(source.names()[0])
print(before, peak())
"""
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def contents(path: Path) -> dict[str, bytes]:
    with open_source(path) as source:
        return {name: source.read(name) for name in source.names()}


def layout_of(path: Path, labels: str | None = None) -> Layout:
    with open_source(path) as source:
        return read_layout(source, labels)


def refusal(path: Path, labels: str | None = None) -> str:
    with pytest.raises(DataInvalid) as caught:
        layout_of(path, labels)
    return str(caught.value)


def labels_of(layout: Layout) -> list[tuple[str, str | None]]:
    return [(file.split, None if file.label is None else layout.classes[file.label]) for file in layout.files]


def pictures(*names: str | None) -> list[dict[str, Any]]:
    return [{"bytes": str(number).encode(), "path": name} for number, name in enumerate(names)]


def zip_of_bytes(path: Path, *names: bytes) -> Path:
    """A zip whose entries have these very bytes for names, of which nothing says how they are encoded."""
    placeholders = [chr(ord("A") + number) * len(name) for number, name in enumerate(names)]
    packed = make_zip(path, dict.fromkeys(placeholders, b"1")).read_bytes()
    for placeholder, name in zip(placeholders, names, strict=True):
        packed = packed.replace(placeholder.encode(), name)
    path.write_bytes(packed)
    return path


def test_links_in_a_folder_are_followed_and_counted(tmp_path: Path) -> None:
    elsewhere = make_folder(tmp_path / "elsewhere", {"dog/1.png": b"dog", "2.png": b"cat"})
    folder = make_folder(tmp_path / "pets", {"cat/1.png": b"1"})
    (folder / "dog").symlink_to(elsewhere / "dog")
    (folder / "cat" / "2.png").symlink_to(elsewhere / "2.png")
    (folder / "cat" / "3.png").symlink_to(elsewhere / "gone.png")
    assert contents(folder) == {"cat/1.png": b"1", "cat/2.png": b"cat", "dog/1.png": b"dog"}
    lines = layout_of(folder).lines
    assert "links: 2 followed, such as cat/2.png" in lines
    assert "links: 1 to nothing, such as cat/3.png" in lines


def test_a_folder_deeper_than_anybody_sorts_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    (folder / ("a/" * 290)).mkdir(parents=True)
    (folder / ("a/" * 290) / "1.png").touch()
    with open_source(folder) as source:
        assert len(source.names()) == 1
    (folder / ("a/" * 310)).mkdir(parents=True)
    assert "lies more than 300 folders deep; move it up" in refusal(folder)


@pytest.mark.parametrize("target", [".", "..", "loop"])
def test_a_link_in_a_circle_is_refused(tmp_path: Path, target: str) -> None:
    folder = make_folder(tmp_path / "pets", named("cat/1.png", "cat/2.png"))
    (folder / "cat" / "loop").symlink_to(target)
    message = refusal(folder)
    assert message.startswith(f"{folder}: cat/loop")
    assert "remove" in message


def test_one_folder_may_be_linked_twice(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", named("cat/1.png", "dog/1.png"))
    for name in ("emu", "fox"):
        (folder / name).symlink_to(folder / "cat")
    assert layout_of(folder).classes == ("cat", "dog", "emu", "fox")


def test_names_that_are_no_utf_8_are_spelled_out(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", named("dog/1.png"))
    for name in (b"caf\xe9", b"bell\x07", "cafe\u0301".encode()):
        make_folder(folder / os.fsdecode(name), {"1.png": name})
    assert layout_of(folder).classes == ("bell\\x07", "caf\\xe9", "caf\u00e9", "dog")
    assert contents(folder)["caf\\xe9/1.png"] == b"caf\xe9"


def test_names_that_are_spelled_alike_do_not_hide_each_other(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", {"caf\\xe9.png": b"letters", os.fsdecode(b"caf\xe9.png"): b"a byte"})
    assert sorted(contents(folder).values()) == [b"a byte", b"letters"]


def test_pictures_whose_names_are_spelled_alike_are_pictures_with_their_labels(tmp_path: Path) -> None:
    names = {"cafe\u0301": "cat", "caf\u00e9": "dog"}
    files = {f"{name}{end}": label.encode() for name, label in names.items() for end in (".png", ".cls")}
    layout = layout_of(make_folder(tmp_path / "pets", files))
    assert [file.name for file in layout.files] == ["caf\u00e9'.png", "caf\u00e9.png"]
    assert labels_of(layout) == [("train", "dog"), ("train", "cat")]


def test_a_folder_that_cannot_be_read_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "pets", named("cat/1.png", "dog/1.png"))
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("workers.gan.data.folder_source.os.scandir", refuse)
    assert "the folder cat cannot be read (Permission denied)" in refusal(folder)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ([b"caf\xc3\xa9/1.png", b"chat/2.png"], ("café", "chat")),  # UTF-8, as many programs write it unsaid
        ([b"caf\x82/1.png", b"chat/2.png"], ("café", "chat")),  # code page 437, as the format has it
        ([b"\x94L/1.png", b"\x8c\xa2/2.png"], ("öL", "îó")),  # Shift-JIS, which nothing tells
    ],
)
def test_names_in_a_zip_are_text_in_any_encoding(tmp_path: Path, names: list[bytes], classes: tuple[str, ...]) -> None:
    path = zip_of_bytes(tmp_path / "pets.zip", *names)
    assert sorted(layout_of(path).classes) == sorted(classes)
    assert set(contents(path).values()) == {b"1"}


def test_a_name_that_is_no_utf_8_is_said_to_be_a_guess(tmp_path: Path) -> None:
    lines = layout_of(zip_of_bytes(tmp_path / "pets.zip", b"caf\x82/1.png", b"chat/2.png")).lines
    assert lines[0].startswith("names: 1 in no known encoding, read as code page 437, such as café/1.png")


def test_a_zip_may_have_a_name_once_more_in_unicode(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(("犬/1.png", "猫/2.png")):
            local = f"?{number}/{number}.png"
            info = zipfile.ZipInfo(local)
            field = struct.pack("<BL", 1, zlib.crc32(local.encode())) + name.encode()
            info.extra = struct.pack("<HH", 0x7075, len(field)) + field
            archive.writestr(info, b"1")
    assert layout_of(path).classes == ("犬", "猫")


def test_of_entries_with_one_name_the_last_counts_and_none_hides_others(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"old")
        archive.writestr("b.png", b"b")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.png", b"new")
    assert contents(path) == {"b.png": b"b", "a.png": b"new"}
    assert layout_of(path).lines[0] == "names: 1 twice, such as a.png; the last of each is taken"


def test_a_folder_in_a_zip_may_end_with_a_backslash(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "pets.zip", named("all\\", "all\\cat\\1.png", "all\\dog\\2.png", "all\\emu\\"))
    assert layout_of(path).lines == [
        "folders: all pictures lie below all/, which is no class",
        "classes: 2 by folders: cat, dog; 1 picture of each to train on",
        "folders: without a picture, and so no class: all/emu",
    ]


def test_links_in_archives_are_followed_where_they_lead_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pets.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("cat/link.png", tarfile.SYMTYPE, "../dog/1.png"),
            ("cat/out.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("cat/circle.png", tarfile.SYMTYPE, "circle.png"),
            ("dog/1.png", tarfile.REGTYPE, ""),
            ("dog/2.png", tarfile.LNKTYPE, "dog/1.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"dog"))
    assert contents(path) == dict.fromkeys(("dog/1.png", "cat/link.png", "dog/2.png"), b"dog")
    assert layout_of(path).lines[:2] == [
        "links: 2 followed, such as cat/link.png",
        "links: 2 to no file of the archive, such as cat/out.png",
    ]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda packed: packed[: 4 * BLOCK], "is cut off after 2 entries, the last b.png"),
        (lambda packed: packed[: 4 * BLOCK + 100], "is cut off after 2 entries"),
        (lambda packed: packed[: 5 * BLOCK + 100], "unexpected end of data"),
        (lambda packed: packed[: 2 * BLOCK] + b"x" * BLOCK + packed[3 * BLOCK :], "is damaged after 1 entry"),
        (lambda packed: packed + packed, "goes on behind its end, which is after 3 entries, the last c.png"),
        (lambda packed: packed + bytes(CHUNK_BYTES) + b"x", "goes on behind its end"),
    ],
    ids=["cut-between-files", "cut-in-a-header", "cut-in-a-file", "damaged-header", "two-joined", "more-behind"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_tar_that_is_not_whole_is_refused_and_not_read_in_part(
    tmp_path: Path, damage: Callable[[bytes], bytes], words: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = make_tar(tmp_path / "whole", dict.fromkeys(("a.png", "b.png", "c.png"), b"1")).read_bytes()
    for name in ("pets.tar", "pets/pets-0001.tar"):
        path = make_folder(tmp_path, {name: pack(damage(packed))}) / name
        message = refusal(tmp_path / name.split("/")[0])
        assert message.startswith(f"{path}: ")
        assert words in message


@pytest.mark.parametrize("zeros", [1, 2, 5000])
def test_a_tar_may_end_with_as_many_blocks_of_zeros_as_it_likes(tmp_path: Path, zeros: int) -> None:
    path = make_tar(tmp_path / "pets.tar", {"a.png": b"1", "b.png": b"2"})
    path.write_bytes(path.read_bytes()[: 4 * BLOCK] + bytes(BLOCK * zeros))
    assert contents(path) == {"a.png": b"1", "b.png": b"2"}


@pytest.mark.parametrize("kind", ["folders", "links in a tar", "folders in a tar", "folders in a zip"])
def test_a_source_of_more_folders_or_links_than_any_set_has_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(picture_source, "MAX_FILES", 3)
    path, names = tmp_path / "many", [f"{number}/" for number in range(4)]
    if kind == "folders":
        make_folder(path, named(*names))
    elif kind == "folders in a zip":
        make_zip(path, named(*names))
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.type = tarfile.SYMTYPE if kind.startswith("links") else tarfile.DIRTYPE
                archive.addfile(member)
    assert "holds more than 3 files and folders" in refusal(path)


def test_a_damaged_file_among_many_is_named(tmp_path: Path) -> None:
    for number in range(3):
        make_table(tmp_path / f"tables/{number}.parquet", {"image": pictures(None, None)})
        (tmp_path / "tars").mkdir(exist_ok=True)
        make_tar(tmp_path / f"tars/000{number}.tar", {"a.png": b"1"})
    for damaged in (tmp_path / "tables/1.parquet", tmp_path / "tars/0001.tar"):
        damaged.write_bytes(b"PAR1 no more")
        assert refusal(damaged.parent).startswith(f"{damaged}: cannot be read (")


def test_a_link_in_a_zip_is_left_out_and_said(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "pets.zip", named("1.png", "2.png"))
    link = zipfile.ZipInfo("3.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "1.png")
    assert layout_of(path).lines[0] == "links: 1 left out, such as 3.png; in a zip they are not followed"
    assert len(contents(path)) == 2


def test_a_folder_of_numbered_tars_is_one_set(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    make_folder(folder, {"sizes.json": b"{}"})
    make_tar(folder / "pets-train-000000.tar", {"0.jpg": b"a", "0.cls": b"1", "1.jpg": b"b", "1.cls": b"0"})
    make_tar(folder / "pets-train-000001.tar", {"0.jpg": b"c", "0.cls": b"0"})
    make_tar(folder / "pets-val-000000.tar", {"0.jpg": b"d", "0.json": b"{}", "0.cls": b"1"})
    layout = layout_of(folder)
    assert labels_of(layout) == [("train", "1"), ("train", "0"), ("train", "0"), ("test", "1")]
    assert layout.lines[:2] == ["tars: 3, one set", "ignored: sizes.json, beside what holds pictures"]
    read = contents(folder)
    assert [read[file.name] for file in layout.files] == [b"a", b"b", b"c", b"d"]


def test_tars_that_are_no_shards_are_no_source(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", named("1.png", "2.png"))
    make_tar(folder / "more-000000.tar", named("3.png"))
    assert "1 *.tar (more-000000.tar)" in layout_of(folder).lines[-1]


def test_tables_of_the_datasets_library_tell_splits_and_classes(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    data = {"train": (pictures("a.jpg", None, "c.jpg"), [0, 1, 1]), "test": (pictures("d.webp", "e.png"), [1, 0])}
    for split, (images, labels) in data.items():
        make_table(folder / f"data/{split}-00000-of-00001-2bf.parquet", {"image": images, "label": labels}, FEATURES)
    make_folder(folder, {"README.md": b"about"})
    layout = layout_of(folder)
    assert labels_of(layout) == [("test", "dog"), ("test", "cat"), ("train", "cat"), ("train", "dog"), ("train", "dog")]
    assert (layout.classes, layout.labels) == (("cat", "dog"), "the column label")
    assert [file.name for file in layout.files][::4] == [
        "data/test/test-00000-of-00001-2bf-0000000.webp", "data/train/train-00000-of-00001-2bf-0000002.jpg",
    ]  # fmt: skip
    assert sorted(contents(folder).values()) == [b"0", b"0", b"1", b"1", b"2"]


def test_a_table_beside_those_of_splits_is_left_out_and_said(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "extra-00000-of-00001"):
        make_table(tmp_path / f"hub/data/{name}.parquet", {"image": pictures(None), "label": [len(name)]})
    layout = layout_of(tmp_path / "hub")
    assert labels_of(layout) == [("test", "19"), ("train", "20"), ("train", "20")]
    assert "splits: extra/ is left out, 1 picture: by its name no split of what is trained on" in "".join(layout.lines)


def test_a_table_in_the_folder_of_a_split_is_of_that_split_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("train/part-0", "test/test-0"):
        make_table(tmp_path / f"hub/{name}.parquet", {"image": pictures(None, None)})
    assert labels_of(layout_of(tmp_path / "hub")) == [*[("test", None)] * 2, *[("train", None)] * 2]


def test_tables_of_no_split_are_one_set(tmp_path: Path) -> None:
    for name in ("cats-0", "dogs-1"):
        make_table(tmp_path / f"hub/{name}.parquet", {"image": pictures(None), "label": [name]})
    assert labels_of(layout_of(tmp_path / "hub")) == [("train", "cats-0"), ("train", "dogs-1")]


def test_one_table_is_a_source_whose_rows_are_read_in_any_order(tmp_path: Path) -> None:
    path = make_table(tmp_path / "pets.parquet", {"image": pictures(*[None] * 9)})
    with open_source(path) as source:
        names = list(source.names())
        order = [8, 0, 0, 5, 4, 7, 6, 1, 2, 2]
        assert [source.read(names[row]) for row in order] == [str(row).encode() for row in order]


def test_labels_of_a_table_are_those_of_its_rows_whatever_rows_have_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "BATCH_ROWS", 2)
    images = [None, *pictures(None, None), None, None, *pictures(None), None]
    for name, labels in (("a", "xabxxcx"), ("b", "xbcxxax")):
        make_table(tmp_path / f"hub/{name}.parquet", {"image": images, "label": list(labels)})
    assert [label for _, label in labels_of(layout_of(tmp_path / "hub"))] == list("abcbca")


@pytest.mark.parametrize("where", ["bytes", "path"])
def test_a_small_table_takes_little_memory(tmp_path: Path, where: str) -> None:
    count, long = 64, 4 * MIB
    picture = {"bytes": bytes(long if where == "bytes" else 1), "path": "1" * (long if where == "path" else 1)}
    path = make_table(tmp_path / "pets.parquet", {"image": [picture] * count}, row_group_size=count)
    assert path.stat().st_size < MIB
    done = subprocess.run([sys.executable, "-c", READ_FIRST, str(path)], capture_output=True, text=True, check=True)
    before_kib, after_kib = map(int, done.stdout.split())
    assert (after_kib - before_kib) * 1024 < count // 2 * long


def test_a_table_of_more_rows_than_any_set_has_files_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("is read")

    monkeypatch.setattr(picture_source, "MAX_FILES", 3)
    monkeypatch.setattr(parquet, "cells_of", read)
    path = make_table(tmp_path / "pets.parquet", {"image": [*pictures(None), None, None, None]})
    assert "holds more than 3 files" in refusal(path)


def test_a_class_that_is_not_told_in_a_table_is_none(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1]), ("test", [-1, -1])):
        make_table(tmp_path / f"hub/{split}-0.parquet", {"image": pictures(None, None), "label": labels}, FEATURES)
    layout = layout_of(tmp_path / "hub")
    assert labels_of(layout) == [("train", "cat"), ("train", "dog")]
    assert "splits: test/ is left out, 2 pictures: it has no labels, which the rest has" in "\n".join(layout.lines)


def test_a_column_of_splits_in_a_table_is_no_class_and_what_is_not_train_is_held_out(tmp_path: Path) -> None:
    of_classes = FEATURES | {"split": {"_type": "ClassLabel", "names": ["test", "train"]}}
    for features, split in ((FEATURES, ["train", "test", "train"]), (of_classes, [1, 0, 1])):
        columns: dict[str, Any] = {"image": pictures(None, None, None), "label": [0, 1, 1], "split": split}
        layout = layout_of(make_table(tmp_path / "pets.parquet", columns, features))
        assert labels_of(layout) == [("train", "cat"), ("test", "dog"), ("train", "dog")]
        assert "splits: test by the column split is held out, 1 picture" in layout.lines


def test_a_column_of_folds_in_a_table_is_refused_unless_labels_are_chosen(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"image": pictures(None, None), "label": [0, 1], "fold": [0, 1]}
    path = make_table(tmp_path / "pets.parquet", columns, FEATURES)
    assert "has 0 in its column fold; expected train, val or test; mend it, or give --labels" in refusal(path)
    assert labels_of(layout_of(path, "label")) == [("train", "cat"), ("train", "dog")]


@pytest.mark.parametrize(
    ("columns", "labels", "origin"),
    [
        ({"cat": [1, 0, 0], "Dog": [0.0, 1.0, 1.0], "age": [7, 31, 42]}, ["cat", "Dog", "Dog"], "one-hot columns"),
        ({"cat": [True, False, False], "Dog": [False, True, True]}, ["cat", "Dog", "Dog"], "one-hot columns"),
        ({"label": [[1, 0], [0, 1], [0, 1]]}, ["0", "1", "1"], "the column label"),
        ({"cat": [1, 1, 0], "dog": [0, 1, 1]}, [None, None, None], "none"),
        ({"text": ["1", "0", "0"], "dog": [0, 1, 1]}, [None, None, None], "none"),
        ({"text": ["a", "b", "c"], "nsfw": [1, 0, 0], "safe": [0, 1, 1]}, [None, None, None], "none"),
        ({"image_id": ["a", "b", "c"], "cat": [1, 0, 0], "Dog": [0, 1, 1]}, ["cat", "Dog", "Dog"], "one-hot columns"),
    ],
    ids=["numbers", "flags", "lists", "several-of-one-picture", "words", "captions", "names"],
)
def test_columns_of_a_table_that_are_one_hot_tell_classes(
    tmp_path: Path, columns: dict[str, Any], labels: list[str | None], origin: str
) -> None:
    path = make_table(tmp_path / "a.parquet", {"image": pictures(None, None, None)} | columns)
    layout = layout_of(path)
    assert ([label for _, label in labels_of(layout)], layout.labels) == (labels, origin)


def test_more_flags_than_can_be_looked_at_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns: dict[str, Any] = {"image": pictures(None, None, None), **{name: [0, 0, 0] for name in "abc"}}
    path = make_table(tmp_path / "a.parquet", columns)
    assert labels_of(layout_of(path)) == [("train", None)] * 3
    monkeypatch.setattr("workers.gan.data.one_hot.MAX_FLAGS", 8)
    assert "has more than 8 cells of 0 and 1; write the class of each picture into one column, or give" in refusal(path)


def test_one_hot_columns_of_splits_are_no_classes(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"image": pictures(None, None, None), "train": [1, 1, 0], "test": [0, 0, 1]}
    path = make_table(tmp_path / "a.parquet", columns)
    assert "has columns of 0 and 1 called train, test; where they tell splits call them is_train and so" in refusal(
        path
    )


def test_of_several_columns_of_labels_one_is_chosen(tmp_path: Path) -> None:
    features = {"img": {"_type": "Image"}} | {
        name: {"_type": "ClassLabel", "names": [f"{name}{number}" for number in range(2)]}
        for name in ("fine", "coarse")
    }
    columns: dict[str, Any] = {"img": pictures(None, None), "fine": [1, 0], "coarse": [0, 0]}
    path = make_table(tmp_path / "cifar.parquet", columns, features)
    assert "holds labels in the columns fine, coarse; give --labels with one of them" in refusal(path)
    assert labels_of(layout_of(path, "fine")) == [("train", "fine1"), ("train", "fine0")]
    assert labels_of(layout_of(path, "none")) == [("train", None)] * 2


def test_rows_without_a_picture_and_without_its_bytes_are_said(tmp_path: Path) -> None:
    path = make_table(
        tmp_path / "pets.parquet", {"image": [*pictures(None, None), None, {"bytes": None, "path": "x.png"}]}
    )
    assert "tables: 1 row without a picture" in layout_of(path).lines
    with pytest.raises(DataInvalid, match="the table holds a path alone; expected the bytes of the picture"):
        contents(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"text": ["a", "b"]}, "columns of pictures found: none; expected one, of structs of bytes and path"),
        (
            {"image": pictures(None, None), "label": [[0, 1], [1]]},
            "holds several labels of one picture in its column label",
        ),
        (
            {"image": pictures(None, None), "label": [[1, 1], [1, 0]]},
            "has labels of several numbers; expected one class for each picture, in its column label; give --labels",
        ),
        ({"image": pictures(None, None), "label": [0.5, 1.5]}, "has the label 0.5, a measure"),
    ],
    ids=["no-pictures", "lists", "lists-of-flags", "measures"],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    path = make_table(tmp_path / "table.parquet", columns)
    assert refusal(path).startswith(f"{path}: ")
    assert words in refusal(path)


def test_tables_beside_pictures_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "hub", named("cat/1.png", "cat/2.png"))
    make_table(folder / "metadata.parquet", {"file_name": ["1.png", "2.png"], "label": [0, 1]})
    assert "holds tables (metadata.parquet) and pictures (cat/1.png); expected one or the other" in refusal(folder)


def test_classes_of_one_name_in_a_table_are_refused(tmp_path: Path) -> None:
    features = FEATURES | {"label": {"_type": "ClassLabel", "names": ["cat", "cat"]}}
    path = make_table(tmp_path / "pets.parquet", {"image": pictures(None, None), "label": [0, 1]}, features)
    assert "has two classes of one name" in refusal(path)


def test_tables_of_two_sets_are_refused(tmp_path: Path) -> None:
    other = {"image": FEATURES["image"], "label": {"_type": "ClassLabel", "names": ["dog", "cat"]}}
    for name, features in (("a", FEATURES), ("b", other)):
        make_table(tmp_path / f"hub/{name}.parquet", {"image": pictures(None), "label": [0]}, features)
    assert "a.parquet and b.parquet have other columns or classes" in refusal(tmp_path / "hub")


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = make_table(tmp_path / "pets.parquet", {"image": pictures(None, None)})
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(path).startswith(f"{path}: cannot be read (")


def test_without_pyarrow_a_table_says_what_to_install(tmp_path: Path) -> None:
    path = make_table(tmp_path / "pets.parquet", {"image": pictures(None, None)})
    code = "import sys; sys.modules['pyarrow'] = None; from ganservice.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "import", str(path), "--name", "pets", "--size", "8"]
    store = {"GANSERVICE_STORE_URL": "http://127.0.0.1:1/bucket"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | store)
    assert done.stderr.endswith("this takes pyarrow, which is not installed: pip install 'ganservice[parquet]'\n")
