"""Which GPUs a place of a gang has: Ray tells that alone of what runs in the place, and always the same ones of it."""

import os

import ray
from ray.util import get_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

# By which Ray has a process see its own GPUs alone, of each maker.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def see_gpus_of(gang: str, rank: int, count: int) -> None:
    """Have this process, which is in no place, see the `count` GPUs of one and no others, before it looks for any.

    Raises:
        ValueError: the gang has no room.
    """
    if ray.get_gpu_ids():
        return  # a dispatcher of an earlier release has started it in its place
    place = PlacementGroupSchedulingStrategy(get_placement_group(gang), placement_group_bundle_index=rank)
    probe = _visible_there.options(num_cpus=0, num_gpus=count, scheduling_strategy=place)
    visible: dict[str, str] = ray.get(probe.remote())
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ |= visible


@ray.remote  # type: ignore[untyped-decorator]
def _visible_there() -> dict[str, str]:
    """The variables of a process in a place; it ends with this answer, and what it held is the place's again."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}
