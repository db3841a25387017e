"""What a device makes of a recipe: images/s beside the plain loop on it, the share of the time in which it computes,
and a step beside what its operations would take if each went at the device's own pace.

The device is a GPU where torch sees one, else the CPU. All of it is run at once, for a GPU that is lent for minutes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganservice.recipe import Recipe
from ganservice.spec_file import load_spec, parse_spec
from tests.benchmarks import CONFIGS
from tests.benchmarks.peers import plain_loop
from tests.benchmarks.sides import Budget, Row, child, seconds, take_turns
from tests.benchmarks.training import go_on, pictures, use_cores
from workers.dispatch.allocator import ALLOCATOR
from workers.gan.data.examples import Examples
from workers.gan.precision import allow_tensor_float
from workers.gan.trainer import Trainer

MEGA = 2**20
# Steps that are counted and traced; lazy penalties come every 16th.
TRACED_STEPS = 16


def rows(budget: Budget) -> Iterator[Row]:
    cases = _cases(budget.is_tiny)
    steps = 1 if budget.is_tiny else 100 if torch.cuda.is_available() else 4
    for name, recipe in cases.items():
        share = budget.share(3 * len(cases))
        with ExitStack() as ends:

            def side(what: str, kind: str, /, recipe: Recipe = recipe, ends: ExitStack = ends) -> Any:
                return ends.enter_context(child(what, f"device:{kind}", recipe, steps, **ALLOCATOR))

            ours, eager, plain = (
                side("ours", "our_pace"), side("ours, eager", "eager_pace"), side("plain loop", "plain_pace")
            )  # fmt: skip
            yield from take_turns(f"{name}, images/s", ours, [plain, eager], share)
            ours, plain = side("ours", "our_share"), side("plain loop", "plain_share")
            yield from take_turns(f"{name}, share of time computing", ours, [plain], share)
            ours, floor = side("ours", "our_step_ms"), side("its operations", "floor_ms")
            yield from take_turns(f"{name}, ms of a step", ours, [floor], share)


def _cases(is_tiny: bool) -> dict[str, Recipe]:
    """The recipes that are measured, by name; a tiny one has a few channels."""
    if is_tiny:
        return {"R3GAN 16 px": _r3gan(16, batch_size=4, width=4)}
    return {
        "text 003's, 28 px, batch 32": load_spec(CONFIGS / "fashion-dcgan-keras.yaml").recipe,
        "DCGAN 64 px, batch 128": load_spec(CONFIGS / "celeba64-dcgan.yaml", ("recipe.batch_size=128",)).recipe,
        "R3GAN 32 px, batch 64": _r3gan(32, batch_size=64, width=64),
        "R3GAN 64 px, batch 64": _r3gan(64, batch_size=64, width=64),
    }


def _r3gan(size: int, batch_size: int, width: int) -> Recipe:
    body = {"kind": "r3gan", "width": width, "max_width": 4 * width, "group_width": min(16, width)}
    recipe = {
        "data": {"dataset": "random", "image_size": size, "channels": 3},
        "latent_size": 64,
        "generator": body,
        "discriminator": body,
        "loss": {"kind": "relativistic", "r1": 1.0, "r2": 1.0},
        "batch_size": batch_size,
    }
    return parse_spec({"name": "device", "images": 1_000_000, "recipe": recipe}, "tests/benchmarks/device.py").recipe


def device() -> torch.device:
    """The GPU where there is one, set as a worker sets it."""
    use_cores()
    found = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.deterministic = True
    allow_tensor_float(found)
    return found


@dataclass
class Loop:
    """So many steps of a training, which end when the device has computed them."""

    train: Callable[[], object]
    images: int
    steps: int

    def images_per_s(self) -> float:
        return self.images / seconds(self.run)

    def run(self) -> None:
        self.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def share(self) -> float:
        """The time in which the device computes over all of it."""
        if not torch.cuda.is_available():
            with profile(activities=[ProfilerActivity.CPU]) as trace:
                took_s = seconds(self.run)
            of_torch = (event for event in trace.events() or () if event.name.startswith("aten::"))
            return float(sum(event.self_cpu_time_total for event in of_torch)) / 1e6 / took_s
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            self.run()
        # Kernels of one stream follow each other: none is counted twice. Tracing slows the host, and no kernel.
        kernels = (event for event in trace.events() or () if event.device_type.name == "CUDA")
        return float(sum(event.time_range.elapsed_us() for event in kernels)) / 1e6 / seconds(self.run)


def _ours(recipe: Recipe, steps: int) -> Loop:
    trainer = _trainer(recipe)
    images = steps * recipe.images_per_step
    return Loop(lambda: go_on(trainer, images), images, steps)


def _trainer(recipe: Recipe) -> Trainer:
    return Trainer(recipe, Examples(pictures(recipe)), 0, device())


def _plain(recipe: Recipe, steps: int) -> Loop:
    batches = plain_loop.loader(recipe, steps)
    return Loop(plain_loop.loop(recipe, batches, device=device()), steps * recipe.batch_size, steps)


def our_pace(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the trainer's images/s, as `auto` has it compute."""
    return _ours(recipe, steps).images_per_s


