"""A feature network in a file of ONNX, which anybody may have sent: what it may be, and how it is run.

It is run by onnxruntime, in this process, and so only if each of its parts is run once: standard operators alone, no
loops, no file beside it, and a picture and features within bounds. What lies between these is not bounded: an operator
may ask for any memory.
"""

import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganservice.errors import DataInvalid
from ganservice.judging import Scaling
from ganservice.mistakes import brief
from workers.gan.evaluation.opaque import opaque

log = logging.getLogger(__name__)

MOST_BYTES = 2**30
MOST_PIXELS = 1_024  # on a side of the input
# Of one picture: a covariance of so many numbers has 0.5 GB.
MOST_FEATURES = 8_192
MOST_NODES = 100_000
DOMAINS = ("", "ai.onnx")
# They run what is in them as often as the file says, or as long as it likes.
LOOPS = ("Loop", "Scan", "SequenceMap")
# How much of a picture's brightness is red, green and blue (ITU-R BT.601).
BRIGHTNESS = (0.299, 0.587, 0.114)


class OnnxNetwork(nn.Module):
    """Pictures uint8 [B, C, H, W] -> the first output of two dimensions, float32 [B, D]; no logits."""

    def __init__(self, session: Any, scaling: Scaling) -> None:
        """Raises DataInvalid where its inputs or outputs are none that pictures and features can be."""
        super().__init__()
        self._session = session
        self._batch, self._channels, self._size = _layout(session)
        self._output = _features_output(session)
        self._mean, self._std = (_by_channel(values, self._channels) for values in (scaling.mean, scaling.std))
        size = "none" if self._size is None else f"bilinear {self._size[0]} x {self._size[1]}"
        self.preparation = f"{size}, less {_words(self._mean)}, over {_words(self._std)}"

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits of no class. Raises DataInvalid where it cannot be run, or gives no numbers."""
        values = self._prepare(opaque(pictures).float().cpu() / 255)
        features = torch.cat(list(self._run(values)))
        if not torch.isfinite(features).all():
            raise DataInvalid("onnx: the network gives numbers that are not finite; look at judging.scaling")
        return features, torch.zeros(len(pictures), 0)

    def _prepare(self, values: Tensor) -> Tensor:
        if self._channels == 1 and values.shape[1] == 3:
            values = (values * torch.tensor(BRIGHTNESS)[:, None, None]).sum(dim=1, keepdim=True)
        values = values.expand(-1, self._channels, -1, -1)
        if self._size is not None and tuple(values.shape[2:]) != self._size:
            values = functional.interpolate(values, self._size, mode="bilinear", antialias=True)
        return (values - self._mean[:, None, None]) / self._std[:, None, None]

    def _run(self, values: Tensor) -> Iterator[Tensor]:
        """Yield features of as many pictures at once as the file takes; a last few are filled up."""
        name, batch = self._session.get_inputs()[0].name, self._batch or len(values)
        for part in torch.split(values, batch):
            filled = torch.cat([part, part[-1:].expand(batch - len(part), -1, -1, -1)]).contiguous()
            try:
                [features] = self._session.run([self._output], {name: filled.numpy()})
            except Exception as error:  # whatever a foreign file makes onnxruntime raise
                raise DataInvalid(f"onnx: the network cannot be run: {brief(str(error))}") from error
            if features.ndim != 2 or len(features) != batch or not 0 < features.shape[1] <= MOST_FEATURES:
                raise DataInvalid(
                    f"onnx: the output {brief(self._output, 100)} has sizes {list(features.shape)}, expected "
                    f"{batch} pictures and at most {MOST_FEATURES:,} numbers of each"
                )
            yield torch.from_numpy(features)[: len(part)].float()


def load_onnx(path: Path, scaling: Scaling, device: torch.device) -> OnnxNetwork:
    """Load the network in a file. Raises DataInvalid when it is none, or one that is not run here."""
    # Else it tells its maker, from 1.29 on, of each session and of the network in it; it looks when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        onnx, runtime = (importlib.import_module(name) for name in ("onnx", "onnxruntime"))
    except ImportError as error:
        raise DataInvalid(
            "onnx: onnxruntime is not installed here; pip install 'ganservice[onnx]', or choose another network"
        ) from error
    if (size := path.stat().st_size) > MOST_BYTES:
        raise DataInvalid(f"{path}: has {size:,} bytes, expected at most {MOST_BYTES:,}")
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # whatever a foreign file makes the reader raise
        raise DataInvalid(f"{path}: is no file of ONNX: {brief(str(error))}") from error
    if refusal := _refusal(model):
        raise DataInvalid(f"{path}: {refusal}")
    try:
        return OnnxNetwork(_session(runtime, data, device), scaling)
    except DataInvalid as error:
        raise DataInvalid(f"{path}: {error}") from error
    except Exception as error:  # the same
        raise DataInvalid(f"{path}: onnxruntime cannot load it: {brief(str(error))}") from error


def _session(runtime: Any, data: bytes, device: torch.device) -> Any:
    """Return what runs a network, in fp32 whatever the device."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it would log, the file has written
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in runtime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}))
        else:
            log.warning("onnx: this onnxruntime has no CUDA, so that the network is run on the CPU")
    # Trying again on another device would print what went wrong.
    return runtime.InferenceSession(data, options, providers=providers, enable_fallback=0)


