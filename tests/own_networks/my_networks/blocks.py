"""Blocks that double and halve a picture."""

from torch import nn


def up(before, after):
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1), nn.LeakyReLU(0.2))


def down(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2))
