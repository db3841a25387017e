"""Networks that know the class of each picture, as the conditional DCGAN lesson this project started from has them."""

import math

import torch
from torch import Tensor, nn

from ganservice.recipe import LabelPlane


class LabelledGenerator(nn.Module):
    """A generator of `latent_features + label_features` inputs that gets a label beside z."""

    def __init__(self, body: nn.Module, conditioning: LabelPlane, latent_size: int) -> None:
        super().__init__()
        self.body = body
        self.latents = nn.Linear(latent_size, conditioning.latent_features)
        self.labels = nn.Sequential(
            nn.Embedding(conditioning.classes, conditioning.embedding_size),
            nn.Linear(conditioning.embedding_size, conditioning.label_features),
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents float [B, latent_size], labels int64 [B] -> images."""
        images: Tensor = self.body(torch.cat([self.latents(latents), self.labels(labels)], dim=1))
        return images


class LabelledDiscriminator(nn.Module):
    """A discriminator that sees the label as one more channel of the image."""

    def __init__(self, body: nn.Module, conditioning: LabelPlane, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self._size = image_shape[1:]
        self.labels = nn.Sequential(
            nn.Embedding(conditioning.classes, conditioning.embedding_size),
            nn.Linear(conditioning.embedding_size, math.prod(self._size)),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images [B, C, H, W], labels int64 [B] -> logits [B]."""
        plane = self.labels(labels).view(-1, 1, *self._size)
        logits: Tensor = self.body(torch.cat([images, plane.to(images.dtype)], dim=1))
        return logits
