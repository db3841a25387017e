"""Layouts as people have them, each with what is made of it and the line that says so."""

import cProfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ganservice.errors import DataInvalid
from tests.source_files import Files, make_folder, make_tar, make_zip, named
from workers.gan.data.layout import Layout, read_layout
from workers.gan.data.picture_index import PictureIndex
from workers.gan.data.picture_source import open_source
from workers.gan.data.splits import Place


@dataclass(frozen=True)
class Case:
    """Files, perhaps what --labels says, and what is made of them: `split class` of each picture, in order of names."""

    files: Files
    pictures: str
    says: str
    labels: str | None = None
    make: Callable[[Path, Files], Path] = make_folder


def layout_of(path: Path, labels: str | None = None) -> Layout:
    with open_source(path) as source:
        return read_layout(source, labels)


def described(layout: Layout) -> str:
    return " ".join(
        file.split if file.label is None else f"{file.split}:{layout.classes[file.label]}" for file in layout.files
    )


TWO = named("1.png", "2.png")
PETS = named("cat/1.png", "dog/2.png")
BY_SPLIT = named("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
KAGGLE = named("train/1.jpg", "train/2.jpg", "test/1.jpg")
SKIN = b"image_id,age,sex,dx\n1,30,f,nevus\n2,40,m,melanoma\n"

FLAT = named("1.png", "2.png", "3.png")
FOLDS = b"file,label,fold\n1.png,a,0\n2.png,b,1\n3.png,a,2\n"
CELEBA = named("img/img/1.jpg", "img/img/2.jpg", "img/img/3.jpg", "img/img/4.jpg") | {
    "list_attr_celeba.csv": b"image_id,Bald,Male\n1.jpg,1,-1\n2.jpg,-1,1\n3.jpg,1,1\n4.jpg,1,1\n",
    "list_eval_partition.csv": b"image_id,partition\n1.jpg,0\n2.jpg,0\n3.jpg,1\n4.jpg,2\n",
}
SCANS = named("s1.jpg", "s2.jpg", "s3.jpg")
DOGS = named("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg")
TINY = named("train/n1/images/n1_0.JPEG", "train/n2/images/n2_0.JPEG", "val/images/val_0.JPEG", "val/images/val_1.JPEG")
TINY |= {"val/val_annotations.txt": b"val_0.JPEG\tn2\t0\t32\t44\t62\nval_1.JPEG\tn1\t52\t55\t57\t59\n"}
CUB = {
    "images.txt": b"1 001.Auk/a_1.jpg\n2 001.Auk/a_2.jpg\n3 002.Cat bird/c_1.jpg\n",
    "image_class_labels.txt": b"1 1\n2 1\n3 2\n",
    "classes.txt": b"1 001.Auk\n2 002.Cat bird\n",
    "train_test_split.txt": b"1 1\n2 0\n3 1\n",
}
BIRDS = named("images/001.Auk/a_1.jpg", "images/001.Auk/a_2.jpg", "images/002.Cat bird/c_1.jpg")
CROSSED = named("cat/1.png", "cat/2.png", "dog/3.png")
CROSSED_JSON = CROSSED | {f"{name[:-4]}.json": b'{"category": "x"}' for name in CROSSED}

LAYOUTS = {
    # What was found: labels lost, and test pictures among those to train on.
    "zip-with-backslashes": Case(
        named("cat\\1.png", "dog\\2.png"), "train:cat train:dog", "classes: 2 by folders: cat, dog; 1 picture of each",
        make=make_zip,
    ),
    "train-and-test": Case(
        BY_SPLIT, "test:cat train:cat train:dog", "splits: test/ is held out, 1 picture"
    ),
    "train-alone": Case(
        named("train/cat/1.png", "train/dog/2.png"), "train:cat train:dog", "splits: train/ is trained on, 2 pictures"
    ),
    "stylegan": Case(
        named("00000/1.png", "00000/2.png") | {"dataset.json": b'{"labels": [["00000/1.png", 7], ["00000/2.png", 3]]}'},
        "train:7 train:3", "classes: 2 by dataset.json: 3, 7",
    ),
    "stylegan-one-hot": Case(
        TWO | {"dataset.json": b'{"labels": [["1.png", [0, 1]], ["2.png", [1, 0]]]}'},
        "train:1 train:0", "classes: 2 by dataset.json: 0, 1",
    ),
    "stylegan-without-labels": Case(
        named("00000/1.png", "00001/2.png") | {"dataset.json": b'{"labels": null}'},
        "train train", "classes: none, as dataset.json says",
    ),
    "webdataset": Case(
        {"1.jpg": b"", "1.cls": b"1", "2.jpg": b"", "2.cls": b"0"}, "train:1 train:0", "classes: 2 by .cls files: 0, 1",
        make=make_tar,
    ),
    "webdataset-json": Case(
        {"1.jpg": b"", "1.json": b'{"label": "cat"}', "2.jpg": b"", "2.json": b'{"label": "dog"}'},
        "train:cat train:dog", "classes: 2 by .json files: cat, dog", make=make_tar,
    ),
    "csv": Case(
        TWO | {"labels.csv": b"filename,label\n1.png,cat\n2.png,dog\n"}, "train:cat train:dog",
        "classes: 2 by labels.csv: cat, dog",
    ),
    "csv-of-excel": Case(  # a mark of its encoding, semicolons, quotes, no suffix, an empty line
        TWO | {"labels.csv": b'\xef\xbb\xbfID;Class Name\r\n1;"cat; tabby"\r\n\r\n2;"dog"\r\n'},
        "train:cat; tabby train:dog", "classes: 2 by labels.csv: cat; tabby, dog",
    ),
    "csv-without-header": Case(
        TWO | {"labels.csv": b'1.png;"a, b"\n2.png;c\n'}, "train:a, b train:c", "classes: 2 by labels.csv: a, b, c"
    ),
    "csv-in-utf-16": Case(
        TWO | {"labels.tsv": "file\tlabel\n1.png\tchat é\n2.png\tchien\n".encode("utf-16")},
        "train:chat é train:chien", "classes: 2 by labels.tsv: chat é, chien",
    ),
    "kaggle": Case(
        KAGGLE
        | {
            "train.csv": b"id,breed\n1,cat\n2,dog\n",
            "test.csv": b"id\n1\n",
            "sample_submission.csv": b"id,breed\n1,x\n",
        },
        "train:cat train:dog",
        "splits: test/ is left out, 1 picture: it has no labels, which the rest has; --labels none keeps it",
    ),
    "empty-class": Case(
        PETS | named("emu/"), "train:cat train:dog", "folders: without a picture, and so no class: emu"
    ),
    # What was not.
    "validation": Case(
        named("Training/cat/1.png", "Training/dog/2.png", "Valid/dog/3.png"),
        "train:cat train:dog test:dog", "splits: Valid/ is held out, 1 picture",
    ),
    "validation-beside-test": Case(
        BY_SPLIT | named("val/dog/4.png"), "test:cat train:cat train:dog",
        "splits: val/ is left out, 1 picture: test/ is held out",
    ),
    "splits-in-classes": Case(
        named("cat/train/1.png", "cat/test/2.png", "dog/train/3.png"), "test:cat train:cat train:dog",
        "splits: train/ is trained on, 2 pictures",
    ),
    "splits-in-an-outer-folder": Case(
        {f"pets-v2/{name}": content for name, content in BY_SPLIT.items()}, "test:cat train:cat train:dog",
        "folders: all pictures lie below pets-v2/, which is no class", make=make_zip,
    ),
    "coco": Case(
        named("train2017/1.jpg", "train2017/2.jpg", "val2017/3.jpg", "annotations/instances.json"),
        "train train test",
        "splits: val2017/ is held out, 1 picture\nclasses: none, for neither folders nor files tell them\nlabels: ann",
    ),
    "words-beside-a-split": Case(
        named("train_images/cat/1.png", "train_images/dog/2.png", "TestSet/cat/3.png"),
        "test:cat train:cat train:dog",
        "splits: TestSet/ is held out, 1 picture",
    ),
    "a-class-with-such-a-word": Case(
        named("bullet train/1.png", "test tube/2.png"), "train:bullet train train:test tube", "classes: 2 by folders"
    ),
    "domains-of-each-split": Case(
        named("trainA/1.jpg", "trainB/2.jpg", "testA/3.jpg", "testB/4.jpg"), "test:A test:B train:A train:B",
        "splits: trainA/, trainB/ is trained on, 2 pictures",
    ),
    "a-set-in-the-names-of-its-splits": Case(
        named("cars_train/1.jpg", "cars_train/2.jpg", "cars_test/3.jpg"), "test train train",
        "splits: cars_test/ is held out, 1 picture",
    ),
    "a-set-and-its-kind-in-the-names-of-its-splits": Case(
        named("DIV2K_train_HR/1.png", "DIV2K_train_HR/2.png", "DIV2K_valid_HR/3.png"), "train train test",
        "splits: DIV2K_valid_HR/ is held out, 1 picture",
    ),
    "a-split-in-a-split": Case(
        named("seg_train/seg_train/a/1.jpg", "seg_train/seg_train/b/2.jpg", "seg_test/seg_test/a/3.jpg"),
        "test:a train:a train:b", "splits: seg_test/ is held out, 1 picture",
    ),
    "splits-of-which-labels-are-those-of-folders": Case(
        named("seg_train/a/1.jpg", "seg_train/b/2.jpg", "seg_test/a/3.jpg"), "test:a train:a train:b",
        "splits: seg_test/ is held out, 1 picture", labels="folders",
    ),
    "a-folder-beside-splits": Case(
        named("seg_train/seg_train/a/1.jpg", "seg_train/seg_train/b/2.jpg", "seg_test/seg_test/a/3.jpg")
        | named("seg_pred/seg_pred/4.jpg"),
        "test:a train:a train:b",
        "splits: seg_pred/ is left out, 1 picture: its name says neither train, test nor val; move what is wanted of",
    ),
    "market-1501": Case(
        named(*(f"Market/{folder}/2_c1.jpg" for folder in ("bounding_box_train", "bounding_box_test", "query", "gt")))
        | named("Market/bounding_box_train/0003_c1.jpg"),
        "test train train",
        "splits: gt/, query/ are left out, 2 pictures: their names say neither train, test nor val; move",
    ),
    "a-split-beside-one-that-says-more": Case(
        named("train_mini/0_Anas/1.jpg", "train_mini/1_Larus/2.jpg", "val/1_Larus/3.jpg"),
        "train:0_Anas train:1_Larus test:1_Larus", "splits: train_mini/ is trained on, 2 pictures",
    ),
    "one-folder-around-all": Case(
        named("jpg/1.jpg", "jpg/2.jpg"), "train train", "folders: all pictures lie below jpg/, which is no class"
    ),
    "one-folder-that-is-a-class": Case(
        named("cat/1.jpg", "cat/2.jpg"), "train:cat train:cat", "classes: 1 by folders: cat", labels="folders"
    ),
    "one-folder-beside-an-empty-one": Case(
        named("cat/1.jpg", "cat/2.jpg", "dog/"), "train train", "folders: without a picture, and so no class: dog"
    ),
    "images-in-each-class": Case(
        named("cat/images/1.jpg", "dog/images/2.jpg", "dog/images/3.jpg"), "train:cat train:dog train:dog",
        "folders: all pictures lie in folders images/, which are no classes",
    ),
    "yolo": Case(
        named("images/train/1.jpg", "images/train/2.jpg", "images/val/3.jpg", "labels/train/1.txt"), "train train test",
        "ignored: 1 file: 1 *.txt (labels/train/1.txt); pictures are named *.png",
    ),
    "a-folder-in-each-split": Case(
        named("train/images/1.png", "train/images/2.png", "test/images/3.png"), "test train train",
        "folders: images/ is around all pictures of a split, and no class",
    ),
    "unlabelled-test": Case(
        named("train/cat/1.png", "train/dog/2.png", "test/unknown/3.png"), "train:cat train:dog",
        "splits: test/ is left out, 1 picture: it has no labels",
    ),
    "a-class-called-train": Case(
        named("bus/1.png", "train/2.png"), "train:bus train:train", "classes: 2 by folders: bus, train",
        labels="folders",
    ),
    "folders-in-classes": Case(
        named("cat/a/1.png", "cat/b/2.png", "dog/a/3.png"), "train:cat train:cat train:dog",
        "classes: 2 by folders: cat, dog; 1 to 2 pictures of each", labels="folders",
    ),
    "numbers-as-classes": Case(
        named(*(f"{number}.png" for number in range(3))) | {"labels.csv": b"id,target\n0,10\n1,9\n2,9.0\n"},
        "train:10 train:9 train:9", "classes: 2 by labels.csv: 9, 10",
    ),
    "numbers-and-names-of-classes": Case(
        TWO | {"labels.csv": b"file,label,class_name\n1.png,0,cat\n2.png,1,dog\n"},
        "train:cat train:dog", "classes: 2 by labels.csv: cat, dog",
    ),
    "a-column-that-is-named": Case(
        TWO | {"meta.csv": SKIN}, "train:nevus train:melanoma", "classes: 2 by meta.csv:dx: melanoma, nevus",
        labels="meta.csv:dx",
    ),
    "metadata-of-the-datasets-library": Case(
        TWO | {"metadata.jsonl": b'{"file_name": "1.png", "label": 1}\n{"file_name": "2.png", "label": 0}\n'},
        "train:1 train:0", "classes: 2 by metadata.jsonl: 0, 1",
    ),
    "a-table-for-each-split": Case(
        KAGGLE | {"train.csv": b"id,label\n1,cat\n2,dog\n", "test.csv": b"id,label\n1,dog\n"},
        "test:dog train:cat train:dog", "classes: 2 by test.csv and train.csv: cat, dog",
    ),
    "a-table-for-each-split-alone": Case(
        FLAT | {"train.csv": b"file,label\n1.png,a\n2.png,b\n", "test.csv": b"file,label\n3.png,a\n"},
        "train:a train:b test:a", "splits: test by test.csv is held out, 1 picture",
    ),
    "a-table-for-each-split-of-class-folders": Case(
        named("a/1.png", "b/2.png", "a/3.png", "b/4.png")
        | {
            "train.csv": b",Filename,Label,ClassName\n0,a/1.png,0,a\n1,b/2.png,1,b\n",
            "validation.csv": b",Filename,Label,ClassName\n0,a/3.png,0,a\n",
            "test.csv": b",Filename,Label,ClassName\n0,b/4.png,1,b\n",
        },
        "train:a train:b test:b", "splits: validation by validation.csv is left out, 1 picture: test by test.csv is",
    ),
    "lists-for-each-split": Case(
        named("images/a/1.png", "images/b/2.png", "images/b/3.png")
        | {"meta/train.txt": b"a/1\nb/2\n", "meta/test.txt": b"b/3\n"},
        "train:a train:b test:b", "splits: test by meta/test.txt is held out, 1 picture",
    ),
    "a-table-without-labels-for-test": Case(
        FLAT | {"train.csv": b"id,breed\n1,a\n2,b\n", "test.csv": b"id\n3\n"}, "train:a train:b",
        "splits: test by test.csv is left out, 1 picture: it has no labels",
    ),
    "a-column-of-splits": Case(
        FLAT | {"l.csv": b"file,label,split\n1.png,a,train\n2.png,b,train\n3.png,a,val\n"}, "train:a train:b test:a",
        "splits: validation by the column split of l.csv is held out, 1 picture",
    ),
    "a-column-of-splits-alone": Case(
        FLAT | {"l.csv": b"file,split\n1.png,train\n2.png,train\n3.png,test\n"}, "train train test",
        "splits: test by the column split of l.csv is held out, 1 picture",
    ),
    "a-column-of-splits-in-another-word": Case(
        FLAT | {"l.csv": b"file,kind,phase\n1.png,a,Training\n2.png,b,Training\n3.png,b,Testing\n"},
        "train:a train:b test:b", "splits: test by the column phase of l.csv is held out, 1 picture",
    ),
    "a-column-of-yes-and-no": Case(
        FLAT | {"l.csv": b"filename,is_train\n1.png,1\n2.png,True\n3.png,0\n"}, "train train test",
        "splits: test by the column is_train of l.csv is held out, 1 picture",
    ),
    "celeba-without-labels": Case(
        CELEBA, "train train test", "splits: validation by the column partition of list_eval_partition.csv is left out",
        labels="none",
    ),
    "celeba-with-labels": Case(
        CELEBA, "train:-1 train:1 test:1",
        "splits: test by the column partition of list_eval_partition.csv is held out, 1 picture",
        labels="list_attr_celeba.csv:Male",
    ),
    "celeba-as-text": Case(
        named("img/1.jpg", "img/2.jpg", "img/3.jpg")
        | {"Eval/list_eval_partition.txt": b"1.jpg 0\n2.jpg 0\n3.jpg 2\n"},
        "train train test", "splits: test by the column partition of Eval/list_eval_partition.txt is held out",
    ),
    "celeba-s-attributes-as-text": Case(
        named("img/1.jpg", "img/2.jpg")
        | {"list_attr_celeba.txt": b"2\n5_o_Clock_Shadow Bald Male \n1.jpg -1  1 -1\n2.jpg  1  1  1\n"},
        "train:-1 train:1", "classes: 2 by list_attr_celeba.txt:Male: -1, 1", labels="list_attr_celeba.txt:Male",
    ),
    "one-hot-columns": Case(
        SCANS | {"truth.csv": b"image,MEL,NV,BCC\ns1,0.0,1.0,0.0\ns2,1.0,0.0,0.0\ns3,0.0,1.0,0.0\n"},
        "train:NV train:MEL train:NV", "classes: 2 by truth.csv: MEL, NV",
    ),
    "one-hot-columns-beside-a-measure": Case(
        SCANS | {"truth.csv": b"image,age,Healthy,Rust\ns1,31,1,0\ns2,42,0,1\ns3,7,0,1\n"},
        "train:Healthy train:Rust train:Rust", "classes: 2 by truth.csv: Healthy, Rust",
    ),
    "one-hot-columns-of-one-split": Case(
        SCANS | {"train.csv": b"id,True,False\ns1,1,0\ns3,0,1\n", "test.csv": b"id\ns2\n"},
        "train:True train:False", "splits: test by test.csv is left out, 1 picture: it has no labels",
    ),
    "numbers-of-classes-beside-measures": Case(
        SCANS | {"l.csv": b"Width,ClassId,Path\n27,7,s1.jpg\n28,5,s2.jpg\n27,7,s3.jpg\n"}, "train:7 train:5 train:7",
        "classes: 2 by l.csv: 5, 7",
    ),
    "tables-joined-by-ids": Case(
        {f"CUB/{name}": content for name, content in (BIRDS | CUB).items()},
        "train:001.Auk test:001.Auk train:002.Cat bird",
        "splits: test by CUB/train_test_split.txt is held out, 1 picture\n"
        "classes: 2 by CUB/image_class_labels.txt: 001.Auk, 002.Cat bird; 1 picture of each to train on", make=make_tar,
    ),
    "tables-joined-by-ids-without-names-of-classes": Case(
        named("a_1.jpg", "a_2.jpg", "c_1.jpg") | {name: CUB[name] for name in ("images.txt", "image_class_labels.txt")},
        "train:1 train:1 train:2", "classes: 2 by image_class_labels.txt: 1, 2",
    ),
    "a-table-against-the-folders-splits": Case(
        named("train/1.png", "train/2.png", "test/3.png")
        | {"l.csv": b"file,label,split\n1.png,a,test\n2.png,b,train\n3.png,a,validation\n"},
        "test:a train:a train:b",
        "splits: the column split of l.csv tells another split of 1 picture, such as test of train/1.png; the folders",
    ),
    "a-list-against-the-folders-splits": Case(
        named("train/1.png", "train/2.png", "test/3.png") | {"test.txt": b"2.png\n3.png\n"}, "test train train",
        "splits: test.txt tells another split of 1 picture, such as test of train/2.png; the folders count",
    ),
    "a-table-as-the-folders-splits": Case(
        KAGGLE | {"train.csv": b"id\n1\n2\n", "test.csv": b"id\n1\n"}, "test train train",
        "splits: test/ is held out, 1 picture\nclasses: none",
    ),
    "texts-beside-pictures": Case(
        named("test_1.png", "train_2.png") | {"test_1.txt": b"test_1.png\n"}, "train train",
        "ignored: 1 file: 1 *.txt (test_1.txt)",
    ),
    "very-many-tables": Case(
        PETS | {f"{number:02d}.csv": b"x,y\n1,2\n" for number in range(21)}, "train:cat train:dog",
        "labels: 00.csv is one of 21 tables, more than 20; not used",
    ),
    "folds-that-are-not-asked-for": Case(
        FLAT | {"l.csv": FOLDS}, "train:a train:b train:a",
        "splits: l.csv has 0 in its column fold; expected train, val or test; all are trained on", labels="l.csv",
    ),
    "rows-of-absent-pictures": Case(
        TWO | {"labels.csv": b"file,label\n1.png,a\n2.png,b\n3.png,c\n"}, "train:a train:b",
        "labels: 1 row of labels.csv for pictures that are not here, such as 3.png",
    ),
    "a-table-of-something-else": Case(
        PETS | {"log.csv": b"epoch,loss\n1,0.5\n2,0.4\n"}, "train:cat train:dog",
        "labels: log.csv names no picture that is here; its columns are epoch, loss; not used",
    ),
    "a-table-of-nothing": Case(
        PETS | {"labels.csv": b'""\n\n'}, "train:cat train:dog", "labels: labels.csv is empty; not used"
    ),
    "a-list-of-paths": Case(
        named("all/1.png", "all/2.png") | {"list.txt": b"/data/me/all/1.png 4\n/data/me/all/2.png 2\n"},
        "train:4 train:2", "classes: 2 by list.txt: 2, 4", labels="list.txt",
    ),
    "a-table-without-suffixes": Case(
        TWO | {"train.csv": b"id_code,diagnosis\n1,4\n2,0\n"}, "train:4 train:0", "classes: 2 by train.csv: 0, 4"
    ),
    "words-without-suffixes-in-a-column-of-any-name": Case(
        named("ab1.png", "cd2.png") | {"train.csv": b"scan,grade\nab1,4\ncd2,0\n"}, "train:4 train:0",
        "classes: 2 by train.csv: 0, 4",
    ),
    "camel-case": Case(
        TWO | {"l.csv": b"ImageId,ClassName,Source\n1,a,x\n2,b,x\n"}, "train:a train:b", "classes: 2 by l.csv: a, b"
    ),
    "unclear-columns-beside-classes": Case(
        PETS | {"meta.csv": SKIN}, "train:cat train:dog", "classes: 2 by folders", labels="folders"
    ),
    "storage-and-a-column-that-is-named": Case(
        named("part_1/1.jpg", "part_2/2.jpg") | {"meta.csv": SKIN}, "train:nevus train:melanoma",
        "classes: 2 by meta.csv:dx", labels="meta.csv:dx",
    ),
    "json-beside-pictures-that-is-chosen": Case(
        CROSSED_JSON, "train:x train:x train:x", "classes: 1 by .json files: x", labels=".json",
    ),
    "a-stray-cls": Case(
        PETS | {"paper/neurips.cls": b"\\ProvidesClass"}, "train:cat train:dog",
        "labels: paper/neurips.cls lies beside no picture of that name; not used",
    ),
    "a-stray-json": Case(
        PETS | {"cat/1.json": b"{ no json"}, "train:cat train:dog", "ignored: 1 file: 1 *.json (cat/1.json)"
    ),
    "thumbnails-of-synology": Case(
        PETS | named("cat/@eaDir/1.jpg/SYNO_THUMB.jpg", "@eaDir/1.csv"), "train:cat train:dog",
        "ignored: 2 files: 2 in @eaDir",
    ),
    "classes-in-names": Case(
        DOGS, "train train train train",
        "labels: file names seem to tell 2 classes, such as cat of cat.0.jpg; --labels names takes them",
    ),
    "classes-in-names-that-are-chosen": Case(
        {f"train/{name}": content for name, content in DOGS.items()} | named("test1/1.jpg"),
        "train:cat train:cat train:dog train:dog", "classes: 2 by the names of files: cat, dog", labels="names",
    ),
    "classes-before-numbers-however-parted": Case(
        named("American_bulldog_12.jpg", "cat (1).png", "n01440764_18.JPEG", "emu7.png"),
        "train:American_bulldog train:cat train:emu train:n01440764",
        "classes: 4 by the names of files", labels="names",
    ),
    "classes-behind-numbers": Case(
        named("0001_c3.png", "0002_c5.png", "0003-c3.png"), "train:c3 train:c5 train:c3",
        "classes: 2 by the names of files: c3, c5", labels="names",
    ),
    "names-of-frames": Case(
        named("frame_1.png", "frame_2.png", "frame_3.png"), "train train train",
        "classes: none, for neither folders nor files tell them",
    ),
    "names-of-two-cameras": Case(named("IMG_1.jpg", "DSC_2.jpg"), "train train", "classes: none"),
    "held-out-labels-in-a-list": Case(
        TINY, "train:n1 train:n2 test:n2 test:n1", "labels: val/val_annotations.txt tells those of 2 pictures that"
    ),
    "held-out-labels-of-other-classes": Case(
        TINY | {"val/val_annotations.txt": b"val_0.JPEG\tn2\nval_1.JPEG\tn3\n"}, "train:n1 train:n2",
        "splits: val/ is left out, 2 pictures: it has no labels",
    ),
    "held-out-labels-in-a-table": Case(
        named("train/a/1.png", "train/b/2.png", "test/3.png") | {"test.csv": b"file,label\n3.png,b\n"},
        "test:b train:a train:b", "labels: test.csv tells those of 1 picture that are held out",
    ),
    "lists-that-may-tell-classes": Case(
        TWO | {"identity.txt": b"1.png 2880\n2.png 2937\n", "names.txt": b"1.png\n2.png\n"}, "train train",
        "labels: identity.txt tells something of each picture; where that is its class, --labels FILE, or FILE:COLUMN,",
    ),
    "labels-in-a-form-that-is-not-read": Case(
        TWO | named("imagelabels.mat"), "train train",
        "labels: imagelabels.mat may hold some, in a form that is not read; write a CSV of file and label beside it",
    ),
    "pictures-in-a-form-that-is-not-read": Case(
        PETS | named("cat/3.HEIC", "cat/notes.txt"), "train:cat train:dog",
        "1 *.heic (cat/3.HEIC), 1 *.txt (cat/notes.txt); pictures are named *.png, *.jpg, *.jpeg, *.webp, *.bmp, "
        "*.gif, *.tif, *.tiff; cat/3.HEIC: make PNG or JPEG of it",
    ),
    "pictures-in-an-archive-beside-others": Case(
        PETS | named("emu.zip"), "train:cat train:dog",
        "; emu.zip: unpack it first, for archives in others are not opened",
    ),
    "labels-none": Case(PETS, "train train", "", labels="none"),
    "hidden-and-foreign": Case(
        TWO | named("__MACOSX/._1.png", ".DS_Store", ".cache/3.png", "readme", "scan.DCM", "../4.png"), "train train",
        "ignored: 6 files: 2 hidden (.DS_Store), 1 in __MACOSX (__MACOSX/._1.png), 1 without a suffix (readme), "
        "1 *.dcm (scan.DCM), 1 outside (../4.png); pictures are named *.png", make=make_zip,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS.values(), ids=LAYOUTS)
def test_a_layout_is_understood_and_said(tmp_path: Path, case: Case) -> None:
    layout = layout_of(case.make(tmp_path / "source", case.files), case.labels)
    assert described(layout) == case.pictures
    assert case.says in "\n".join(layout.lines)


REFUSALS = {
    "a-picture-beside-classes": (named("cat/1.png", "2.png"), "2.png lies in no folder, cat/1.png does"),
    "folders-in-folders": (
        named("a/b/1.png", "c/d/2.png"), "lies 2 folders deep: it cannot be told which is its class",
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
    "a-column-that-is-1-everywhere": (
        SCANS | {"l.csv": b"image,valid,deleted\ns1,1,0\ns2,1,0\ns3,1,0\n"}, "does not tell which of its columns",
    ),
    "ids-without-a-part": (
        BIRDS | CUB | {"train_test_split.txt": b"1 1\n2 0\n3 2\n"},
        "train_test_split.txt has 2 of 3; expected 1 of what is to train on, else 0; mend it, or give --labels",
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


def test_folders_that_are_not_there_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="has its pictures in no folders; give each the folder of its class"):
        layout_of(make_folder(tmp_path / "source", TWO), "folders")


def test_names_that_tell_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=r"has no class in the names of its files; expected such as cat\.1\.jpg or"):
        layout_of(make_folder(tmp_path / "source", FLAT), "names")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
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
