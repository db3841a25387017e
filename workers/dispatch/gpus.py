"""Which GPUs a place of a gang has: Ray tells that alone of what runs in the place, and always the same ones of it."""

import os
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

# By which Ray has a process see its own GPUs alone, of each maker.
VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
# The environment of a process that has none. Ray leaves those visible that it gives to nobody, and takes offence at
# the last of the variables where it stands alone.
NONE_VISIBLE = dict.fromkeys(VARIABLES[:2], "")


def ask_place(group: PlacementGroup, rank: int, count: int) -> Any:
    """Ask in the place of a rank, which has `count` GPUs, which ones they are: a promise of what `see` takes."""
    place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    return _visible_there.options(num_cpus=0, num_gpus=count, scheduling_strategy=place).remote()


def see(visible: dict[str, str]) -> None:
    """Have this process, which is in no place, see the GPUs of one and no others, before it looks for any."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ |= visible


@ray.remote  # type: ignore[untyped-decorator]
def _visible_there() -> dict[str, str]:
    """The variables of a process in a place; it ends with this answer, and what it held is the place's again."""
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}
