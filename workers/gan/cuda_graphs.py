"""Recordings of an NVIDIA GPU: CUDA graphs, through torch."""

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class CudaRecording:
    """A CUDA graph, whose outputs lie in its own memory."""

    def __init__(self, graph: torch.cuda.CUDAGraph, outputs: list[Tensor]) -> None:
        self._graph = graph
        self._end = torch.cuda.Event(blocking=True)
        self.outputs = outputs

    @property
    def pool(self) -> Any:
        """The memory that its kernels use."""
        return self._graph.pool()

    def replay(self) -> None:
        """Start all of its kernels at once, after what was started before; draws go on where generators stand.

        It waits for its replay before that one: a host that ran many steps ahead would heed no signal in time.
        """
        self._end.synchronize()
        self._graph.replay()
        self._end.record()


class CudaRecorder:
    """Records on a stream of its own, on which parts run before too: what autograd keeps belongs to a stream.

    All of its recordings share their memory, for none runs beside another.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        """`generators` are those on the device that parts draw from: their own ones, then torch's."""
        self._device = device
        self._generators = generators
        self._stream = torch.cuda.Stream(device)
        self._recordings: weakref.WeakSet[CudaRecording] = weakref.WeakSet()

    def warm_up(self, part: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Run a part on the stream on which it will be recorded."""
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            outputs = part()
        caller.wait_stream(self._stream)
        return outputs

    def record(self, part: Callable[[], list[Tensor]]) -> CudaRecording:
        """Record a part. Raises RuntimeError of one that waits for the device, or does what no graph can hold."""
        graph, caller = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        for generator in self._generators[:-1]:  # torch's own is registered with every graph
            graph.register_generator_state(generator)
        # The memory of a recording that is gone is gone too: only that of a living one can be shared.
        pool = next((each.pool for each in self._recordings), None) or torch.cuda.graph_pool_handle()
        try:
            # Of this thread alone: others may go on reading pictures and storing files meanwhile.
            with (
                _no_collection(),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                outputs = part()
        except BaseException:
            torch.cuda.set_stream(caller)  # which torch leaves undone where ending the recording fails too
            self._end_allocations(pool)
            self._free_generators()
            raise
        recording = CudaRecording(graph, outputs)
        self._recordings.add(recording)
        return recording

    def _end_allocations(self, pool: Any) -> None:
        """Have the allocator give out memory as ever: the end of a broken recording fails before it does so."""
        index = self._stream.device_index
        with contextlib.suppress(RuntimeError):  # torch has done so already where only Python failed
            torch._C._cuda_endAllocateToPool(index, pool)  # noqa: SLF001 # torch's compiler does the same
            torch._C._cuda_releasePool(index, pool)  # noqa: SLF001

    def _free_generators(self) -> None:
        """Have generators draw for themselves again: a recording that was broken off left them in its hands.

        It takes them from the recordings of others in this process too, which would then repeat their draws.
        """
        for generator in self._generators:
            generator.graphsafe_set_state(torch.Generator(self._device).graphsafe_get_state())


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Have no graph of a trainer that is gone destroyed in the block, which would break off a recording."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
