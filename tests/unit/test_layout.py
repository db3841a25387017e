"""Layouts as people have them, each with what is made of it and the line that says so."""

import cProfile
from pathlib import Path

import pytest

from ganservice.errors import DataInvalid
from tests.source_files import Files, make_folder, make_zip, named
from tests.unit.layouts import (
    BIRDS,
    BY_SPLIT,
    CELEBA,
    CROSSED,
    CROSSED_JSON,
    CUB,
    FLAT,
    FOLDS,
    LAYOUTS,
    PETS,
    SCANS,
    SKIN,
    TINY,
    TWO,
    Case,
)
from workers.gan.data.any_source import open_source
from workers.gan.data.folder_source import FolderSource
from workers.gan.data.layout import Layout, read_layout
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.splits import Place


def layout_of(path: Path, labels: str | None = None) -> Layout:
    with open_source(path) as source:
        return read_layout(source, labels)


def described(layout: Layout) -> str:
    return " ".join(
        file.split if file.label is None else f"{file.split}:{layout.classes[file.label]}" for file in layout.files
    )


def test_a_table_of_ids_that_is_too_large_is_not_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.data.id_tables.MAX_BYTES", 60)
    with pytest.raises(DataInvalid, match=r"images\.txt has more than 60 bytes; expected a line for each picture"):
        layout_of(make_folder(tmp_path / "source", BIRDS | CUB | {"images.txt": CUB["images.txt"] * 2}))


