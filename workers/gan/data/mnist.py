"""What MNIST and its relatives share: the names of their files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IdxFiles:
    """The names of the four files of a set, without .gz."""

    train_images: str
    train_labels: str
    test_images: str
    test_labels: str


MNIST_FILES = IdxFiles(
    train_images="train-images-idx3-ubyte",
    train_labels="train-labels-idx1-ubyte",
    test_images="t10k-images-idx3-ubyte",
    test_labels="t10k-labels-idx1-ubyte",
)
