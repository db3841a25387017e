"""What a user may wish of an import."""

from dataclasses import dataclass

from workers.gan.data.decoding import Target


@dataclass(frozen=True)
class Options:
    """What becomes of pictures, in how many processes, which of them may be left out, and whether what is said of them
    names options of `data import` that help."""

    target: Target
    processes: int = 1
    skip_unreadable: bool = False
    skip_duplicates: bool = False
    advises: bool = True
