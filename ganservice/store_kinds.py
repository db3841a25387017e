"""Kinds of stored objects: what the key of one says of it, by the list of keys in `artifacts`. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ganservice.objects import StoredObject

JOB_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Kind(StrEnum):
    """The kinds of objects, as the metric of their bytes tells them apart."""

    CHECKPOINTS = "checkpoints"
    SAMPLES = "samples"
    METRICS = "metrics"
    GENERATORS = "generators"
    EVALUATIONS = "evaluations"
    REPORTS = "reports"
    SPECS = "specs"
    DATA = "data"
    STARTS = "starts"
    WEIGHTS = "weights"
    NETWORKS = "networks"
    STATISTICS = "statistics"
    CODE = "code"
    HEALTH = "health"
    OTHER = "other"  # of no key that we write: never garbage


# By what a key begins with; of a job, and of an attempt of it, by what follows.
_NAMED = (Kind.STARTS, Kind.WEIGHTS, Kind.NETWORKS, Kind.STATISTICS, Kind.CODE)
_TOPS = {f"{kind}/": kind for kind in (*_NAMED, Kind.HEALTH)}
_OF_JOB = {"spec.yaml": Kind.SPECS, "reports/": Kind.REPORTS}
_OF_ATTEMPT = {
    "checkpoints/": Kind.CHECKPOINTS,
    "samples/": Kind.SAMPLES,
    "metrics/": Kind.METRICS,
    "generator/": Kind.GENERATORS,
    "evaluation/": Kind.EVALUATIONS,
}
_JOB_KEY = re.compile(rf"jobs/(?P<job>{JOB_ID.pattern})/(?P<attempt>attempts/\d{{4,}}/)?(?P<what>[^/]+/?)")
_DATA_KEY = re.compile(r"data/[^/]+/[^/]+/[^/]+")


# Of a data set that was stored again after another of its name, there is one more; see `data_sets`.
_MANIFEST_KEY = re.compile(r".+/manifest(?:-([0-9]{19}))?\.json")


def is_manifest(key: str) -> bool:
    """Whether an object says of others that they are whole."""
    return _MANIFEST_KEY.fullmatch(key) is not None


def manifest_order(entry: StoredObject) -> tuple[float, int, str]:
    """The order in which manifests of data sets were stored, of which a name means the last; as in `data_sets`."""
    match = _MANIFEST_KEY.fullmatch(entry.key)
    return entry.modified_at, int((match and match[1]) or 0), entry.key


@dataclass(frozen=True)
class Place:
    """An object by what its key says."""

    object: StoredObject
    kind: Kind
    folder: str  # with its slash
    job_id: str | None = None


@dataclass
class Amount:
    """Objects, and the bytes of them."""

    objects: int = 0
    bytes: int = 0

    def add(self, entry: StoredObject) -> None:
        """Count one more."""
        self.objects += 1
        self.bytes += entry.bytes


def place_of(entry: StoredObject) -> Place:
    """Where an object belongs."""
    key = entry.key
    folder = key[: key.rfind("/") + 1]
    if match := _JOB_KEY.match(key):
        what = match["what"]
        kind = (_OF_ATTEMPT if match["attempt"] else _OF_JOB).get(what, Kind.OTHER)
        return Place(entry, kind, folder, match["job"])
    if _DATA_KEY.fullmatch(key):
        return Place(entry, Kind.DATA, folder)
    return Place(entry, _TOPS.get(key[: key.find("/") + 1], Kind.OTHER), folder)


def amounts(entries: Iterable[StoredObject]) -> dict[Kind, Amount]:
    """How much of each kind there is, nothing included."""
    found = {kind: Amount() for kind in Kind}
    for entry in entries:
        found[place_of(entry).kind].add(entry)
    return found
