import errno
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganservice import manifest
from ganservice.errors import DataInvalid, RequestError
from ganservice.manifest import digests_of_files, identity
from tests.unit.picture_files import of_values, packed, png_of_16_bits
from workers.gan.data import decoder_pool, importing
from workers.gan.data.decoder_pool import decode_batch
from workers.gan.data.decoding import Range, Target
from workers.gan.data.image_files import ImageFiles
from workers.gan.data.import_options import Options
from workers.gan.data.importing import import_pictures
from workers.gan.data.layout import Layout, PictureFile
from workers.gan.data.picture_source import PictureSource

# Of what `oblong` draws, imported by the version before pictures were written as they are read.
OLD_DIGEST = "c374dcf05aa826c0e923d321b78d06d0238deecf70a27fd87a1b8f8eb05e8a6b"
ONE = "1 of 3 pictures"
WHOLE = "--fit pad or stretch keeps the whole, and so does --size WIDTHxHEIGHT of their proportions"
IN_PART = "are transparent in part, such as 2.png"
TWELVE_BITS = np.arange(4096, dtype=np.uint16).reshape(64, 64)


class Files(PictureSource):
    """Files in memory, which counts how often each is read, and may have enough of it after some."""

    def __init__(self, files: Mapping[str, bytes], most_reads: int | None = None) -> None:
        super().__init__(Path("files"))
        self._files, self._most_reads = files, most_reads
        self.reads: list[str] = []

    def names(self) -> Sequence[str]:
        return list(self._files)

    def folders(self) -> Sequence[str]:
        return []

    def read(self, name: str) -> bytes:
        if len(self.reads) == self._most_reads:
            raise KeyboardInterrupt
        self.reads.append(name)
        return self._files[name]


def layout_of(names: Sequence[str], classes: tuple[str, ...] = ()) -> Layout:
    """Pictures named test/... are held out; the name's last folder is a class, where there are any."""
    return Layout(
        [
            PictureFile(
                name,
                "test" if name.startswith("test/") else "train",
                classes.index(name.split("/")[-2]) if classes else None,
            )
            for name in sorted(names)
        ],
        classes,
        [],
    )


def oblong() -> dict[str, bytes]:
    files = {}
    for number in range(12):
        height, width = (9 + number, 8) if number % 2 else (8, 8 + number)
        y, x = np.mgrid[:height, :width]
        planes = [(x * y * number) % 256, (x * 31 + number) % 256, (y * 17 * number) % 256]
        files[f"{'cat' if number % 3 else 'dog'}/{number * 7 % 12:02}.png"] = of_values(
            np.stack(planes, axis=-1).astype(np.uint8)
        )
    return files


def grey(*values: int) -> dict[str, bytes]:
    """Pictures of one grey each, named by their numbers."""
    return {f"{number:03}.png": plain(value) for number, value in enumerate(values)}


def plain(value: int) -> bytes:
    return packed(Image.new("L", (8, 8), value))


def levels(images: ImageFiles, split: str = "train") -> list[int]:
    """The upper left value of each image of a split, wherever it lies."""
    paths = [path for name, path in sorted(images.files.items()) if name.startswith(f"{split}-images")]
    return [int(value) for path in paths for value in np.load(path)[:, 0, 0, 0]]


def imported(
    files: Mapping[str, bytes] | Files,
    folder: Path,
    *,
    size: int = 8,
    classes: tuple[str, ...] = (),
    value_range: Range | None = None,
    channels: Any = None,
    said: list[str] | None = None,
    **options: Any,
) -> ImageFiles:
    source = files if isinstance(files, Files) else Files(files)
    folder.mkdir(exist_ok=True)
    target = Target(size, channels, value_range)
    said = [] if said is None else said
    return import_pictures(source, layout_of(source.names(), classes), Options(target, **options), folder, said.append)