@pytest.mark.parametrize("case", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_is_understood_and_said(tmp_path: Path, case: Case) -> None:
    layout = layout_of(case.make(tmp_path / "source", case.files), case.labels)
    assert described(layout) == case.pictures
    assert case.says in "\n".join(layout.lines)


REFUSALS = {
    "pictures-beside-masks": (
        named("images/1.png", "masks/1.png"),
        "has folders images, masks, of which images is called like no class; give the path of the one with pictures",
    ),
    "a-picture-beside-classes": (named("cat/1.png", "2.png"), "2.png lies in no folder, cat/1.png does"),
    "folders-in-folders": (
        named("a/b/1.png", "c/d/2.png"),
        "which is its class; give --labels folders where the first is, --labels paths where all are, or --labels none",
    ),
    "a-split-beside-others": (
        named("test/1.png", "more/2.png"), "test/1.png lies in a folder test/, more/2.png does not",
    ),
    "a-picture-beside-splits-of-one-set": (
        named("seg_train/1.jpg", "seg_test/2.jpg", "3.jpg"),
        "3.jpg does not, so it cannot be told what is held out; move one of them\n",
    ),
    "a-folder-beside-splits-of-each-class": (
        named("cat/A_train/1.jpg", "cat/A_test/2.jpg", "dog/more/3.jpg"),
        "cat/A_test/2.jpg lies in a folder A_test/, dog/more/3.jpg does not, so it cannot be told",
    ),
    "a-split-in-another": (
        named("train tracks/test/1.png", "test/2.png"), "test/2.png lies in a folder test/, train tracks/test/1.png",
    ),
    "a-split-in-some-classes": (named("cat/test/1.png", "dog/2.png"), "it cannot be told what is held out"),
    "test-alone": (named("test/cat/1.png", "val/dog/2.png"), "holds test/, val/ and no train/"),
    "some-without-a-label": (
        TWO | {"labels.csv": b"file,label\n1.png,cat\n"},
        "not for 2.png; label or remove these, or give --labels none to drop all labels",
    ),
    "some-without-a-cls": ({"1.png": b"", "1.cls": b"0", "2.png": b""}, "labels by .cls files are there for 1 of 2"),
    "a-cls-of-no-picture": (
        {"1.png": b"", "x.cls": b"0", "2.png": b""},
        "x.cls lies beside no picture of that name; mend the names, or give --labels none",
    ),
    "held-out-labels-alone": (
        named("train/1.png", "train/2.png", "test/cat/3.png"), "none of the pictures to train on",
    ),
    "two-tables": (
        TWO | {"a.csv": b"file,label\n1.png,a\n2.png,b\n", "b.csv": b"file,label\n1.png,c\n2.png,d\n"},
        "holds a.csv and b.csv, which both label 1.png; choose one, such as --labels b.csv",
    ),
    "folders-and-a-table": (
        named("x/1.png", "x/2.png", "y/3.png") | {"l.csv": b"file,label\n1.png,a\n2.png,b\n3.png,a\n"},
        "its folders (x, y) and l.csv tell different classes; give --labels folders or --labels l.csv",
    ),
    "folders-and-stylegan": (
        CROSSED | {"dataset.json": b'{"labels": [["cat/1.png", 0], ["cat/2.png", 1], ["dog/3.png", 0]]}'},
        "and dataset.json tell different classes; give --labels folders or --labels dataset.json",
    ),
    "folders-and-json-beside": (
        CROSSED_JSON, "and .json files tell different classes; give --labels folders or --labels .json",
    ),
    "folders-and-cls-beside": (
        CROSSED | {"cat/1.cls": b"0", "cat/2.cls": b"1", "dog/3.cls": b"1"},
        "its folders (cat, dog) and .cls files tell different classes; give --labels folders or --labels .cls",
    ),
    "a-table-that-does-not-tell-the-folder": (
        named("a/1.png", "b/1.png") | {"l.csv": b"file,label\n1.png,x\n"},
        "l.csv names 1.png, which may be a/1.png or b/1.png; name its folder too, or give --labels folders where these",
    ),
    "storage-and-unclear-columns": (
        named("part_1/1.jpg", "part_2/2.jpg") | {"meta.csv": SKIN},
        "name it, as FILE:COLUMN, or give --labels folders where these are classes, or --labels none",
    ),
    "deep-storage-and-unclear-columns": (
        named("patient1/study/1.jpg", "patient2/study/2.jpg") | {"meta.csv": SKIN},
        "meta.csv does not tell which of its columns holds the labels: image_id",
    ),
    "labels-of-other-names": (
        PETS | {"train.csv": b"id,label\nx.png,a\ny.png,b\n"},
        "train.csv names no picture that is here; its columns are id, label, or give --labels folders",
    ),
    "labels-of-other-names-without-folders": (
        TWO | {"labels.csv": b"id,label\nx.png,a\ny.png,b\n"},
        "labels.csv names no picture that is here; its columns are id, label; mend the names, or give --labels none",
    ),
    "celeba": (CELEBA, "list_attr_celeba.csv does not tell which of its columns holds the labels: image_id, bald"),
    "captions": (
        TWO | {"metadata.csv": b"file_name,text\n1.png,a cat\n2.png,a dog\n"},
        "has 2 values for 2 pictures in its column text, such as a cat and 1 more, and it cannot be told that they are",
    ),
    "a-value-for-each-picture": (
        named(*(f"{number}.png" for number in range(10)))
        | {"l.csv": b"file,remark\n" + b"".join(b"%d.png,r%d\n" % (number, number) for number in range(10))},
        "has 10 values for 10 pictures in its column remark",
    ),
    "a-column-called-train": (
        TWO | {"l.csv": b"file,train\n1.png,1\n2.png,0\n"}, "has 2 values for 2 pictures in its column train",
    ),
    "masks": (
        TWO | {"l.csv": b"image,other\n1.png,m.png\n2.png,m.png\n"}, "has 1 values for 2 pictures in its column other",
    ),
    "several-columns-with-a-1": (
        SCANS | {"l.csv": b"image,cat,dog\ns1,1,1\ns2,0,1\ns3,1,0\n"},
        "l.csv does not tell which of its columns holds the labels: image, cat, dog; name it",
    ),
    "one-hot-columns-beside-words": (
        SCANS | {"l.csv": b"image,male,female,dx\ns1,1,0,nevus\ns2,0,1,nevus\ns3,1,0,melanoma\n"},
        "l.csv does not tell which of its columns holds the labels: image, male, female, dx; name it",
    ),
    "one-hot-columns-of-splits": (
        SCANS | {"l.csv": b"image,train,Test\ns1,1,0\ns2,1,0\ns3,0,1\n"},
        "l.csv has columns of 0 and 1 called train, Test; where they tell splits call them is_train and so on",
    ),
    "a-column-that-is-1-everywhere": (
        SCANS | {"l.csv": b"image,valid,deleted\ns1,1,0\ns2,1,0\ns3,1,0\n"}, "does not tell which of its columns",
    ),
    "ids-without-a-part": (
        BIRDS | CUB | {"train_test_split.txt": b"1 1\n2 0\n3 2\n"},
        "train_test_split.txt has 2 of 3; expected 1 of what is to train on, else 0; mend it, or give --labels",
    ),
    "ids-that-come-twice": (
        BIRDS | CUB | {"image_class_labels.txt": b"1 1\n1 2\n2 1\n3 2\n"},
        "image_class_labels.txt has two lines of 1; expected one",
    ),
    "held-out-pictures-in-folders-of-other-classes-than-a-table-tells": (
        named("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png")
        | {"predictions.csv": b"file,label\ntest/cat/3.png,dog\ntest/dog/4.png,dog\n"},
        "has test/cat/3.png in dog by predictions.csv and in cat by its folder; mend one of them, or give --labels",
    ),
    "lists-that-tell-two-classes": (
        TINY | {"val/other.txt": b"val_0.JPEG n1\nval_1.JPEG n1\n"},
        "has val/images/val_0.JPEG in n2 by val/val_annotations.txt and in n1 by another list; move one of them away",
    ),
    "ids-alone": (BIRDS | CUB | {"image_class_labels.txt": b"1\n"}, "image_class_labels.txt has 1 alone in a line"),
    "two-labels": (
        TWO | {"l.csv": b"file,label\n1.png,a\n1.png,b\n2.png,b\n"}, "l.csv gives 1.png two labels, a and b"
    ),
    "columns-that-do-not-tell": (
        TWO | {"meta.csv": SKIN}, "does not tell which of its columns holds the labels: image_id",
    ),
    "one-folder-and-columns-that-do-not-tell": (
        named("images/1.png", "images/2.png") | {"meta.csv": SKIN},
        "does not tell which of its columns holds the labels: image_id, age, sex, dx; name it, as FILE:COLUMN",
    ),
    "folds": (FLAT | {"l.csv": FOLDS}, "l.csv has 0 in its column fold; expected train, val or test; mend it, or give"),
    "splits-of-some": (
        FLAT | {"l.csv": b"file,split\n1.png,train\n2.png,test\n"},
        "tells by the column split of l.csv whether 2 of 3 pictures are to train on, not of 3.png",
    ),
    "a-table-of-test-alone": (
        FLAT | {"test.csv": b"file\n2.png\n"},
        "tells by test.csv whether 1 of 3 pictures are to train on, not of 1.png",
    ),
    "tables-of-two-splits": (
        FLAT | {"train.csv": b"file\n1.png\n2.png\n", "test.csv": b"file\n2.png\n3.png\n"},
        "holds 2.png in test by test.csv and in train by train.csv; expected it in one split",
    ),
    "measures": (TWO | {"l.csv": b"file,label\n1.png,0.5\n2.png,0.25\n"}, "has the label 0.5, a measure"),
    "several-classes-each": (
        TWO | {"dataset.json": b'{"labels": [["1.png", [1, 1]], ["2.png", [0, 1]]]}'}, "has labels of several numbers"
    ),
    "no-pictures": (
        named("a.dcm", "b.dcm"),
        "*.tiff; ignored: 2 files: 2 *.dcm (a.dcm); a.dcm: make PNG or JPEG of it\n",
    ),
    "arrays": (
        named("train-images-idx3-ubyte.gz", "README"),
        "; train-images-idx3-ubyte.gz: make PNG of its arrays; MNIST, Fashion-MNIST and CIFAR-10 come by `ganctl",
    ),
    "archives-alone": (named("test.zip", "train.csv", "train.zip"), "; test.zip: unpack it first, for archives in"),
    "pictures-without-a-suffix": (
        named("cat/1", "dog/2"), "; cat/1: name it by what it is, such as 1.png, if it is a picture",
    ),
    "one-picture": (named("1.png"), "pictures found: 1; expected at least 2 files named *.png"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "words"), REFUSALS.values(), ids=REFUSALS)
def test_what_may_mean_two_things_is_refused_in_one_line(tmp_path: Path, files: Files, words: str) -> None:
    path = make_folder(tmp_path / "source", files)
    with pytest.raises(DataInvalid) as caught:
        layout_of(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in f"{message}\n"
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["some-without-a-label", "two-tables", "folders-and-a-table", "measures", "a-cls-of-no-picture"]
)
def test_labels_that_are_refused_can_be_dropped(tmp_path: Path, name: str) -> None:
    layout = layout_of(make_folder(tmp_path / "source", REFUSALS[name][0]), "none")
    assert (layout.classes, layout.labels) == ((), "none")
    assert {file.label for file in layout.files} == {None}


def test_a_file_of_labels_may_lie_elsewhere(tmp_path: Path) -> None:
    path = make_folder(tmp_path / "train", TWO)
    table = make_folder(tmp_path, {"train.csv": b"id,label\n1,b\n2,a\n"}) / "train.csv"
    layout = layout_of(path, str(table))
    assert (described(layout), layout.labels) == ("train:b train:a", str(table))


def test_labels_of_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"holds no labels\.csv, and there is no such file; expected --labels none"):
        layout_of(make_folder(tmp_path / "source", TWO), "labels.csv")


