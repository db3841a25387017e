"""The classifier: a small convolutional network that the service trains, once, on the pictures a GAN learns.

Of a stacked set it learns single channels: a thousand classes of three digits are ten digits three times, for which
there are a thousand times as many pictures.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ganservice.recipe import ImageSize, Precision, sides_of
from workers.gan.data.rows import Rows
from workers.gan.precision import autocast

# Channels and kernels of the blocks; each halves every side of the picture that has 7 px or more: pooling after
# convolutions at full size would cost three times as much, for one percent of accuracy on Fashion-MNIST.
BLOCKS = ((32, 5), (64, 3), (128, 3))
EPOCHS = 2
# However few pictures there are.
LEAST_STEPS = 400
BATCH = 128
LR = 2e-3
SEED = 0


class Classifier(nn.Module):
    """Pictures uint8 [B, C, H, W] -> features float32 [B, 128] and logits float32 [B, classes]."""

    def __init__(self, channels: int, image_size: ImageSize, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, (columns, rows) = channels, sides_of(image_size)
        for width, kernel in BLOCKS:
            stride = (2 if rows >= 7 else 1, 2 if columns >= 7 else 1)
            convolution = nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            inputs, rows, columns = width, -(-rows // stride[0]), -(-columns // stride[1])
        while max(rows, columns) >= 14:
            window = (2 if rows >= 14 else 1, 2 if columns >= 14 else 1)
            layers.append(nn.MaxPool2d(window))
            rows, columns = rows // window[0], columns // window[1]
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(inputs * rows * columns, inputs, bias=False), nn.BatchNorm1d(inputs)
        )
        self.head = nn.Linear(inputs, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's own types leave it out

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, the values before the last layer, and logits."""
        values = (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        features = functional.relu(self.body(values))
        return features, self.head(features)


class StackClassifier(nn.Module):
    """Stacks uint8 [B, 3, H, W] -> features float32 [B, 384] and logits float32 [B, K^3], by a classifier of channels.

    Features are those of the three channels, one after the other. The logit of the stack that is numbered
    first + K second + K^2 third, as stacked sets have it, is the sum of the log probabilities of the three: its softmax
    is the product of theirs.
    """

    def __init__(self, image_size: ImageSize, stacks: int) -> None:
        super().__init__()
        self.of_channels = Classifier(1, image_size, round(stacks ** (1 / 3)))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        features, logits = self.of_channels(pictures.flatten(0, 1)[:, None])
        first, second, third = logits.log_softmax(dim=1).unflatten(0, (-1, 3)).unbind(dim=1)
        of_stacks = third[:, :, None, None] + second[:, None, :, None] + first[:, None, None, :]
        return features.unflatten(0, (-1, 3)).flatten(1), of_stacks.flatten(1)


def build_classifier(channels: int, image_size: ImageSize, classes: int, *, stacked: bool = False) -> nn.Module:
    """Build a classifier of pictures of this shape, or of stacks, that knows nothing yet; the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return StackClassifier(image_size, classes) if stacked else Classifier(channels, image_size, classes)


def train_classifier(
    network: nn.Module,
    pictures: Rows,
    labels: Tensor,
    precision: Precision = "fp32",
    steps: int | None = None,
    proceed: Callable[[float], None] = lambda _: None,
) -> nn.Module:
    """Train a classifier that was just built, on its device; its weights are fp32 in either precision.

    Pictures uint8 [N, C, H, W] and labels int64 [N] may be elsewhere: each batch is moved. `proceed` is called at each
    step with the share that is done; whatever it raises ends the training.
    Returns the classifier, in evaluation mode.
    """
    device, draws = device_of(network), torch.Generator().manual_seed(SEED)
    network.train()
    adam = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-2, fused=True)
    # Whole batches only: BatchNorm makes nothing of a single picture.
    batches = max(1, len(pictures) // BATCH)
    total = steps or training_steps(len(pictures))
    for step in range(total):
        proceed(step / total)
        if step % batches == 0:
            order = torch.randperm(len(pictures), generator=draws)
        rows = order[step % batches * BATCH :][:BATCH]
        for group in adam.param_groups:
            group["lr"] = LR * _share_of_lr(step / total)
        with autocast(precision, device):
            _, logits = network(pictures.take(rows).to(device))
            loss = functional.cross_entropy(logits.float(), labels[rows].to(device), label_smoothing=0.05)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    network.eval().requires_grad_(False)
    return network


def training_steps(pictures: int) -> int:
    """Return how many steps, of BATCH pictures each, a classifier of so many pictures is trained for."""
    return max(EPOCHS * max(1, pictures // BATCH), LEAST_STEPS)


def _share_of_lr(done: float) -> float:
    """Return the share of LR in one cycle, up for a fifth, then to 0 (Smith & Topin 2018, "Super-Convergence")."""
    return done / 0.2 if done < 0.2 else (1 + math.cos(math.pi * (done - 0.2) / 0.8)) / 2


def device_of(network: nn.Module) -> torch.device:
    """Return the device that a network's weights are on."""
    return next(network.parameters()).device


@torch.no_grad()
def accuracy(network: nn.Module, pictures: Rows, labels: Tensor) -> float:
    """Return the share of pictures uint8 [N, C, H, W] whose label int64 [N] a classifier predicts."""
    device = device_of(network)
    parts = zip(pictures.blocks(BATCH), torch.split(labels, BATCH), strict=True)
    right = [(network(part.to(device))[1].argmax(dim=1) == own.to(device)).sum() for part, own in parts]
    return torch.stack(right).sum().item() / len(pictures)
