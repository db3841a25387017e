"""The sets this service knows by name: their files, what the bytes must be, and where they can be had.

It can be looked at without numpy and Pillow; only reading a set takes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from workers.gan.data.mnist import MNIST_FILES

if TYPE_CHECKING:
    from workers.gan.data.image_set import ImageSet
    from workers.gan.data.layout import Layout
    from workers.gan.data.picture_source import PictureSource


@dataclass(frozen=True)
class KnownSet:
    """A set that can be fetched and checked without asking the user anything.

    `sha256` maps each file's name to the digest of its unpacked bytes: mirrors pack the same bytes differently.
    `read` makes an ImageSet of a folder with the files. `mirrors` are addresses of folders that hold the files with
    .gz, or as they are if they are archives; `archives` of tars that hold all files.
    """

    name: str
    sha256: Mapping[str, str]
    read: Callable[[Path], "ImageSet"]
    licence: str
    debian_package: str | None = None
    debian_folder: Path | None = None
    npm_package: str | None = None
    mirrors: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()


def _read_like_mnist(folder: Path, name: str, classes: tuple[str, ...], source: str) -> "ImageSet":
    from workers.gan.data.idx import read_idx_image_set

    return read_idx_image_set(name, folder, MNIST_FILES, classes, source)


def _read_cifar(folder: Path, name: str, classes: tuple[str, ...], source: str) -> "ImageSet":
    from workers.gan.data.cifar import read_cifar_image_set

    return read_cifar_image_set(name, folder, CIFAR_10_TRAIN, CIFAR_10_TEST, classes, source)


def _drawings(source: "PictureSource") -> "Layout":
    from workers.gan.data.layout import read_layout

    # Those of 64 px; the archive holds them in sheets of other sizes too.
    return read_layout(source, labels="none", under="package/img/google/64/")


def _drawings_held_out(source: "PictureSource") -> "Layout":
    """The same, with every eighth family of them held out: drawings that begin with one character, such as a hand in
    each colour of skin, would tell of one another."""
    layout = _drawings(source)
    families = [PurePosixPath(file.name).stem.partition("-")[0] for file in layout.files]
    held_out = set(sorted(set(families))[::8])
    files = [
        replace(file, split="test" if family in held_out else "train")
        for file, family in zip(layout.files, families, strict=True)
    ]
    return replace(layout, files=files)


def _read_emoji(folder: Path, name: str, layout_of: "Callable[[PictureSource], Layout]") -> "ImageSet":
    from workers.gan.data.pictures import read_pictures

    return read_pictures(folder / EMOJI_ARCHIVE, name, 64, 3, layout_of=layout_of)


GARMENTS = (
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
)

FASHION_MNIST = KnownSet(
    name="fashion-mnist",
    sha256={
        MNIST_FILES.train_images: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        MNIST_FILES.train_labels: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        MNIST_FILES.test_images: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        MNIST_FILES.test_labels: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    read=partial(
        _read_like_mnist,
        name="fashion-mnist",
        classes=GARMENTS,
        source="https://github.com/zalandoresearch/fashion-mnist",
    ),
    debian_package="dataset-fashion-mnist",
    debian_folder=Path("/usr/share/datasets/fashion-mnist"),
    # Without TLS the digests above are what vouches for the bytes.
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    licence="MIT",
)

MNIST = KnownSet(
    name="mnist",
    sha256={
        MNIST_FILES.train_images: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        MNIST_FILES.train_labels: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        MNIST_FILES.test_images: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        MNIST_FILES.test_labels: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    read=partial(
        _read_like_mnist,
        name="mnist",
        classes=tuple("0123456789"),
        source="http://yann.lecun.com/exdb/mnist/",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    licence="CC-BY-SA-3.0",
)

CIFAR_10_TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
CIFAR_10_TEST = ["test_batch.bin"]
CIFAR_10 = KnownSet(
    name="cifar-10",
    sha256={
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    read=partial(
        _read_cifar,
        name="cifar-10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    archives=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    licence="none given; cite Krizhevsky (2009)",
)

EMOJI_ARCHIVE = "emoji-datasource-google-16.0.0.tgz"
EMOJI = KnownSet(
    name="emoji",
    sha256={EMOJI_ARCHIVE: "334f58688e07d8f886f58760d1d927d322416944c498573f88e6cd648264b2ee"},
    read=partial(_read_emoji, name="emoji", layout_of=_drawings),
    npm_package="emoji-datasource-google@16.0.0",
    mirrors=("https://registry.npmjs.org/emoji-datasource-google/-",),
    licence="Apache-2.0",
)

EMOJI_HELD_OUT = replace(
    EMOJI, name="emoji-held-out", read=partial(_read_emoji, name="emoji-held-out", layout_of=_drawings_held_out)
)

CATALOGUE = {entry.name: entry for entry in (FASHION_MNIST, MNIST, CIFAR_10, EMOJI, EMOJI_HELD_OUT)}
