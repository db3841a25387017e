"""WorkerGroup: the workers of a gang as the trainer sees them. With one worker every method is local."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Result = TypeVar("Result")

# A lost peer that closes no connection is noticed after this long.
PEER_TIMEOUT = timedelta(minutes=2)
# How often workers that wait for each other say that they are still there.
LOOK_S = 0.1
# By its first process group the second one of the gang of this process.
_SECOND: dict[dist.ProcessGroup, dist.ProcessGroup] = {}


@dataclass(frozen=True)
class WorkerGroup:
    """This worker's place among `world_size` of them, and what they do together.

    Above one, torch.distributed must be initialised.
    """

    rank: int = 0
    world_size: int = 1
    # Set by whatever comes further on this worker while they wait for each other; `on_motion` is called then on all.
    motion: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)
    on_motion: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """The group itself: the copy of a network that holds it is of the same gang."""
        del memo
        return self

    @property
    def is_first(self) -> bool:
        """Whether this worker speaks for the gang."""
        return self.rank == 0

    def own_rows(self, batch: Tensor) -> Tensor:
        """This worker's part of a global batch, [global rows, ...] -> [global rows / world_size, ...]."""
        rows = len(batch) // self.world_size
        return batch[self.rank * rows : (self.rank + 1) * rows]

    @property
    def may_overtake(self) -> bool:
        """Whether exchanges may overtake each other: those of NCCL must come in one order on all workers."""
        return self.world_size > 1 and dist.get_backend() != "nccl"

    def apart(self) -> dist.ProcessGroup | None:
        """A second process group of the same workers, where exchanges of this one and of the first may overtake each
        other; else the first.

        There is one of a gang, and none of one worker. Every worker calls this at once.
        """
        first = dist.group.WORLD if self.world_size > 1 else None
        if not self.may_overtake:
            return first
        if first is not None and first not in _SECOND:
            _SECOND[first] = dist.new_group(timeout=PEER_TIMEOUT)
        return first and _SECOND[first]

    def leave(self) -> None:
        """Close the connections to the others: who still waits for this worker learns of it at once."""
        if dist.is_initialized():
            # Gloo closes them with the last reference to the process groups.
            _SECOND.clear()
            dist.destroy_process_group()

    def average(self, values: Tensor) -> None:
        """Replace `values` by their mean over the workers."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size

    def mean_of(self, numbers: Tensor) -> list[float]:
        """The means over the workers of numbers that lie on the CPU."""
        if self.world_size > 1:
            numbers = self._on_exchange(numbers)
            self.average(numbers)
        return numbers.tolist()

    def gather(self, values: Tensor) -> Tensor:
        """The values of all workers in the order of their ranks, [...] -> [world_size, ...], on each of them."""
        if self.world_size == 1:
            return values[None]
        gathered = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(gathered, values)
        return torch.stack(gathered)

    def any(self, flag: bool) -> bool:
        """Whether any worker's flag is set: all of them get the same answer."""
        return self._any_of_each(flag)[0]

    def _any_of_each(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is set on any worker."""
        if self.world_size == 1:
            return list(flags)
        set_here = self._on_exchange(torch.tensor(flags, dtype=torch.float32))
        dist.all_reduce(set_here, op=dist.ReduceOp.MAX)
        return [bool(value) for value in set_here.tolist()]

    def first_says(self, text: str) -> str:
        """The first worker's text, on all of them."""
        if self.world_size == 1:
            return text
        texts: list[str] = [text]
        dist.broadcast_object_list(texts, src=0)
        return texts[0]

    def together(self, call: Callable[[], Result]) -> Result:
        """Call on every worker, and return what it does here once all are done.

        One may take as long as it likes, which none of them may in an exchange: the call runs in a thread of its own
        while this one keeps the others company. Raises what the call does.
        """
        if self.world_size == 1:
            return call()
        answer: Future[Result] = Future()
        # A daemon: where another worker dies, nobody waits for what this one was still doing.
        threading.Thread(target=_fulfil, args=(answer, call), daemon=True).start()
        self.wait_until(answer.done)
        return answer.result()

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Wait until every worker is ready, however long that takes."""
        while True:
            has_moved = self.motion.is_set()
            self.motion.clear()
            waits, any_moved = self._any_of_each(not is_ready(), has_moved)
            if any_moved:
                self.on_motion()
            if not waits:
                return
            time.sleep(LOOK_S)

    def _on_exchange(self, values: Tensor) -> Tensor:
        """The values where the workers' exchange takes them from."""
        return values.cuda() if dist.get_backend() == "nccl" else values


def _fulfil(answer: Future[Result], call: Callable[[], Result]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001 # raised where the answer is asked for
        answer.set_exception(error)
