"""Packages: what the extras of this project lead to, as it is pinned and as it is installed."""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path("constraints.txt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.MULTILINE)
# Torch comes from another index for each kind of GPU, with libraries for that: which digests they have differs.
OF_TORCH = re.compile(r"torch|triton|cuda-.*|nvidia-(?!ml-py$).*")


def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads(Path("pyproject.toml").read_text())


def pins(text: str) -> dict[str, str]:
    """Versions by name, as a file of requirements pins them."""
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}


def needed(extras: Iterable[str]) -> set[str]:
    """The names of all packages that some extras lead to here, as the metadata of what is installed tells.

    What is not installed leads to nothing further.
    """
    found: set[str] = set()
    left = {("ganservice", extra) for extra in ("", *extras)}
    seen: set[tuple[str, str]] = set()
    while left:
        asked = left.pop()
        seen.add(asked)
        found.add(asked[0])
        left |= _requirements(*asked) - seen
    return found - {"ganservice"}


@cache
def _requirements(name: str, extra: str) -> set[tuple[str, str]]:
    try:
        requirements = [Requirement(line) for line in distribution(name).requires or []]
    except PackageNotFoundError:
        return set()
    return {
        (canonicalize_name(requirement.name), each)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        for each in ("", *requirement.extras)
    }
