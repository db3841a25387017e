"""A small conditional GAN: what a user writes to train networks of his own."""

from torch import cat, nn

from .blocks import down, up


class Generator(nn.Module):
    def __init__(self, latent_size, shape, classes, width):
        super().__init__()
        self.label = nn.Embedding(classes, latent_size) if classes else None
        inputs = latent_size * (2 if classes else 1)
        self.start = nn.Linear(inputs, 4 * width * (shape[1] // 4) * (shape[2] // 4))
        self.seed = nn.Unflatten(1, (4 * width, shape[1] // 4, shape[2] // 4))
        self.body = nn.Sequential(up(4 * width, 2 * width), up(2 * width, width), nn.Conv2d(width, shape[0], 3, 1, 1))

    def forward(self, latents, labels=None):
        inputs = latents if labels is None else cat([latents, self.label(labels)], dim=1)
        return self.body(self.seed(self.start(inputs))).tanh()


class Discriminator(nn.Module):
    def __init__(self, shape, classes, width):
        super().__init__()
        self.body = nn.Sequential(down(shape[0], width), down(width, 2 * width), nn.Dropout(0.2), nn.Flatten())
        features = 2 * width * (shape[1] // 4) * (shape[2] // 4)
        self.logit = nn.Linear(features, 1)
        self.label = nn.Embedding(classes, features) if classes else None

    def forward(self, images, labels=None):
        features = self.body(images)
        logits = self.logit(features).flatten()
        return logits if labels is None else logits + (self.label(labels) * features).mean(dim=1)


def generator(latent_size, shape, classes, width=16):
    return Generator(latent_size, shape, classes, width)


def discriminator(shape, classes, width=16):
    return Discriminator(shape, classes, width)
