"""The sets this service knows by name: their files, what the bytes must be, and where they can be had."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.gan.data.idx import IdxFiles

# All relatives of MNIST use its names.
_FILES = IdxFiles(
    train_images="train-images-idx3-ubyte",
    train_labels="train-labels-idx1-ubyte",
    test_images="t10k-images-idx3-ubyte",
    test_labels="t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class KnownSet:
    """A set that can be fetched and checked without asking the user anything.

    `sha256` maps each file's name to the digest of its unpacked bytes: mirrors pack the same bytes differently.
    `mirrors` are addresses of folders that hold the files with .gz.
    """

    name: str
    files: IdxFiles
    sha256: Mapping[str, str]
    classes: tuple[str, ...]
    debian_package: str | None
    debian_folder: Path | None
    mirrors: tuple[str, ...]
    licence: str
    home_page: str


FASHION_MNIST = KnownSet(
    name="fashion-mnist",
    files=_FILES,
    sha256={
        _FILES.train_images: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        _FILES.train_labels: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        _FILES.test_images: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        _FILES.test_labels: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    debian_package="dataset-fashion-mnist",
    debian_folder=Path("/usr/share/datasets/fashion-mnist"),
    # Without TLS the digests above are what vouches for the bytes.
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    licence="MIT",
    home_page="https://github.com/zalandoresearch/fashion-mnist",
)

MNIST = KnownSet(
    name="mnist",
    files=_FILES,
    sha256={
        _FILES.train_images: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        _FILES.train_labels: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        _FILES.test_images: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        _FILES.test_labels: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    classes=tuple("0123456789"),
    debian_package=None,
    debian_folder=None,
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    licence="CC-BY-SA-3.0",
    home_page="http://yann.lecun.com/exdb/mnist/",
)

KNOWN = {known.name: known for known in (FASHION_MNIST, MNIST)}
