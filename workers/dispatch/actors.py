"""The workers of this project as Ray's actors: started, found, listed and ended by their names."""

import contextlib
from typing import Any

import ray
from ray._private.state import actors as actor_infos
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.dispatch.allocator import ALLOCATOR
from workers.dispatch.gpus import NONE_VISIBLE
from workers.dispatch.worker import CONCURRENCY_GROUPS, Worker

# Of all actors of this project.
NAMESPACE = "ganservice"


def start(name: str, node: str) -> Any:
    """The worker of a name, which is started on a node where there is none, and holds nothing there: its gang does. It
    sees no GPUs until it takes a place that has some, and outlives this process."""
    actor = ray.remote(concurrency_groups=CONCURRENCY_GROUPS)(Worker).options(
        name=name,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        runtime_env={"env_vars": ALLOCATOR | NONE_VISIBLE},
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return actor.remote()


def find(name: str) -> Any:
    """The worker of a name. Raises ValueError where there is none."""
    return ray.get_actor(name, NAMESPACE)


def names() -> list[str]:
    """The names of all workers, whoever started them."""
    return [entry["name"] for entry in list_named_actors(all_namespaces=True) if entry["namespace"] == NAMESPACE]


def node_of(worker: Any) -> str:
    """The id of the node that a worker runs on; empty of one that is not there yet, or of which Ray knows no more."""
    info = actor_infos(worker._actor_id.hex())  # noqa: SLF001 # by which alone Ray tells of one actor
    return str(info["Address"]["NodeID"]) if info and info["State"] == "ALIVE" else ""


def end(name: str) -> None:
    """End the worker of a name, if there is one."""
    with contextlib.suppress(ValueError):
        ray.kill(find(name))
