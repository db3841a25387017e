"""Files as strangers make them: pictures that unpack to anything, archives whose names lead out."""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import pyarrow
from hypothesis import strategies as st
from PIL import Image
from pyarrow.parquet import write_table

from tests.hostile.draw import damaged_bytes
from tests.strangers_text import HOSTILE

# Nothing that hostile inputs lead to may be there: what a pickle in them writes, and where names in archives point to.
OWNED, ESCAPED = "/tmp/hostile-owned", "/tmp/hostile-canary.png"  # noqa: S108 # looked for, and never read
OUTSIDE = (
    "../../canary/bird.png", ESCAPED, "a/../../../canary/b.png", "..\\..\\canary.png", "./.x/a.png",
    "\x1b[2J/a.png", "a\nb/c.png", "con/aux.png", "\u202egnp.exe.png", "x" * 300 + "/a.png", "a/" * 200 + "b.png",
    "//a.png", "a/\x00.png", "\udcff/a.png", *(f"{text}/a.png" for text in HOSTILE[:8]), "a/b.png", "b/c.jpg",
)  # fmt: skip


def png(width: int = 8, height: int = 8, mode: str = "L", form: str = "PNG") -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new(mode, (width, height), 128 if mode in ("L", "1", "P") else None).save(stream, form)
    return stream.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int, packed_rows: int) -> bytes:
    """A PNG that says it has so many pixels, of which only some rows are there, packed to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (min(width, 2**24) + 1)
    data = b"".join(packer.compress(row) for _ in range(packed_rows)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG with a text that unpacks to 100 MB."""
    whole = png()
    text = b"k\0\0" + zlib.compress(b"\0" * 100_000_000)
    return whole[:33] + _chunk(b"zTXt", text) + whole[33:]


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than it has."""
    data = bytearray(png(16, 16, "RGB", "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_frames(count: int) -> bytes:
    """A GIF of many frames."""
    stream = io.BytesIO()
    frames = [Image.new("L", (8, 8), number % 256) for number in range(count)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of 400 million pixels": lambda: png_bomb(20_000, 20_000, 3_000),
    "png of 2^31 pixels": lambda: png_bomb(2**31 - 1, 1, 1),
    "png wide as can be": lambda: png_bomb(2**31 - 1, 2**31 - 1, 0),
    "png of no pixels": lambda: png_bomb(0, 0, 0),
    "png just below the limit": lambda: png_bomb(9_000, 9_000, 9_000),
    "png with a packed text": text_bomb,
    "jpeg of 65,500 px": lambda: jpeg_header(65_500, 65_500),
    "jpeg of no px": lambda: jpeg_header(0, 16),
    "gif of 500 frames": lambda: gif_frames(500),
    "nothing": lambda: b"",
    "html": lambda: b"<script>alert(1)</script>",
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "good": png,
    "a palette": lambda: png(8, 8, "P"),
    "16 bits": lambda: png(8, 8, "I;16"),
}


@cache
def bomb(name: str) -> bytes:
    """One of the bombs, made once."""
    return BOMBS[name]()


bombs = st.sampled_from(list(BOMBS))
pictures = bombs.map(bomb) | damaged_bytes(png(16, 16, "RGB")) | damaged_bytes(png(16, 16, "RGB", "JPEG")) | st.builds(
    png, st.integers(1, 64), st.integers(1, 64), st.sampled_from(["L", "RGB", "RGBA", "1", "P"])
)  # fmt: skip
names = st.sampled_from(OUTSIDE)
SOUND = [("a/1.png", png(9, 9)), ("a/2.png", png(9, 9))]
# What is read as labels, damaged, or deeper, wider and larger than anything that is one.
LABELS = (
    b'{"labels": [["a/1.png", 0], ["a/2.png", 1]]}', b"file,label\na/1.png,x\na/2.png,y\n", b'{"label": 3}', b"7",
    b"[" * 100_000, b"," * 100_000, b'{"labels": [["a/1.png", ' + b"9" * 4_000 + b"]]}",
    b"file,label\na/1.png,\x1b[2J\na/2.png,\xff\n",
)  # fmt: skip
label_files = st.tuples(
    st.sampled_from(["dataset.json", "a/dataset.json", "labels.csv", "a/1.cls", "a/1.json", "metadata.jsonl", "l.tsv"]),
    st.sampled_from(LABELS) | st.sampled_from(LABELS[:4]).flatmap(damaged_bytes),
)
# Beside two that are sound, without which whatever it is would be too few.
contents = st.builds(
    lambda sound, hostile: sound + hostile,
    st.sampled_from([SOUND, SOUND, []]),
    st.lists(st.tuples(names, pictures) | label_files, min_size=1, max_size=3),
)


def zipped(files: list[tuple[str, bytes]], way: str) -> bytes:
    """A zip of files, with what a way of lying does to it."""
    if way in ("bomb", "many"):
        return _large_zip(way)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of two members of one name, which is what may be hostile
        for name, data in files:
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode()[:60_000] or "x")
            info.compress_type = zipfile.ZIP_DEFLATED
            if way == "links":
                info.external_attr = 0o120777 << 16
            archive.writestr(info, b"../../canary/bird" if way == "links" else data)
    found = bytearray(stream.getvalue())
    if way in LIES:
        offset, lie = LIES[way]
        for at in _entries(found):
            found[at + offset : at + offset + len(lie)] = lie
    return bytes(found)


@cache
def _large_zip(way: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if way == "bomb":
            with archive.open("a/big.png", "w", force_zip64=True) as big:
                for _ in range(600):
                    big.write(bytes(2**20))
        else:
            for number in range(30_000):
                archive.writestr(f"a/{number}.txt", b"")
    return stream.getvalue()


# What the list at a zip's end says of each member in another way than it is, and where in its entry that stands.
LIES = {
    "lying sizes": (20, struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)),
    "encrypted": (8, b"\x01"),
    "odd method": (10, struct.pack("<H", 97)),
    "bytes in names": (46, b"\xff"),
    "overlap": (42, struct.pack("<I", 0)),
}


def _entries(data: bytearray) -> list[int]:
    found, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        found.append(at)
        at = data.find(b"PK\x01\x02", at + 1)
    return found


def tarred(files: list[tuple[str, bytes]], way: str) -> bytes:
    """A tar of files, with what a way of lying does to it."""
    if way == "bomb":
        return _large_tar()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if way == "links":
                info.type, info.linkname, info.size = tarfile.SYMTYPE, "../../canary/bird", 0
            if way == "hard links":
                info.type, info.linkname, info.size = tarfile.LNKTYPE, "/etc/passwd", 0
            if way == "devices":
                info.type, info.size = tarfile.CHRTYPE, 0
            archive.addfile(info, io.BytesIO(data) if info.size else None)
        if way == "lying sizes":
            info = tarfile.TarInfo("a/3.png")
            info.size = 2**40
            stream.write(info.tobuf(tarfile.GNU_FORMAT) + png())
    return gzip.compress(stream.getvalue()) if way == "packed" else stream.getvalue()


@cache
def _large_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("a/big.png")
        info.size = 600 * 2**20
        archive.addfile(info, _Zeros(info.size))
    return stream.getvalue()


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Some of the zeros."""
        count = min(self._left, size if size >= 0 else self._left)
        self._left -= count
        return bytes(count)