def eager_pace(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the trainer's images/s where it records nothing."""
    return _ours(recipe.model_copy(update={"engine": "eager"}), steps).images_per_s


def plain_pace(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the plain loop's images/s, in fp32."""
    return _plain(recipe, steps).images_per_s


def our_share(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the share of the trainer's time in which the device computes."""
    return _ours(recipe, steps).share


def plain_share(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the share of the plain loop's time in which the device computes."""
    return _plain(recipe, steps).share


def our_step_ms(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the time of a step of the trainer, ms."""
    loop = _ours(recipe, steps)
    return lambda: 1_000 * seconds(loop.run) / loop.steps


def floor_ms(recipe: Recipe, steps: int) -> Callable[[], float]:
    """Return what gives the time of a step, ms, if each operation took what its arithmetic takes at the pace of the
    device's matrix products, or what its bytes take at that of its copies, whichever is longer (the roofline of
    Williams et al. 2009)."""
    trainer = _trainer(recipe.model_copy(update={"engine": "eager"}))  # of a replay nothing is seen
    traced = min(steps, TRACED_STEPS)
    with Counted() as counted:
        for _ in range(traced):
            trainer.step()

    def milliseconds() -> float:
        paces = {dtype: operations_per_s(dtype) for dtype in (torch.float32, torch.bfloat16)}
        bytes_per_s = copied_bytes_per_s()
        floors_s = (max(each.operations / paces[each.dtype], each.bytes / bytes_per_s) for each in counted.operations)
        return 1_000 * float(sum(floors_s)) / traced

    return milliseconds


@dataclass(frozen=True)
class Operation:
    """What one operation on the device computes and moves."""

    operations: int
    bytes: int
    dtype: torch.dtype


class Counted(TorchDispatchMode):
    """Counts the operations of the block in `operations`; what only looks at a tensor in another way is none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if not func.is_view:
            count = flop_registry.get(func.overloadpacket)
            tensors = [leaf for leaf in tree_leaves((args, given, result)) if isinstance(leaf, Tensor)]
            moved = {id(tensor): tensor.numel() * tensor.element_size() for tensor in tensors}
            # What adds into its own argument reads and writes it, which counts once here: a floor.
            is_half = any(tensor.dtype is torch.bfloat16 for tensor in tensors)
            self.operations.append(
                Operation(
                    count(*args, **given, out_val=result) if count else 0,
                    sum(moved.values()),
                    torch.bfloat16 if is_half else torch.float32,
                )
            )
        return result


def operations_per_s(dtype: torch.dtype) -> float:
    """The pace of a large product of matrices on the device, in floating-point operations."""
    size = 8_192 if torch.cuda.is_available() else 1_024
    left, right = (torch.rand(size, size, device=device()).to(dtype) for _ in range(2))
    return 2 * size**3 / _shortest_s(lambda: left @ right)


def copied_bytes_per_s() -> float:
    """The pace of a copy of a large tensor on the device, in bytes read and written."""
    source = torch.zeros(256 * MEGA if torch.cuda.is_available() else 32 * MEGA, device=device())
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / _shortest_s(lambda: target.copy_(source))


def _shortest_s(compute: Callable[[], object]) -> float:
    """The shortest of some times that a computation takes."""

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    shortest_s = float("inf")
    for _ in range(5):
        wait()
        began = time.perf_counter()
        compute()
        wait()
        shortest_s = min(shortest_s, time.perf_counter() - began)
    return shortest_s
