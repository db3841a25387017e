"""Whatever a source holds, no held-out picture is trained on, no label lost unsaid, and only DataInvalid is raised."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from ganservice.errors import DataInvalid
from tests.source_files import make_table, make_zip, named
from workers.gan.data.any_source import open_source
from workers.gan.data.label_tables import read_pairs
from workers.gan.data.labels import as_label
from workers.gan.data.layout import Layout, read_layout
from workers.gan.data.picture_source import PictureSource
from workers.gan.data.splits import LayoutUnclear, part_of

FOLDERS = ["train", "Test", "val", "cat", "dog", "images", "holdout", "val2017", "train tracks"]
FILES = ["1.png", "2.PNG", "3.jpg", "notes.txt", "1.cls", "labels.csv", "dataset.json", ".hidden.png"]
CONTENTS = {
    "1.cls": b"3",
    "labels.csv": b"file,label\n1.png,a\n2.PNG,b\n3.jpg,a\n",
    "dataset.json": b'{"labels": [["1.png", 0], ["2.PNG", 1], ["3.jpg", 1]]}',
}
trees = st.lists(
    st.tuples(st.lists(st.sampled_from(FOLDERS), max_size=3), st.sampled_from(FILES)), min_size=2, max_size=12
).map(lambda found: sorted({"/".join([*folders, file]) for folders, file in found}))


class Names(PictureSource):
    """A source in memory, of whose files the content follows from the name."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(Path("source"))
        self._names = names

    def names(self) -> Sequence[str]:
        return self._names

    def folders(self) -> Sequence[str]:
        return ()

    def read(self, name: str) -> bytes:
        return CONTENTS.get(name.rpartition("/")[2], b"")


def layout_of(names: Sequence[str], labels: str | None) -> Layout | None:
    try:
        return read_layout(Names(names), labels)
    except DataInvalid:
        return None


@settings(max_examples=200, deadline=None)
@given(trees, st.sampled_from([None, "none"]))
def test_no_picture_is_in_another_split_than_its_folder_says(names: list[str], labels: str | None) -> None:
    if layout := layout_of(names, labels):
        for file in layout.files:
            parts = {part_of(word) for word in file.name.split("/")[:-1]} - {None}
            if len(parts) == 1:
                assert (file.split == "train") == (parts == {"train"}), file.name


@settings(max_examples=200, deadline=None)
@given(trees, st.sampled_from([None, "none", "folders", "paths", "names", "labels.csv"]))
def test_in_a_split_all_pictures_have_labels_or_none(names: list[str], labels: str | None) -> None:
    if layout := layout_of(names, labels):
        assert [file.name for file in layout.files] == sorted(file.name for file in layout.files)
        splits = {split: [file.label for file in layout.files if file.split == split] for split in ("train", "test")}
        for of_split in filter(None, splits.values()):
            assert len({label is None for label in of_split}) == 1
        assert splits["train"]
        numbers = {file.label for file in layout.files if file.label is not None}
        assert numbers == set(range(len(layout.classes)))
        assert (layout.labels == "none") == (not numbers)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_where_folders_or_files_tell_classes_they_are_kept_or_a_line_speaks_of_it(names: list[str]) -> None:
    layout = layout_of(names, None)
    if layout and not layout.classes:
        assert [line for line in layout.lines if line.startswith("classes: none, ")]
        tables = [name for name in names if name.endswith(("labels.csv", "1.cls")) and not name.startswith(".")]
        assert not tables or [line for line in layout.lines if "labels.csv" in line or "*.cls" in line]
        folders = {tuple(word for word in file.name.split("/")[:-1] if not part_of(word)) for file in layout.files}
        assert len(folders) <= len({file.split for file in layout.files}), "pictures in several folders have classes"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["train", "Test", "val", "0", ""]), min_size=2, max_size=6),
    st.sampled_from(["split", "subset", "set", "phase", "partition"]),
    st.sampled_from([None, "none", "folders", "l.csv"]),
)
def test_no_picture_that_a_table_holds_out_is_trained_on_unsaid(
    parts: list[str], column: str, labels: str | None
) -> None:
    files = named(*(f"{number % 2}/{number}.png" for number in range(len(parts))))
    rows = [f"{name},{name[0]},{part}" for name, part in zip(files, parts, strict=True)]
    table = {"l.csv": "\n".join([f"file,label,{column}", *rows]).encode()}
    with TemporaryDirectory() as folder:
        try:
            with open_source(make_zip(Path(folder) / "a.zip", files | table)) as source:
                layout = read_layout(source, labels)
        except DataInvalid:
            return
    trained = {parts[int(file.name[2:-4])] for file in layout.files if file.split == "train"}
    is_said = any(line.startswith("splits: ") and "all are trained on" in line for line in layout.lines)
    assert trained.isdisjoint({"Test", "val"}) or is_said or (column == "phase" and not all(map(part_of, parts)))
    assert set(layout.classes) <= {"0", "1"}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["l.csv", "l.tsv", "l.txt", "l.json", "l.jsonl"]),
    st.binary(max_size=200) | st.text().map(str.encode),
)
def test_a_file_of_labels_that_is_none_is_refused(name: str, content: bytes) -> None:
    try:
        pairs = read_pairs(name, content, lambda words: words.endswith("png"))
    except LayoutUnclear:
        return
    for words, label in pairs or []:
        assert isinstance(words, str)
        assert label is None or (isinstance(label, int) or label.isprintable() or " " in label)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_whatever_stands_for_a_label_is_a_class_or_refused(cell: object) -> None:
    try:
        label = as_label(cell)
    except LayoutUnclear:
        return
    assert label is None or isinstance(label, int | str)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_table_is_read_or_refused(damage: list[tuple[int, int]]) -> None:
    with TemporaryDirectory() as folder:
        image = [{"bytes": b"picture", "path": "a.png"}] * 3
        path = make_table(Path(folder) / "a.parquet", {"image": image, "label": [0, 1, 0]})
        content = bytearray(path.read_bytes())
        for place, value in damage:
            content[place % len(content)] = value
        path.write_bytes(content)
        with contextlib.suppress(DataInvalid), open_source(path) as source:
            for file in read_layout(source).files:
                source.read(file.name)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=6, unique=True))
def test_whatever_names_an_archive_has_they_are_text_and_found_again(words: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = make_zip(Path(folder) / "a.zip", named(*(f"{word}.png".replace("\0", "0") for word in words)))
        with open_source(path) as source:
            for name in source.names():
                assert name.encode().decode() == name
                assert source.read(name) == b""
