"""Engine: how the parts of a step run, as the host comes to each operation or as the device has recorded them all."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ganservice.recipe import Engine, OwnNetwork, Recipe
from workers.gan.cuda_graphs import CudaRecorder
from workers.gan.randomness import Draws
from workers.gan.worker_group import WorkerGroup

# A part of a step: of a batch what a report tells of it. It reads and moves weights and more besides.
StepPart = Callable[..., list[Tensor]]

# How often a part runs as the host comes to it before it is recorded: by then optimisers have their moments, and
# libraries have chosen their kernels.
WARM_UP = 3
# How far what a recording does may be from what the part itself did, as a share of what that changed. On one device
# they are bit for bit the same, unless its kernels add up in any order.
TOLERANCE = 0.01


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and why it is this one."""

    engine: Engine
    reason: str
    is_as_ordered: bool = True  # or the recipe leaves the choice


def find_engine(
    recipe: Recipe, device: torch.device, group: WorkerGroup, micro_batch_size: int | None, draws: Draws
) -> tuple[EngineChoice, "Recorder | None"]:
    """The engine of a training, and what records its steps; None where nothing does."""
    choice = choose_engine(recipe, device, group, micro_batch_size)
    return choice, CudaRecorder(device, draws.generators_on_device) if choice.engine == "graph" else None


def choose_engine(
    recipe: Recipe, device: torch.device, group: WorkerGroup, micro_batch_size: int | None
) -> EngineChoice:
    """Choose by the recipe and the hardware: graphs on a GPU wherever each step of a recipe is the same there."""
    if recipe.engine == "eager":
        return EngineChoice("eager", "as ordered")
    for holds, reason in (
        (device.type != "cuda", "only a GPU records graphs"),
        (group.world_size > 1, "workers of a gang exchange gradients within a step"),
        (micro_batch_size is not None, "a batch that is looked at in pieces draws for each of them anew"),
        (recipe.engine == "auto" and _is_own(recipe), "own networks may do what no graph records; `graph` tries"),
    ):
        if holds:
            return EngineChoice("eager", reason, is_as_ordered=recipe.engine == "auto")
    return EngineChoice("graph", "as ordered" if recipe.engine == "graph" else "faster on this hardware")


def _is_own(recipe: Recipe) -> bool:
    return isinstance(recipe.generator, OwnNetwork) or isinstance(recipe.discriminator, OwnNetwork)


class Recording(Protocol):
    """What a device does in a part, again and again with the same memory."""

    outputs: list[Tensor]

    def replay(self) -> None:
        """Do it, with the numbers that lie in its memory now."""


