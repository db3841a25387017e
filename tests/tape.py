"""Tape: records what a CPU does in a part of a step, as a GPU records a graph, and as strictly.

Whatever the host decided while it was recorded is repeated; what is recorded has no effect then; outputs lie in the
same memory at each replay; a host that would wait for its device, or hand it numbers, hinders the recording.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.waits import WAITING

# What makes a tensor of the host's numbers, which would have to travel to the device.
HANDED = {"aten::lift_fresh", "aten::lift_fresh_copy"}
# What operations change and do not say so: the statistics of BatchNorm.
SILENTLY_WRITTEN = {"running_mean", "running_var"}


@dataclass(frozen=True)
class Slot:
    """A tensor that is made anew at each replay."""

    index: int


@dataclass(frozen=True)
class Operation:
    function: Callable[..., Any]
    args: Any
    kwargs: Any
    results: list[int]


class Tape(TorchDispatchMode):
    """The operations of the block that it is entered for. What they change is put back at its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._slots: dict[int, int] = {}
        self._made: list[Tensor] = []  # kept alive, so that no other tensor gets its id
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._places: dict[int, tuple[torch.Generator, Tensor]] = {}

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for storage, bytes_before in self._before.values():
            storage.copy_(bytes_before)
        for generator, place in self._places.values():
            generator.set_state(place)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func.name() in WAITING | HANDED:
            raise RuntimeError(f"operation not permitted when a tape is recording: {func.name()}")
        known_args, known_kwargs = tree_map_only(Tensor, self._slot, (args, given))
        self._keep(func, args, given)
        result = func(*args, **given)
        if not func.name().startswith("profiler::"):
            results = [self._number(leaf) if isinstance(leaf, Tensor) else -1 for leaf in tree_leaves(result)]
            self.operations.append(Operation(func, known_args, known_kwargs, results))
        return result

    def slot_of(self, tensor: Tensor) -> int:
        return self._slots[id(tensor)]

    def _slot(self, tensor: Tensor) -> Tensor | Slot:
        return Slot(self._slots[id(tensor)]) if id(tensor) in self._slots else tensor

    def _number(self, tensor: Tensor) -> int:
        if id(tensor) not in self._slots:
            self._slots[id(tensor)] = len(self._slots)
            self._made.append(tensor)
        return self._slots[id(tensor)]

    def _keep(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Keep what an operation is about to change."""
        for generator in (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Generator)):
            self._places.setdefault(id(generator), (generator, generator.get_state()))
        for position, argument in enumerate(func._schema.arguments):  # noqa: SLF001 # which torch documents for this
            is_written = argument.alias_info is not None and argument.alias_info.is_write
            if not is_written and argument.name not in SILENTLY_WRITTEN:
                continue
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            for tensor in (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)):
                storage = tensor.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))


class TapeRecording:
    def __init__(self, tape: Tape, outputs: list[Tensor]) -> None:
        self.outputs = [output.clone() for output in outputs]
        self.operations = list(tape.operations)
        self._slots = [tape.slot_of(output) for output in outputs]
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        made: dict[int, Tensor] = {}
        with torch.no_grad():
            for operation in self.operations:
                args, kwargs = _filled((operation.args, operation.kwargs), made)
                leaves = tree_leaves(operation.function(*args, **kwargs))
                made |= {slot: leaf for slot, leaf in zip(operation.results, leaves, strict=True) if slot >= 0}
            for output, slot in zip(self.outputs, self._slots, strict=True):
                output.copy_(made[slot])


def _filled(value: Any, made: dict[int, Tensor]) -> Any:
    """The same with tensors in the place of slots."""
    if isinstance(value, Slot):
        return made[value.index]
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, made) for each in value)
    if isinstance(value, dict):
        return {key: _filled(each, made) for key, each in value.items()}
    return value


class TapeRecorder:
    """Records on the CPU; `recordings` are those made so far."""

    def __init__(self) -> None:
        self.recordings: list[TapeRecording] = []

    def warm_up(self, part: Callable[[], list[Tensor]]) -> list[Tensor]:
        return part()

    def record(self, part: Callable[[], list[Tensor]]) -> TapeRecording:
        tape = Tape()
        with tape:
            outputs = part()
            recording = TapeRecording(tape, outputs)
        self.recordings.append(recording)
        return recording
