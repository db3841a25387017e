"""Data folders and archives, and arrays, as `data import`, `data get` and the commands on generators read them."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hypothesis import strategies as st

from tests.hostile.families.arrays import idx_files, npy_files, npz_files
from tests.hostile.families.files import contents
from tests.hostile.ground import Ground
from workers.gan.data.arrays import read_array
from workers.gan.data.idx import read_idx

IDX_NAMES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
)  # fmt: skip
STORED_NAME = "mallorys"

folders = st.tuples(contents, st.sampled_from(["plain", "links", "fifo", "loop", "unreadable"]))
idx_folders = st.tuples(*[idx_files] * 4)
arrays = npy_files | npz_files


def feed_archive(ground: Ground, value: tuple[str, bytes]) -> None:
    """Import an archive, once in each way."""
    ending, data = value
    with ground.file(f"pictures.{ending}", data) as path:
        _import(ground, path)


def feed_folder(ground: Ground, value: tuple[list[tuple[str, bytes]], str]) -> None:
    """Import a folder."""
    files, way = value
    with _folder(ground, files, way) as folder:
        _import(ground, folder)


def _import(ground: Ground, path: Path) -> None:
    shaped = ["--channels", "4", "--size", "12x8", "--fit", "pad"]
    for options in ([], ["--skip-unreadable", "--channels", "1"], ["--skip-unreadable", *shaped]):
        given = ground.ganctl("data", "import", str(path), "--name", STORED_NAME, "--size", "8", *options)
        if not given.is_refused:
            ground.look([["data", "list"], ["data", "list", "-o", "json"]])
            ground.ganctl("data", "delete", STORED_NAME, "--yes", refused=False)


@contextlib.contextmanager
def _folder(ground: Ground, files: list[tuple[str, bytes]], way: str) -> Iterator[Path]:
    """A folder with the files, as far as a file system takes their names."""
    folder = ground.service.folder / "inputs" / "pictures"
    folder.mkdir(parents=True)
    try:
        for number, (name, data) in enumerate(files):
            with contextlib.suppress(OSError, ValueError):
                path = folder / name.replace("..", "__").strip("/")[:4_000]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            path = folder / f"x{number}.png"
            if way == "links":
                path.symlink_to(ground.service.canary / "bird")
            elif way == "fifo":
                os.mkfifo(path)
            elif way == "loop":
                path.symlink_to(folder, target_is_directory=True)
            elif way == "unreadable":
                path.write_bytes(data)
                path.chmod(0)
        yield folder
    finally:
        shutil.rmtree(folder)


def feed_idx(ground: Ground, value: tuple[bytes, ...]) -> None:
    """Bring a known data set from a folder with files that are others, and read each as itself."""
    folder = ground.service.folder / "inputs" / "idx"
    folder.mkdir(parents=True)
    try:
        for name, data in zip(IDX_NAMES, value, strict=True):
            (folder / name).write_bytes(data)
        for name in ("fashion-mnist", "stacked-mnist"):
            ground.ganctl("data", "get", name, "--from", str(folder), refused=True)
        for name in IDX_NAMES:
            with ground.refusal(f"read_idx of {name}"):
                read_idx(folder / name)
    finally:
        shutil.rmtree(folder)


def feed_array(ground: Ground, data: bytes) -> None:
    """Draw pictures of latents that a stranger sent."""
    with ground.file("latents.npy", data) as path:
        ground.ganctl("sample", str(ground.service.folder / "bundle"), "--latents", str(path), "--into", "out.png")
        ground.ganctl("interpolate", str(ground.service.folder / "bundle"), "--latents", str(path), "--into", "out.png")
        with ground.refusal("read_array"):
            read_array(path)


def feed_known(ground: Ground, value: tuple[str, bytes]) -> None:
    """Complete and recover the pictures of an archive by a generator."""
    ending, data = value
    bundle = str(ground.service.folder / "bundle")
    with ground.file(f"pictures.{ending}", data) as path:
        for command in ("inpaint", "recover"):
            words = [command, bundle, "--pictures", str(path), "-n", "1", "--restarts", "1", "--steps", "1"]
            ground.ganctl(*words, "--into", "out.png")
