"""Recordings of an NVIDIA GPU: CUDA graphs, through torch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class CudaRecording:
    """A CUDA graph, whose outputs lie in its own memory."""

    def __init__(self, graph: torch.cuda.CUDAGraph, outputs: list[Tensor]) -> None:
        self._graph = graph
        self.outputs = outputs

    def replay(self) -> None:
        """Start all of its kernels at once, after what was started before; draws go on where generators stand."""
        self._graph.replay()


class CudaRecorder:
    """Records on a stream of its own, on which parts run before too: what autograd keeps belongs to a stream."""

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        """`generators` are those on the device that parts draw from, but for torch's own."""
        self._device = device
        self._generators = generators
        self._stream = torch.cuda.Stream(device)

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
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            # Of this thread alone: others may go on reading pictures and storing files meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = part()
        except BaseException:
            torch.cuda.set_stream(caller)  # which torch leaves undone where ending the recording fails too
            self._free_generators()
            raise
        return CudaRecording(graph, outputs)

    def _free_generators(self) -> None:
        """Have generators draw for themselves again: a recording that was broken off left them in its hands."""
        own = torch.cuda.default_generators[torch.cuda.current_device()]
        for generator in (*self._generators, own):
            generator.graphsafe_set_state(torch.Generator(self._device).graphsafe_get_state())
