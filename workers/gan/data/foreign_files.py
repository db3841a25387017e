"""Files that hold pictures in a form that is not read, by their suffixes, and what to do about them."""

from collections.abc import Iterable
from pathlib import PurePosixPath

# Of what is lost unless its owner does something, beside pictures too.
LOST = {
    (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".7z", ".rar"):
        "unpack it first, for archives in others are not opened",
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".dcm", ".dng", ".cr2", ".nef", ".tga", ".ppm", ".pgm", ".exr"):
        "make PNG or JPEG of it",
    (".mp4", ".avi", ".mov", ".mkv", ".webm"): "make PNG of its frames",
}  # fmt: skip
KNOWN = "MNIST, Fashion-MNIST and CIFAR-10 come by `ganctl data get`"
# Of what may be anything, where there are no pictures at all. What comes first counts.
ALONE = {
    (".arrow",): "write it as Parquet, such as by to_parquet of the `datasets` library",
    (
        "-ubyte", "-ubyte.gz", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".bin", ".tfrecord",
        ".mdb",
    ): f"make PNG of its arrays; {KNOWN}",
    **LOST,
}  # fmt: skip


def advice_beside(names: Iterable[str]) -> str:
    """What to do about the first of some files beside pictures that may hold more of them; empty where none does."""
    return next((_said(name, advice) for name in names for advice in _of(name, LOST)), "")


def advice_alone(names: Iterable[str]) -> str:
    """What to do about files where no pictures are."""
    names = list(names)
    if known := next((_said(name, advice) for name in names for advice in _of(name, ALONE)), ""):
        return known
    bare = next((name for name in names if not PurePosixPath(name).suffix), None)
    return _said(bare, f"name it by what it is, such as 1.png, if it is a picture; {KNOWN}") if bare else ""


def _of(name: str, advice: dict[tuple[str, ...], str]) -> list[str]:
    return [words for suffixes, words in advice.items() if name.lower().endswith(suffixes)][:1]


def _said(name: str, advice: str) -> str:
    return f"; {name}: {advice}"