@pytest.mark.parametrize("labels", ["folders", "paths"])
def test_folders_that_are_not_there_are_no_classes(tmp_path: Path, labels: str) -> None:
    with pytest.raises(DataInvalid, match="has its pictures in no folders; give each th"):
        layout_of(make_folder(tmp_path / "source", TWO), labels)


@pytest.mark.parametrize(
    "files",
    [TWO | named("notes.txt"), named("train/a/1.png", "train/b/2.png", "test/3.png", "test/notes.txt", "test.txt")],
    ids=["no-labels", "labels-of-folders"],
)
def test_a_list_that_cannot_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    path = make_folder(tmp_path / "source", files)
    expected = described(layout_of(path))
    read = FolderSource.read

    def refuse(source: FolderSource, name: str) -> bytes:
        if name.endswith(".txt"):
            raise DataInvalid(f"{name}: cannot be read")
        return read(source, name)

    monkeypatch.setattr(FolderSource, "read", refuse)
    assert described(layout_of(path)) == expected


def test_names_that_tell_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"has no class in the names of its files; expected such as cat\.1\.jpg or"):
        layout_of(make_folder(tmp_path / "source", FLAT), "names")


@pytest.mark.parametrize("choice", [".cls", ".json"])
def test_files_beside_pictures_that_are_asked_for_must_be_there(tmp_path: Path, choice: str) -> None:
    path = make_folder(tmp_path / "source", named("cat/1.png", "dog/2.png"))
    with pytest.raises(DataInvalid, match=rf"has no \{choice} file with a class beside a picture; expected such as 1"):
        layout_of(path, choice)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("cut.tar.gz", "; it is cut off or damaged: make or fetch it again"),
        ("1.PNG", "; give the folder that it lies in"),
        ("x.npy", "; x.npy: make PNG of its arrays"),
        ("x", "; x: name it"),
    ],
)
def test_a_file_that_is_no_source_is_refused_with_advice(tmp_path: Path, name: str, advice: str) -> None:
    path = make_folder(tmp_path, {name: b"no archive"}) / name
    with pytest.raises(DataInvalid, match=f"expected one of these with pictures{advice}"):
        layout_of(path)


