"""Seats: which worker has which place of a gang, written down once in Ray's own store.

A place is named `GANG/RANK`, and so is a worker that is started for it; a warm worker that takes it has another name.
Of two dispatchers that choose a worker for one place the first to write it down is right, and the other hears of it.
"""

from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

from workers.dispatch.name import GangName

NAMESPACE = "ganservice-seats"


def give(place: str, worker: str) -> str:
    """Give a place to a worker, unless it is given already; returns the name of who has it."""
    if _internal_kv_put(place, worker, overwrite=False, namespace=NAMESPACE):
        return holder(place) or worker
    return worker


def holder(place: str) -> str | None:
    """The name of the worker that has a place."""
    found = _internal_kv_get(place, namespace=NAMESPACE)
    return found.decode() if found else None


def places() -> list[str]:
    """All places that are given, of all gangs."""
    return [place.decode() for place in _internal_kv_list("", namespace=NAMESPACE)]


def holders() -> set[str]:
    """The names of the workers that have a place."""
    return {name for place in places() if (name := holder(place))}


def free(gang: GangName) -> None:
    """Forget who has the places of a gang."""
    _internal_kv_del(f"{gang}/", del_by_prefix=True, namespace=NAMESPACE)