def parquet(files: list[tuple[str, bytes]], label: str) -> bytes:
    """A table in the layout of the `datasets` library, of files and a column of labels."""
    names = [name.encode("utf-8", "replace").decode() for name, _ in files]
    pictures = [{"bytes": data, "path": name} for name, (_, data) in zip(names, files, strict=True)]
    stream = io.BytesIO()
    write_table(pyarrow.table({"image": pictures, label: names}), stream)
    return stream.getvalue()


ZIP_WAYS = ("plain", "links", "bomb", "many", *LIES)
TAR_WAYS = ("plain", "packed", "links", "hard links", "devices", "bomb", "lying sizes")


@st.composite
def archives(draw: st.DrawFn) -> tuple[str, bytes]:
    """The ending and the bytes of an archive."""
    files, ending = draw(contents), draw(st.sampled_from(["zip", "tar", "parquet"]))
    match ending:
        case "zip":
            data = zipped(files, draw(st.sampled_from(ZIP_WAYS)))
        case "tar":
            data = tarred(files, draw(st.sampled_from(TAR_WAYS)))
        case _:
            data = parquet(files, draw(st.sampled_from(["label", "labels", "image", "\x1b[2J"])))
    return ending, draw(damaged_bytes(data)) if draw(st.integers(0, 3)) == 0 else data
