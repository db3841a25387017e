"""Demand: what the cluster should have room for, told to Ray's autoscaler. Where there is none, nobody listens.

The queue holds jobs back until they fit, so Ray itself never sees what waits.
"""

from collections.abc import Callable, Iterable, Sequence

from ganservice.spec import Resources

# Of so many waiting jobs, from the head of the queue, and of so many of their workers: room for the rest comes later.
JOBS_IN_DEMAND = 200
BUNDLES_IN_DEMAND = 4_096

Bundle = dict[str, float]


def bundles(resources: Resources) -> list[Bundle]:
    """The resources that each worker of a gang needs."""
    amounts = {"CPU": float(resources.cpus_per_worker), "GPU": float(resources.gpus_per_worker)}
    return [{name: amount for name, amount in amounts.items() if amount}] * resources.workers


class Demand:
    """Tells the autoscaler when something has changed."""

    def __init__(self, request: Callable[[list[Bundle]], None]) -> None:
        self._request = request
        self._newest: list[Bundle] | None = None

    def tell(self, running: Iterable[Resources], waiting: Sequence[Bundle]) -> None:
        """The autoscaler makes room for all of it together; for what runs alone it needs no telling."""
        demand = list(waiting[:BUNDLES_IN_DEMAND])
        if demand:
            demand += [bundle for resources in running for bundle in bundles(resources)]
        if demand != self._newest:
            self._request(demand)
            self._newest = demand
