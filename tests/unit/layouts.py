"""Layouts as people have them: what is made of each, and the line that says so."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.source_files import Files, make_folder, make_tar, make_zip, named


@dataclass(frozen=True)
class Case:
    """Files, perhaps what --labels says, and what is made of them: `split class` of each picture, in order of names."""

    files: Files
    pictures: str
    says: str
    labels: str | None = None
    make: Callable[[Path, Files], Path] = make_folder


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
AGAIN = named("train/cat/1.jpg", "train/dog/2.jpg", "test/1.jpg", "test/2.jpg")
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
    "webdataset-json-that-is-no-record": Case(
        {"1.jpg": b"", "1.json": b'{"label": "cat", "x": "' + b" " * (4 << 20) + b'"}', "2.jpg": b"", "2.json": b"{}"},
        "train train", "classes: none, for neither folders nor files tell them", make=make_tar,
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
        "splits: trainA/, trainB/ are trained on, 2 pictures",
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
        "splits: seg_pred/ is left out, 1 picture: by its name no split of what is trained on; move what",
    ),
    "market-1501": Case(
        named(*(f"Market/{folder}/2_c1.jpg" for folder in ("bounding_box_train", "bounding_box_test", "query", "gt")))
        | named("Market/bounding_box_train/0003_c1.jpg"),
        "test train train",
        "splits: gt/, query/ are left out, 2 pictures: by their names no splits of what is trained on; move",
    ),
    "a-split-beside-one-that-says-more": Case(
        named("train_mini/0_Anas/1.jpg", "train_mini/1_Larus/2.jpg", "val/1_Larus/3.jpg"),
        "train:0_Anas train:1_Larus test:1_Larus", "splits: train_mini/ is trained on, 2 pictures",
    ),
    "a-split-that-says-more-beside-others": Case(
        named("Training/a/1.jpg", "Training/b/2.jpg", "Test/a/3.jpg", "test-multiple_sizes/b/4.jpg"),
        "test:a train:a train:b",
        "splits: test-multiple_sizes/ is left out, 1 picture: by its name no split of what is trained on; move what",
    ),
    "folders-of-so-many-pictures": Case(
        named("00000/00000.png", "00000/00001.png", "01000/01000.png"), "train:00000 train:00000 train:01000",
        "labels: folders such as 00000 may only store so many pictures each, and be no classes; --labels none drops",
    ),
    "folders-of-numbers-as-classes": Case(
        named("00000/1.png", "00001/1.png"), "train:00000 train:00001", "1 picture of each to train on",
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
    "classes-in-folders-of-others": Case(
        named("Greek/character1/1.png", "Greek/character2/2.png", "Latin/character1/3.png"),
        "train:Greek/character1 train:Greek/character2 train:Latin/character1",
        "classes: 3 by the paths of folders: Greek/character1, Greek/character2, Latin/character1", labels="paths",
    ),
    "images-and-masks-that-are-chosen": Case(
        named("images/1.png", "masks/1.png"), "train:images train:masks", "classes: 2 by folders", labels="folders",
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
        "train:a train:b test:b", "splits: validation by validation.csv is left out, 1 picture: test is held out",
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
    "one-hot-columns-of-a-spreadsheet": Case(
        SCANS | {"truth.csv": b"image,MEL,NV\ns1,FALSE,TRUE\ns2,TRUE,FALSE\ns3,FALSE,TRUE\n"},
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
    "tables-joined-by-ids-with-numbers-of-classes": Case(
        named("1.jpg", "2.jpg")
        | {"images.txt": b"1 1.jpg\n2 2.jpg\n", "image_class_labels.txt": b"1 10\n2 9\n"},
        "train:10 train:9", "classes: 2 by image_class_labels.txt: 9, 10",
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
    "names-with-further-numbers": Case(
        named("0002_c1s1_000451_03.jpg", "0002_c1s1_000451_04.jpg", "7_c2_1.jpg", "7_c2_2.jpg"),
        "train train train train",
        "classes: none, for neither folders nor files tell them",
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
    "held-out-labels-in-a-list-of-two-classes-of-one-picture": Case(
        TINY | {"val/val_annotations.txt": b"val_0.JPEG\tn2\t0\nval_0.JPEG\tn1\t3\nval_1.JPEG\tn1\t5\n"},
        "train:n1 train:n2", "splits: val/ is left out, 2 pictures: it has no labels",
    ),
    "a-list-of-pictures-to-train-on-whose-names-come-again": Case(
        AGAIN | {"train.txt": b"1.jpg cat\n2.jpg dog\n"}, "train:cat train:dog",
        "splits: test/ is left out, 2 pictures: it has no labels",
    ),
    "a-list-of-pictures-of-names-that-come-twice": Case(
        AGAIN | {"labels.txt": b"1.jpg cat\n2.jpg dog\n"}, "train:cat train:dog",
        "splits: test/ is left out, 2 pictures: it has no labels",
    ),
    "a-list-in-the-folder-of-a-split": Case(
        AGAIN | {"test/labels.txt": b"1.jpg dog\n2.jpg cat\n"}, "test:dog test:cat train:cat train:dog",
        "labels: test/labels.txt tells those of 2 pictures that are held out",
    ),
    "tables-in-the-folders-of-splits": Case(
        named("train/1.png", "train/2.png", "test/1.png")
        | {"train/metadata.csv": b"file_name,label\n1.png,a\n2.png,b\n"}
        | {"test/metadata.csv": b"file_name,label\n1.png,b\n"},
        "test:b train:a train:b", "classes: 2 by test/metadata.csv and train/metadata.csv: a, b",
    ),
    "held-out-labels-in-a-table": Case(
        named("train/a/1.png", "train/b/2.png", "test/3.png") | {"test.csv": b"file,label\n3.png,b\n"},
        "test:b train:a train:b", "labels: test.csv tells those of 1 picture that are held out",
    ),
    "lists-that-may-tell-classes": Case(
        TWO | {"identity.txt": b"1.png 2880\n2.png 2937\n", "names.txt": b"1.png\n2.png\n"}, "train train",
        "labels: identity.txt tells something of each picture; where that is its class, --labels FILE, or FILE:COLUMN,",
    ),
    "boxes-of-objects": Case(
        TWO | {"labels/1.txt": b"1 0.5 0.5 1 1\n1 0.2 0.5 1 1\n", "labels/2.txt": b"1 0.5 0.5 1 1\n"}, "train train",
        "classes: none, for neither folders nor files tell them\nignored",
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
