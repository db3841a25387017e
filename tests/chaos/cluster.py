"""What Ray holds, as JSON: `python -m tests.chaos.cluster HOST:PORT SECONDS CPUS` waits until so many CPUs are there,
and then so long until nothing is held."""

import json
import logging
import sys
import time
from typing import Any

import ray
from ray.util import list_named_actors, placement_group_table

from workers.dispatch.actors import NAMESPACE
from workers.dispatch.warm import WarmName

# A node that was killed is started again; on a busy machine Ray takes longer than it gives itself, several times.
NODES_S = 300.0


def held() -> dict[str, Any]:
    """Placement groups that are not removed, named actors but warm workers, CPUs."""
    groups = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    return {
        "groups": sorted(f"{group['name']} {group['state']}" for group in groups),
        "actors": sorted(name for name in _actors() if WarmName.parse(name) is None),
        "free": ray.available_resources().get("CPU", 0.0),
        "total": ray.cluster_resources().get("CPU", 0.0),
    }


def _actors() -> list[str]:
    return [entry["name"] for entry in list_named_actors(all_namespaces=True)]


def main(address: str, within_s: float, cpus: float) -> None:
    """Print what is held once so many CPUs are there, as soon as that is nothing, or after so many seconds."""
    ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    started = time.monotonic()
    while ray.cluster_resources().get("CPU", 0.0) < cpus and time.monotonic() - started < NODES_S:
        time.sleep(0.5)
    there = time.monotonic()
    while True:
        found, after_s = held(), time.monotonic() - started
        is_free = not found["groups"] and not found["actors"] and found["free"] == found["total"]
        if is_free or time.monotonic() - there >= within_s:
            print(json.dumps(found | {"after_s": round(after_s, 1)}))
            return
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