def digest(images: ImageFiles) -> str:
    return identity(digests_of_files(images.files))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes begin for a few pictures, of which a batch has fewer."""
    monkeypatch.setattr(importing, "FEW_FILES", 1)
    monkeypatch.setattr(importing, "BATCH_FILES", 2)


@pytest.mark.usefixtures("few")
def test_a_set_that_was_imported_before_keeps_its_digest_in_however_many_processes(tmp_path: Path) -> None:
    files = dict(sorted(oblong().items(), reverse=True))
    for processes in (1, 2):
        images = imported(files, tmp_path / str(processes), classes=("cat", "dog"), processes=processes)
        assert digest(images) == OLD_DIGEST
        assert images.class_counts == {"train": {"cat": 8, "dog": 4}}


def test_splits_and_labels_go_into_files_of_their_own(tmp_path: Path) -> None:
    files = {f"{split}/{name}/1.png": plain(value) for split, name, value in
             (("test", "b", 4), ("test", "a", 3), ("train", "b", 2), ("train", "a", 1))}  # fmt: skip
    images = imported(files, tmp_path, classes=("a", "b"))
    assert (levels(images), levels(images, "test")) == ([1, 2], [3, 4])
    assert np.load(images.files["test-labels.npy"]).tolist() == [0, 1]
    assert images.counts == {"train": 2, "test": 2}
    assert images.class_counts == {"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}}


def test_an_import_that_was_interrupted_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_FILES", 2)
    files, said = oblong(), list[str]()
    with pytest.raises(KeyboardInterrupt):
        imported(Files(files, most_reads=7), tmp_path, classes=("cat", "dog"))
    source = Files(files)
    assert digest(imported(source, tmp_path, classes=("cat", "dog"), said=said)) == OLD_DIGEST
    assert source.reads == list(files)[6:]
    assert said[0] == "goes on: 6 of 12 pictures are decoded already, by an import that did not end"


def test_an_import_that_was_not_stored_yet_decodes_nothing_again(tmp_path: Path) -> None:
    said = list[str]()
    first = imported(grey(1, 2, 2), tmp_path)
    source = Files(grey(1, 2, 2))
    assert imported(source, tmp_path, said=said) == first
    assert source.reads == []
    assert said[0] == "goes on: all pictures are decoded already, by an import that did not end"
    assert "duplicates: 1 of 3" in said[1]


def test_other_pictures_to_skip_are_skipped_without_decoding_the_rest_again(tmp_path: Path) -> None:
    assert levels(imported(grey(1, 2, 2, 3), tmp_path)) == [1, 2, 2, 3]
    source = Files(grey(1, 2, 2, 3))
    assert levels(imported(source, tmp_path, skip_duplicates=True)) == [1, 2, 3]
    assert source.reads == []
    assert levels(imported(grey(1, 2, 2, 3), tmp_path)) == [1, 2, 2, 3]


def test_rows_that_a_machine_lost_are_decoded_again(tmp_path: Path) -> None:
    values = range(1, 6)
    with pytest.raises(KeyboardInterrupt):
        imported(Files(grey(*values, 9), most_reads=5), tmp_path, processes=1, size=8)
    images = imported(Files(grey(*values, 9)), tmp_path)
    assert levels(images) == [*values, 9]
    (tmp_path / "finished.json").unlink()
    with images.files["train-images.npy"].open("r+b") as file:
        file.seek(-64 * 3, os.SEEK_END)
        file.write(bytes(64))
    source = Files(grey(*values, 9))
    assert levels(imported(source, tmp_path)) == [*values, 9]
    assert source.reads == ["003.png"]


def test_pictures_that_are_left_out_leave_no_hole(tmp_path: Path) -> None:
    files = {"a/1.png": plain(1), "a/2.png": b"no picture", "b/3.png": plain(3), "a/4.png": plain(4)}
    said = list[str]()
    images = imported(files, tmp_path, classes=("a", "b"), skip_unreadable=True, said=said)
    assert levels(images) == [1, 4, 3]
    assert np.load(images.files["train-labels.npy"]).tolist() == [0, 0, 1]
    assert images.left_out == {"cannot be read": 1}
    assert [line[:27] for line in said] == ["left out: files: a/2.png: n"]
    again = list[str]()
    assert imported(files, tmp_path, classes=("a", "b"), skip_unreadable=True, said=again) == images
    assert again[1:] == said
    del files["a/2.png"]
    assert digest(imported(files, tmp_path / "whole", classes=("a", "b"))) == digest(images)


def test_a_picture_that_cannot_be_read_ends_an_import_which_may_then_go_on_without_it(tmp_path: Path) -> None:
    files = grey(1, 2, 3) | {"002.png": b"no picture"}
    with pytest.raises(DataInvalid, match=r"^files: 002\.png: not a PNG.*; --skip-unreadable leaves such out$"):
        imported(files, tmp_path)
    source = Files(files)
    assert levels(imported(source, tmp_path, skip_unreadable=True)) == [1, 2]
    assert source.reads == ["002.png"]


def test_a_split_of_which_nothing_is_left_is_left_out(tmp_path: Path) -> None:
    files = {"train/1.png": plain(1), "train/2.png": plain(2), "test/1.png": b"no picture"}
    images = imported(files, tmp_path, skip_unreadable=True)
    assert list(images.files) == ["train-images.npy"]
    files["train/2.png"] = b"no picture"
    with pytest.raises(DataInvalid, match="pictures to train on: 1; expected at least 2 that can be read"):
        imported(files, tmp_path / "fewer", skip_unreadable=True)


def test_large_splits_lie_in_shards_also_after_some_rows_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "SHARD_BYTES", 3 * 64)
    images = imported(grey(*range(1, 9)), tmp_path / "all")
    assert {name: len(np.load(path)) for name, path in images.files.items()} == {
        "train-images-00000.npy": 3, "train-images-00001.npy": 3, "train-images-00002.npy": 2
    }  # fmt: skip
    assert levels(images) == list(range(1, 9))
    fewer = imported(grey(1, 1, 2, 1, 3, 1, 4, 2), tmp_path / "fewer", skip_duplicates=True)
    assert {name: len(np.load(path)) for name, path in fewer.files.items()} == {
        "train-images-00000.npy": 3, "train-images-00001.npy": 1
    }  # fmt: skip
    assert levels(fewer) == [1, 2, 3, 4]
    one = imported(grey(1, 1, 2, 1, 3, 1, 3, 2), tmp_path / "one", skip_duplicates=True)
    assert list(one.files) == ["train-images.npy"]
    assert levels(one) == [1, 2, 3]


def test_the_same_pictures_twice_are_counted_and_those_held_out_told_loudly(tmp_path: Path) -> None:
    files = {
        "train/a/1.png": plain(1), "train/a/2.png": plain(1), "train/b/1.png": plain(2),
        "test/a/1.png": plain(3), "test/b/1.png": plain(1), "test/b/2.png": plain(2),
    }  # fmt: skip
    said = list[str]()
    images = imported(files, tmp_path / "all", classes=("a", "b"), said=said)
    assert said == [
        (
            "duplicates: 3 of 6 pictures are the same as one before, pixel for pixel, such as train/a/2.png and "
            "train/a/1.png; --skip-duplicates leaves them out"
        ),
        "duplicates: 1 are of another class than the first, such as test/b/1.png and train/a/1.png",
        (
            "duplicates: WARNING: 2 of 3 pictures that are held out are also trained on, such as test/b/1.png and "
            "train/a/1.png: what is measured on them tells nothing of pictures never seen"
        ),
    ]
    assert images.duplicates == 3
    fewer = imported(files, tmp_path / "fewer", classes=("a", "b"), skip_duplicates=True, said=(said := []))
    assert (levels(fewer), levels(fewer, "test")) == ([1, 2], [3])
    assert np.load(fewer.files["train-labels.npy"]).tolist() == [0, 1]
    assert (fewer.left_out, fewer.duplicates) == ({"same as another": 3}, 0)
    assert said[0].endswith("; they are left out")


def test_deep_pictures_are_scaled_by_the_smallest_and_largest_value_of_all(tmp_path: Path) -> None:
    files = {
        "train/1.png": of_values(TWELVE_BITS // 2), "train/2.tif": of_values(TWELVE_BITS[::-1], "TIFF"),
        "train/3.png": packed(Image.new("L", (64, 64), 7)), "test/1.png": of_values(TWELVE_BITS + np.uint16(4096)),
    }  # fmt: skip
    said = list[str]()
    images = imported(files, tmp_path, size=64, said=said)
    train, test = (np.load(images.files[f"{split}-images.npy"])[:, 0] for split in ("train", "test"))
    np.testing.assert_array_equal(train[1], np.rint(TWELVE_BITS[::-1] / 8191 * 255))
    np.testing.assert_array_equal(test[0], np.rint((TWELVE_BITS + 4096.0) / 8191 * 255))
    assert (train[2] == 7).all()
    assert said == [
        (
            "values: 3 of 4 pictures have more than 8 bits, reduced to 256 greys: the smallest of all, 0, has become "
            "0, the largest, 8191, 255; where what matters lies closer together, --range LOW HIGH gives all greys to "
            "that"
        )
    ]
    assert images.value_range == (0, 8191)


def test_a_range_is_taken_as_given_and_what_is_beyond_is_told(tmp_path: Path) -> None:
    said = list[str]()
    files = {"1.png": of_values(TWELVE_BITS), "2.png": of_values(np.full((64, 64), 100, np.uint16))}
    images = imported(files, tmp_path, size=64, value_range=Range(0, 1000), said=said)
    assert len(np.unique(np.load(images.files["train-images.npy"]))) == 256
    assert said == [
        (
            "values: 2 of 2 pictures have more than 8 bits, reduced to 256 greys, from 0 to 4095: 0 has become 0 and "
            "1000 255; what is "
            "beyond, in 1 of them, has become the same"
        )
    ]
    imported(grey(1, 2), tmp_path / "plain", value_range=Range(0, 1000), said=said)
    assert said[-1] == "values: no picture is grey with more than 8 bits: --range has changed nothing"


def test_dark_colour_of_16_bits_is_told(tmp_path: Path) -> None:
    said = list[str]()
    content = png_of_16_bits(np.full((8, 8, 3), 4095, np.uint16))
    imported({"1.png": content, "2.png": of_values(np.zeros((8, 8, 3), np.uint8))}, tmp_path, said=said)
    assert said == [
        (
            "values: 1 of 2 pictures are in colour with 16 bits, such as 1.png: of each value the upper 8 are taken, "
            "15 of 255 at most; that is dark: make pictures of 8 bits of them"
        )
    ]


def test_deep_pictures_have_one_range_also_when_one_is_read_only_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_FILES", 1)
    files = {f"{number}.png": of_values(np.full((8, 8), number * 100, np.uint16)) for number in range(1, 5)}
    whole, said = imported(files, tmp_path / "whole"), list[str]()
    for most_reads in range(7):
        folder = tmp_path / str(most_reads)
        with pytest.raises(KeyboardInterrupt):
            imported(Files(files | {"4.png": b"locked"}, most_reads), folder, skip_unreadable=True)
        images = imported(files, folder, skip_unreadable=True, said=said)
        assert (levels(images), images.value_range) == (levels(whole), (100, 400))
    assert [line for line in said if "anew" in line] == [
        f"goes on: {count} pictures of more than 8 bits are decoded anew: they were scaled by other values than 100 to "
        "400, the smallest and the largest of all"
        for count in (1, 2)
    ]


def test_the_range_of_a_set_is_the_one_its_pictures_were_scaled_by(tmp_path: Path) -> None:
    files = {f"{number}.png": of_values(np.full((8, 8), number * 100, np.uint16)) for number in range(1, 4)}

    class Fading(Files):
        def read(self, name: str) -> bytes:
            return b"locked" if name == "3.png" and name in self.reads else super().read(name)

    images = imported(Fading(files), tmp_path, skip_unreadable=True)
    assert (levels(images), images.value_range) == ([0, 128], (100, 300))


def test_the_disk_holds_all_files_of_a_finished_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = set[str](), os.fsync

    def note(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    images = imported({"a/1.png": plain(1), "b/1.png": plain(2)}, tmp_path, classes=("a", "b"))
    assert synced == set(images.files) == {"train-images.npy", "train-labels.npy"}


def test_an_import_goes_on_where_its_machine_has_lost_that_it_was_finished(tmp_path: Path) -> None:
    images = imported(grey(1, 2), tmp_path)
    (tmp_path / "finished.json").write_bytes(b"")
    assert imported(grey(1, 2), tmp_path) == images


def test_an_import_of_deep_pictures_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_FILES", 1)
    files = {f"{number}.png": of_values(TWELVE_BITS // number) for number in range(1, 4)}
    whole = imported(files, tmp_path / "whole", size=64)
    for most_reads in range(6):
        folder = tmp_path / str(most_reads)
        with pytest.raises(KeyboardInterrupt):
            imported(Files(files, most_reads), folder, size=64)
        source = Files(files)
        assert digest(imported(source, folder, size=64)) == digest(whole)
        assert len(source.reads) == 6 - most_reads


def test_what_becomes_of_shapes_and_alpha_is_told(tmp_path: Path) -> None:
    said = list[str]()
    files = {
        "1.png": packed(Image.new("RGB", (9, 8), "red")), "2.png": packed(Image.new("RGBA", (4, 4))),
        "3.png": packed(Image.new("RGB", (8, 8), "blue")),
    }  # fmt: skip
    imported(files, tmp_path, said=said)
    assert said == [
        f"shapes: {ONE} are no squares, such as 1.png: of each the centre is taken; {WHOLE}",
        f"alpha: {ONE} {IN_PART}: they are laid on white; --channels 4 keeps alpha",
        f"sizes: {ONE} are smaller than 8 px, such as 2.png: they are enlarged",
    ]


@pytest.mark.parametrize(
    ("wishes", "lines"),
    [
        (
            {"fit": "pad", "ground": "black"},
            [
                "shapes: 2 of 3 pictures are no squares, such as 1.png: around each lies black",
                f"alpha: {ONE} {IN_PART}: they are laid on black; --channels 4 keeps alpha",
            ],
        ),
        (
            {"channels": 4, "fit": "pad"},
            [
                "shapes: 2 of 3 pictures are no squares, such as 1.png: around each lies nothing, transparent",
                f"alpha: {ONE} {IN_PART}: their alpha is kept",
            ],
        ),
        (
            {"size": "9x8", "fit": "stretch", "channels": 1},
            [
                f"shapes: {ONE} are of other proportions than 9 wide and 8 high, such as 2.png: they are stretched",
                f"alpha: {ONE} {IN_PART}: they are laid on white; --channels 4 keeps alpha",
                f"sizes: {ONE} are smaller than 9x8 px, such as 2.png: they are enlarged",
            ],
        ),
    ],
    ids=["pad", "alpha", "oblong"],
)
def test_what_was_wished_of_shapes_and_alpha_is_done_and_told(
    tmp_path: Path, wishes: dict[str, Any], lines: list[str]
) -> None:
    said, target = list[str](), Target(**{"size": 8} | wishes)
    files = {
        "1.png": packed(Image.new("RGB", (9, 8), "red")), "2.png": packed(Image.new("RGBA", (8, 8))),
        "3.png": packed(Image.new("RGB", (18, 16), "green")),
    }  # fmt: skip
    images = import_pictures(Files(files), layout_of(list(files)), Options(target), tmp_path, said.append)
    assert said == lines
    assert images.shape == (wishes.get("channels", 3), 8, target.sides.width)


def test_an_alpha_that_nothing_has_is_told(tmp_path: Path) -> None:
    said = list[str]()
    imported(oblong(), tmp_path, channels=4, said=said)
    assert "alpha: no picture is transparent: --channels 4 has only given each an alpha that says nothing" in said


def test_mixed_channels_are_refused_by_name_also_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_FILES", 1)
    files = {"a.png": packed(Image.new("RGB", (8, 8))), "b.png": plain(1)}
    for _ in range(2):
        with pytest.raises(
            DataInvalid, match=r"^files: mixed channels: b\.png is grey, a\.png has colours or a palette; "
        ):
            imported(files, tmp_path)
    assert imported(files, tmp_path / "rgb", channels=3).shape == (3, 8, 8)


def test_how_far_it_is_is_told(tmp_path: Path) -> None:
    files = {f"{number}.png": of_values(TWELVE_BITS // number) for number in range(1, 4)} | {"z.png": plain(1)}
    told: list[tuple[int, int]] = []
    import_pictures(
        Files(files), layout_of(list(files)), Options(Target(8)), tmp_path, proceed=lambda *counts: told.append(counts)
    )
    assert told[-1] == (7, 7)
    assert [done for done, _ in told] == list(range(1, 8))


def decode_interrupted(batch: decoder_pool.Batch, target: Target) -> list[decoder_pool.DecodedPicture]:
    os.kill(os.getpid(), signal.SIGINT)
    return decode_batch(batch, target)


def test_ctrl_c_ends_none_of_the_processes_whenever_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importing, "FEW_FILES", 1)
    monkeypatch.setattr(decoder_pool, "decode_batch", decode_interrupted)
    assert levels(imported(grey(1, 2, 3), tmp_path, processes=2)) == [1, 2, 3]
    assert capfd.readouterr() == ("", "")
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def fail(*_: Any, **__: Any) -> None:
    raise LookupError("of ours")


def test_what_fails_in_a_process_for_want_of_care_fails_here_and_tells_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "FEW_FILES", 1)
    monkeypatch.setattr(decoder_pool, "decode_batch", fail)
    with pytest.raises(LookupError, match="of ours") as raised:
        imported(grey(1, 2, 3), tmp_path, processes=2)
    assert "in fail" in raised.value.__notes__[0]


def crash(*_: Any, **__: Any) -> None:
    os._exit(1)


def test_a_process_that_dies_is_told_with_the_picture_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "FEW_FILES", 1)
    monkeypatch.setattr(decoder_pool, "decode_batch", crash)
    with pytest.raises(RequestError, match=r"^files: 000\.png: a process that decodes pictures has ended"):
        imported(grey(1, 2, 3), tmp_path, processes=2)


def test_a_process_that_died_before_it_was_given_the_next_pictures_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(importing, "FEW_FILES", 1)
    monkeypatch.setattr(Connection, "send", send)
    with pytest.raises(RequestError, match=r"^files: 000\.png: a process that decodes pictures has ended"):
        imported(grey(1, 2, 3), tmp_path, processes=2)


def test_what_libtiff_thinks_of_a_damaged_file_is_not_written_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = packed(Image.effect_noise((64, 64), 50), "TIFF", compression="tiff_lzw")
    damaged = whole[:300] + b"\xff" * 200 + whole[500:]
    with pytest.raises(DataInvalid, match=r"2\.png: cannot be read"):
        imported({"1.tif": whole, "2.png": damaged}, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_disk_without_room_says_so_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fallocate(_: int, __: int, length: int) -> None:
        if length > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    source = Files(grey(*range(200)))
    with pytest.raises(OSError, match="No space left"):
        imported(source, tmp_path)
    assert len(source.reads) <= importing.BATCH_FILES
