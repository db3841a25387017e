"""Room: what of the cluster may be given away. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ganservice.job import Capacity
from ganservice.spec import Resources

# Of a node, for each gang without room there. It keeps up to a core busy and its memory in use, so that where trainings
# are shorter than what follows them, ever more would share both.
CPUS_PER_VACATED_GANG = 4


@dataclass(frozen=True)
class Machine:
    """A node of the cluster as Ray sees it."""

    id: str
    host: str
    address: str
    total: Capacity
    available: Capacity  # what Ray counts as free; its count lags


@dataclass(frozen=True)
class Placement:
    """What a gang has, or is about to get. `nodes` has the node of each worker once all of them are placed."""

    resources: Resources
    nodes: tuple[str, ...] = ()

    def outside(self, cordoned: Collection[str]) -> Capacity:
        """What it takes of all nodes but the cordoned ones."""
        workers = self.resources.workers - sum(node in cordoned for node in self.nodes)
        return Capacity(cpus=workers * self.resources.cpus_per_worker, gpus=workers * self.resources.gpus_per_worker)


def room(
    machines: Iterable[Machine], cordoned: Collection[str], gangs: Collection[Placement]
) -> tuple[Capacity, Capacity]:
    """What is free of the nodes that take work, and all that they have.

    Ray's own count of what is free lags behind: what gangs hold is counted here too, and of both the smaller is right.
    """
    open_to_work = [machine for machine in machines if machine.id not in cordoned]
    total, available = (_sum(getattr(each, name) for each in open_to_work) for name in ("total", "available"))
    held = _sum(gang.outside(cordoned) for gang in gangs)
    unplaced = _sum(gang.outside(cordoned) for gang in gangs if not gang.nodes)
    free = Capacity(
        cpus=min(total.cpus - held.cpus, available.cpus - unplaced.cpus),
        gpus=min(total.gpus - held.gpus, available.gpus - unplaced.gpus),
    )
    return free, total


def may_vacate(nodes: Collection[str], machines: Iterable[Machine], vacated: Iterable[Collection[str]]) -> bool:
    """Whether each of its nodes bears one more gang without room, beside those on the nodes of `vacated`."""
    most = {machine.id: max(1, machine.total.cpus // CPUS_PER_VACATED_GANG) for machine in machines}
    counts = Counter(node for each in vacated for node in set(each))
    return all(counts[node] < most.get(node, 0) for node in nodes)


def _sum(amounts: Iterable[Capacity]) -> Capacity:
    listed = list(amounts)
    return Capacity(cpus=sum(each.cpus for each in listed), gpus=sum(each.gpus for each in listed))