def _refusal(model: Any) -> str | None:
    """Say why a file is not run, whatever is in it; None where nothing is against it."""
    if len(model.functions):
        return "defines functions of its own, expected standard operators alone"
    nodes = 0
    for kind, part in _parts(model):
        if kind == "TensorProto" and (part.data_location or len(part.external_data)):
            return "keeps weights in another file, expected all in this one"
        if kind != "NodeProto":
            continue
        nodes += 1
        if part.domain not in DOMAINS:
            return f"has an operator of {brief(part.domain, 100)}, expected standard ones alone"
        if part.op_type in LOOPS:
            return f"has a {part.op_type}, expected operators that run once"
        if nodes > MOST_NODES:
            return f"has more than {MOST_NODES:,} operators"
    return None


def _parts(message: Any) -> Iterator[tuple[str, Any]]:
    """Yield all messages in a message of protobuf, itself first, each with the name of its kind."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part.DESCRIPTOR.name, part
        for field, value in part.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "DESCRIPTOR") else value


def _layout(session: Any) -> tuple[int | None, int, tuple[int, int] | None]:
    """Return how many pictures a network takes at once, of what channels and size; None of what it leaves open."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        raise DataInvalid("expected one input, float32 [N, C, H, W]")
    batch, channels, *sides = (each if isinstance(each, int) else None for each in inputs[0].shape)
    if channels not in (1, 3):
        raise DataInvalid(f"takes pictures of {channels or 'any number of'} channels, expected 1 or 3")
    if batch is not None and not 1 <= batch <= MOST_PIXELS:
        raise DataInvalid(f"takes {batch:,} pictures at once, expected any number or at most {MOST_PIXELS:,}")
    height, width = sides
    if height is None or width is None:
        return batch, channels, None
    if not (1 <= height <= MOST_PIXELS and 1 <= width <= MOST_PIXELS):
        raise DataInvalid(f"takes pictures of {height:,} x {width:,} px, expected at most {MOST_PIXELS:,} on a side")
    return batch, channels, (height, width)


def _features_output(session: Any) -> str:
    """Return the name of the first output that may be features."""
    for output in session.get_outputs():
        if output.type == "tensor(float)" and len(output.shape) == 2:
            width = output.shape[1]
            if isinstance(width, int) and width > MOST_FEATURES:
                raise DataInvalid(f"gives {width:,} numbers of a picture, expected at most {MOST_FEATURES:,}")
            return str(output.name)
    raise DataInvalid("has no output of two dimensions, float32 [N, D], that could be features")


def _by_channel(values: tuple[float, ...], channels: int) -> Tensor:
    """Return a value for each channel: for grey pictures the mean of three, for colours one for all."""
    given = torch.tensor(values)
    return given.mean(dim=0, keepdim=True) if channels == 1 else given.expand(channels)


def _words(values: Tensor) -> str:
    return " ".join(f"{value:.6g}" for value in values.tolist())
