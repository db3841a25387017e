"""`ray start` for a second node on loopback: Ray itself keeps whatever leaves the network alone from a second node."""

import types

from ray._private import ray_constants
from ray.scripts import scripts

scripts.ray_constants = types.SimpleNamespace(**vars(ray_constants) | {"ENABLE_RAY_CLUSTER": True})

if __name__ == "__main__":
    scripts.main()
