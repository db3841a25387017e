"""Files that claim more than they hold, or become more than any memory holds: each is refused with one line."""

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from PIL import Image

from ganservice.errors import DataInvalid, DigestMismatch
from ganservice.judging import Judging
from ganservice.spec import EvaluateSpec, Subject, TrainSpec
from workers.attempt.candidate import load_candidate
from workers.gan.checkpoint import decode_checkpoint, encode_checkpoint
from workers.gan.data import cifar, data_files, picture_source
from workers.gan.data.arrays import read_array, read_packed_array
from workers.gan.data.mirrors import download_archive
from workers.gan.data.pictures import read_pictures
from workers.gan.evaluation.inception import load_inception
from workers.gan.export import load_generator


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def one_line(error: BaseException) -> str:
    line = str(error)
    assert line.splitlines() == [line]
    return line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy_header((10**12,)) + b"x", "its header announces 1,000,000,000,000 bytes, 1 follow"),
        (npy_header((2**62, 2**62)), "announces"),
        (npy_header((4,)) + b"xxxxx", "its header announces 4 bytes, 5 follow"),
        (npy_header((-4,)) + b"", "1 dimensions"),
        (npy_header((1,) * 30) + b"x", "30 dimensions"),
        (npy_header((1,), "|O") + b"x", "expected up to 4, of numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, "expected a whole .npy file"),
        (b"\x93NUMPY\x01\x00\x88\x13" + b"(" * 5_000, "expected a whole .npy file"),
        (b"\x93NUMPY\x09\x00", "found version (9, 0)"),
        (b"", "expected a whole .npy file"),
        (b"PK\x03\x04", "expected a whole .npy file"),
    ],
)
def test_an_array_is_as_long_as_its_header_says(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "train-images.npy"
    path.write_bytes(data)
    with pytest.raises(DataInvalid) as caught:
        read_array(path)
    assert says in one_line(caught.value)


@pytest.mark.parametrize("array", [np.zeros((2, 1, 4, 4), np.uint8), np.zeros((0, 3), np.float32), np.arange(5)])
def test_an_array_that_says_the_truth_is_read(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", latents=array)
    for found in (read_array(tmp_path / "a.npy"), read_packed_array(tmp_path / "a.npz", "latents")):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_a_packed_array_is_not_unpacked_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.gan.data.arrays.MAX_UNPACKED_BYTES", 10_000)
    path = tmp_path / "latents.npz"
    np.savez_compressed(path, latents=np.zeros((1_000, 100), np.float32))
    with pytest.raises(DataInvalid, match="latents unpacks to more than 10,000 bytes"):
        read_packed_array(path, "latents")
    with pytest.raises(DataInvalid, match="There is no item named"):
        read_packed_array(path, "others")


def packed(data: bytes) -> bytes:
    """The same archive with every entry packed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return stream.getvalue()


def test_a_checkpoint_of_a_few_bytes_does_not_become_millions() -> None:
    bomb = packed(encode_checkpoint({"weights": torch.zeros(5_000_000)}, []))
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        with pytest.raises(DigestMismatch) as caught:
            decode_checkpoint(bomb)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert one_line(caught.value) == "the checkpoint cannot be read: ValueError"
    whole = encode_checkpoint({"weights": torch.zeros(5)}, [])
    assert decode_checkpoint(whole)[0]["weights"].tolist() == [0] * 5


def test_a_checkpoint_whose_entries_claim_more_than_the_file_is_refused() -> None:
    data = bytearray(encode_checkpoint({"weights": torch.zeros(5)}, []))
    first = data.index(b"PK\x01\x02")  # of the list of entries at the end; the length unpacked is 24 bytes in
    data[first + 20 : first + 28] = struct.pack("<II", 2**31, 2**31)
    with pytest.raises(DigestMismatch, match="cannot be read: ValueError"):
        decode_checkpoint(bytes(data))


def test_weights_of_inception_that_are_packed_are_refused(tmp_path: Path) -> None:
    path, stream = tmp_path / "inception.pth", io.BytesIO()
    torch.save({"fc.weight": torch.zeros(1_000_000)}, stream)
    path.write_bytes(packed(stream.getvalue()))
    with pytest.raises(ValueError, match="is not the weights of Inception-v3 for FID: found packed entries"):
        load_inception(path)


def safetensors(header: dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


LYING = [
    safetensors({"w": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}),
    safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
    safetensors({}, length=2**62),
    safetensors({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"1"),
    b"",
]


@pytest.mark.parametrize("data", LYING)
def test_weights_that_lie_about_their_length_are_refused(tmp_path: Path, spec: TrainSpec, data: bytes) -> None:
    path = tmp_path / "generator.safetensors"
    path.write_bytes(data)
    with pytest.raises(DigestMismatch, match="does not hold the weights of its recipe") as caught:
        load_generator(spec.recipe, path)
    one_line(caught.value)


class Objects:
    """A store that holds one object."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_checkpoint(self, key: str) -> bytes:
        del key
        return self._data


@pytest.mark.parametrize(
    ("key", "data"),
    [
        *(("weights/w.safetensors", data) for data in LYING),
        ("c.pt", encode_checkpoint({}, [])),
        ("c.pt", encode_checkpoint({"ema": {"x": torch.zeros(1)}}, [])),
        ("c.pt", encode_checkpoint({"ema": 5}, [])),
    ],
)
def test_an_evaluation_of_what_is_no_generator_ends_in_one_line(spec: TrainSpec, key: str, data: bytes) -> None:
    subject = Subject(job_id="tiny-1", images=64, checkpoint=key)
    asked = EvaluateSpec(name="e", recipe=spec.recipe, subject=subject, judging=Judging())
    store: Any = Objects(data)
    with pytest.raises(DigestMismatch) as caught:
        load_candidate(store, asked, torch.device("cpu"))
    one_line(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """A picture that claims this size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_file_of_cifar_is_not_read_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "MAX_UNPACKED_BYTES", 2 * cifar.RECORD_BYTES - 1)
    (tmp_path / "data.bin").write_bytes(gzip.compress(bytes(10 * cifar.RECORD_BYTES)))
    with pytest.raises(DataInvalid, match="unpacks to more than 6,145 bytes"):
        cifar.read_cifar_image_set("x", tmp_path, ["data.bin"], ["data.bin"], (), "here")


def test_a_member_of_a_fetched_tar_is_not_unpacked_beyond_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "MAX_UNPACKED_BYTES", 1_000)
    monkeypatch.setattr(data_files, "CHUNK_BYTES", 500)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        member = tarfile.TarInfo("data.bin")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    monkeypatch.setattr("workers.gan.data.mirrors.fetched", lambda _: iter([stream.getvalue()]))
    with pytest.raises(DataInvalid, match=r"data\.bin: unpacks to more than 1,000 bytes"):
        list(download_archive("http://mirror/x.tar.gz", ["data.bin"], tmp_path))
    assert (tmp_path / "data.bin").stat().st_size <= 1_000


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, png(4, 4))
    return path


def test_an_archive_of_more_files_than_any_set_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_source, "MAX_FILES", 3)
    path = zip_of(tmp_path / "many.zip", *(f"{number}.txt" for number in range(4)))
    with pytest.raises(DataInvalid, match="holds more than 3 files"):
        read_pictures(path, "x", 8, 1)


def test_the_name_of_a_class_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "long.zip"
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/1.png", "b" * 300 + "/2.png"):
            archive.writestr(f"set/{name}", stream.getvalue())
    with pytest.raises(DataInvalid, match="the name of a class has 300 letters, expected at most 255"):
        read_pictures(path, "x", 8, 1)