class Recorder(Protocol):
    """Makes recordings on a device."""

    def warm_up(self, part: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run a part that is to be recorded later."""

    def record(self, part: Callable[[], list[Tensor]]) -> Recording:
        """Record a part without doing what it does. Raises whatever hinders it."""


class Eager:
    """Runs each part as the host comes to it."""

    trouble: str | None = None

    def run(self, key: Hashable, numbers: object, part: StepPart, *batch: Tensor) -> list[Tensor]:
        """What the part returns."""
        del key, numbers
        return part(*batch)

    def forget(self) -> None:
        """Nothing is kept."""


class Graphs:
    """Records each part once it has run a few times, and replays it from then on: the host starts one thing a part.

    A recording repeats what the host decided while it was made. So all of that is in the key of a part, or in its
    numbers: where they change, the part runs by itself again until they have stayed the same for some steps.

    No recording is trusted unseen: its first replay is compared with the part itself, from the same state. Where they
    differ, or where nothing can be recorded, every part runs by itself from then on, and `trouble` says why.
    """

    def __init__(
        self, recorder: Recorder, state: Callable[[], Sequence[Tensor]], generators: Sequence[torch.Generator]
    ) -> None:
        """`state` is all that parts change, in the same memory all the time; `generators` are those that they may draw
        from, on the device or on the host."""
        self.trouble: str | None = None
        self._recorder = recorder
        self._state = state
        self._generators = generators
        self._batches: dict[Hashable, tuple[Tensor, ...]] = {}
        self._entries: dict[Hashable, _Entry] = {}

    def run(self, key: Hashable, numbers: object, part: StepPart, *batch: Tensor) -> list[Tensor]:
        """What the part returns of a batch, in memory that the next run of any part may use again.

        `numbers` are those that the host puts into it, by value.
        """
        if self.trouble:
            return part(*batch)
        entry = self._entries.get(key)
        if entry is None or entry.numbers != numbers:
            entry = self._entries[key] = _Entry(numbers)
        held = self._hold(batch)
        if entry.recording:
            entry.recording.replay()
            return entry.recording.outputs
        if entry.runs == WARM_UP:
            return self._record(entry, lambda: part(*held))
        entry.runs += 1
        places = [values.data_ptr() for values in self._state()]
        outputs = self._recorder.warm_up(lambda: part(*held))
        # At first optimisers make their moments; later nothing may move, for a recording would go on with what was.
        if entry.runs == WARM_UP and places != [values.data_ptr() for values in self._state()]:
            self._give_up("a step puts new tensors in the place of what it keeps")
        return outputs

    def forget(self) -> None:
        """Drop all recordings: what they work with lies elsewhere now."""
        self._entries.clear()
        self._batches.clear()

    def _hold(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A batch where recordings find it."""
        form = tuple((values.shape, values.dtype, values.stride()) for values in batch)
        if form not in self._batches:
            self._batches[form] = tuple(torch.empty_like(values) for values in batch)
        for held, values in zip(self._batches[form], batch, strict=True):
            held.copy_(values)
        return self._batches[form]

    def _record(self, entry: "_Entry", part: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Record a part, and trust the recording if it does what the part does; either way the part is done once."""
        places = [generator.get_state() for generator in self._generators]
        before: list[Tensor] = []
        try:
            before = [values.clone() for values in self._state()]
            entry.recording = self._recorder.record(part)
            if outputs := self._compare(entry.recording, part, before, places):
                return outputs
            trouble = "a recorded step found other numbers than the step itself"
        except Exception as error:  # noqa: BLE001 # whatever it is, the part itself is still there to be run
            # The error at the end of a recording that was broken off hides the one that broke it off.
            trouble = f"a step cannot be recorded: {' '.join(str(error.__context__ or error).split()):.200}"
        # From here on nothing holds what the recording took: there is as much memory for the part as ever.
        entry.recording = None
        self._give_up(trouble)
        if before:
            self._restore(before)
        self._go_back(places)
        return part()

    def _compare(
        self, recording: Recording, part: Callable[[], list[Tensor]], before: list[Tensor], places: list[Tensor]
    ) -> list[Tensor]:
        """Run a part and then its recording from the same state. Returns the outputs, none where they differ."""
        self._go_back(places)
        expected = [number.clone() for number in self._recorder.warm_up(part)]
        after = [values.clone() for values in self._state()]
        self._restore(before)
        self._go_back(places)
        recording.replay()
        agrees = all(map(agree, self._state(), after, before)) and all(
            agree(found, number, torch.zeros_like(number))
            for found, number in zip(recording.outputs, expected, strict=True)
        )
        return recording.outputs if agrees else []

    def _give_up(self, trouble: str) -> None:
        self.trouble = trouble
        self.forget()

    def _restore(self, values: list[Tensor]) -> None:
        for live, kept in zip(self._state(), values, strict=True):
            live.copy_(kept)

    def _go_back(self, places: list[Tensor]) -> None:
        for generator, place in zip(self._generators, places, strict=True):
            generator.set_state(place)


@dataclass
class _Entry:
    """A part with its numbers: how often it has run by itself, and its recording."""

    numbers: object
    runs: int = 0
    recording: Recording | None = None


def agree(found: Tensor, expected: Tensor, before: Tensor) -> bool:
    """Whether a change is as expected, but for rounding; what is no finite number must be the same."""
    found, expected, before = (values.detach().double() for values in (found, expected, before))
    is_finite = expected.isfinite()
    alike = torch.where(expected.isnan(), found.isnan(), found == expected)
    if not bool(torch.where(is_finite, found.isfinite(), alike).all()):
        return False
    found, expected, before = (values[is_finite] for values in (found, expected, before))
    rounding = 8 * torch.finfo(torch.float32).eps * expected.norm()
    change = (expected - before).nan_to_num(0.0, 0.0, 0.0).norm()
    return bool((found - expected).norm() <= TOLERANCE * change + rounding)
