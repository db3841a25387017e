"""How like the real pictures their reconstructions are, pixel by pixel: PSNR and SSIM, of values from 0 to 1."""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

# The mean square of what rounding to whole levels of 255 leaves: pictures that differ by no more are as good as equal.
LEAST_SQUARE = 1 / 12 / 255**2
# Wang et al. (2004), "Image quality assessment: from error visibility to structural similarity", section III.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each picture uint8 [B, C, H, W], dB; at most 58.9, of equal ones; float64 [B].

    10 log10(1 / MSE), with the mean square over all pixels and channels.
    """
    squares = (_values(made) - _values(real)).square().mean(dim=(1, 2, 3))
    return -10 * squares.clamp_min(LEAST_SQUARE).log10()


def ssim(made: Tensor, real: Tensor) -> Tensor:
    """The structural similarity of each picture uint8 [B, C, H, W] with the real one; float64 [B].

    Wang et al. (2004), equation 13, with their Gaussian window of 11 px and sigma 1.5: the mean over all places at
    which the whole window lies within the picture, and over channels. NaN of pictures that are smaller than the window.
    """
    if min(made.shape[2:]) < WINDOW:
        return torch.full((len(made),), torch.nan, dtype=torch.float64)
    x, y = _values(made), _values(real)
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x, variance_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean(dim=(1, 2, 3))


def _values(pictures: Tensor) -> Tensor:
    return pictures.cpu().double() / 255


def _smooth(values: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, H - 10, W - 10], by the window, down and then across."""
    places = torch.arange(WINDOW, dtype=values.dtype) - WINDOW // 2
    weights = torch.exp(-places.square() / (2 * SIGMA**2))
    weights /= weights.sum()
    channels = values.shape[1]
    for kernel in (weights.view(1, 1, -1, 1), weights.view(1, 1, 1, -1)):
        values = conv2d(values, kernel.expand(channels, -1, -1, -1), groups=channels)
    return values