def test_names_however_long_make_lines_that_are_not(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "long.zip", TWO | {f"{'x' * 60_000}.txt": b"", f"{'y' * 60_000}/labels.csv": b"a,b"})
    assert max(map(len, layout_of(path).lines)) <= 1_000
    path = make_zip(tmp_path / "unclear.zip", named("1.png", f"{'z' * 60_000}/2.png"))
    with pytest.raises(DataInvalid) as caught:
        layout_of(path)
    assert len(str(caught.value)) <= 1_000 + len(str(path)) + 2


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    files = BY_SPLIT | named("val/dog/4.png", "readme.txt", ".hidden.png")
    assert layout_of(make_folder(tmp_path / "source", files)).left_out == {
        "*.txt": 1, "hidden": 1, "validation pictures": 1,
    }  # fmt: skip


def test_of_very_many_reasons_the_most_common_are_counted(tmp_path: Path) -> None:
    files = TWO | named(*(f"frame.{number}" for number in range(300)), "a.txt", "b.txt")
    layout = layout_of(make_zip(tmp_path / "frames.zip", files))
    assert (len(layout.left_out), layout.left_out["*.txt"], sum(layout.left_out.values())) == (101, 2, 302)


def test_more_classes_than_a_manifest_holds_are_refused_before_a_picture_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.gan.data.classes.MAX_CLASSES", 1)
    with pytest.raises(DataInvalid, match="tells 2 classes, expected at most 1; give --labels none"):
        layout_of(make_folder(tmp_path / "source", PETS))


def test_classes_are_those_of_the_pictures_that_are_kept(tmp_path: Path) -> None:
    layout = layout_of(make_folder(tmp_path / "source", BY_SPLIT | named("test/emu/4.png", "val/ant/5.png")))
    assert layout.classes == ("cat", "dog", "emu")
    assert "classes: no picture to train on is of emu" in layout.lines


def test_a_table_is_matched_in_steps_that_grow_with_its_rows_alone() -> None:
    def calls(count: int) -> int:
        """Calls that matching takes where as many folders as there are rows hold a file of the same name."""
        names = [f"patient{number}/study1/view1.jpg" for number in range(count)]
        index = PictureIndex([Place(name, "train", ()) for name in names])
        profile = cProfile.Profile()
        profile.enable()
        found = [index.find(f"CheXpert/train/{name}") for name in names if index.has(name)]
        profile.disable()
        assert found == [[name] for name in names]
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(200) < 3 * calls(100)
