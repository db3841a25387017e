"""GANs in the plane: what is known in closed form, what is measured, and the picture of both."""

import io
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganservice.recipe import Mixture
from workers.gan.trainer import Trainer

# A sample is good within so many standard deviations of a mode (Srivastava et al. 2017, "VEEGAN", section 4.1).
GOOD_STDS = 3
GRID = 160
# Enough to judge the coverage of a mixture by.
POINTS_TO_DRAW = 2_500


def coverage(mixture: Mixture, samples: Tensor) -> tuple[int, float]:
    """Modes that have a good sample, and the share of the samples float [N, 2] that are good."""
    distances, nearest = torch.cdist(samples, torch.tensor(mixture.centres)).min(dim=1)
    good = distances <= GOOD_STDS * mixture.std
    return len(set(nearest[good].tolist())), good.float().mean().item()


def mixture_log_density(mixture: Mixture, points: Tensor) -> Tensor:
    """log p_data at points [N, 2] -> [N]."""
    squared = torch.cdist(points.double(), torch.tensor(mixture.centres, dtype=torch.float64)).square()
    exponents = -squared / (2 * mixture.std**2)
    return exponents.logsumexp(dim=1) - math.log(2 * math.pi * mixture.std**2 * mixture.modes)


def affine_log_density(generator: nn.Linear, points: Tensor) -> Tensor:
    """log p_g at points [N, 2] -> [N] of G(z) = A z + b, z standard normal: a Gaussian N(b, A A^T)."""
    scale = generator.weight.detach().double().cpu()
    mean = torch.zeros(2).double() if generator.bias is None else generator.bias.detach().double().cpu()
    density = torch.distributions.MultivariateNormal(mean, scale @ scale.T)
    log_density: Tensor = density.log_prob(points.double())
    return log_density


def optimal_discriminator(log_data: Tensor, log_generator: Tensor, labels: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """D*(x) = p_data(x) / (p_data(x) + p_g(x)) (Goodfellow et al. 2014, proposition 1), from log densities.

    With other labels of generated and of real points than 0 and 1 it lies between them: their mean by the densities.
    """
    of_fake, of_real = labels
    return of_fake + (of_real - of_fake) * (log_data - log_generator).sigmoid()


def plane_png(mixture: Mixture, trainer: Trainer, real: Tensor, latents: Tensor) -> bytes:
    """D(x) over the plane with real points [N, 2] and generated ones; D* beside it where p_g has a closed form."""
    generated = trainer.sample(latents)
    reach = 1.25 * max(abs(number) for centre in mixture.centres for number in centre) + 6 * mixture.std
    line = torch.linspace(-reach, reach, GRID)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
    title = "D(x)" if trainer.labels else "sigmoid of D's score"
    surfaces = {title: trainer.discriminate(points).sigmoid()}
    if isinstance(trainer.sampling_generator, nn.Linear) and trainer.labels:
        log_generator = affine_log_density(trainer.sampling_generator, points)
        log_data = mixture_log_density(mixture, points)
        surfaces["D*(x) for the average of G"] = optimal_discriminator(log_data, log_generator, trainer.labels)
    arrays = {title: surface.reshape(GRID, GRID).numpy() for title, surface in surfaces.items()}
    return _draw(arrays, real.numpy(), generated.numpy(), reach)


def points_png(points: NDArray[np.float32], *, joined: bool = False) -> bytes:
    """Points float [N, 2] as a scatter plot; `joined` in their order by a line whose first point is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(points[:, 0], points[:, 1], s=3, linewidths=0)
    if joined:
        axes.plot(points[:, 0], points[:, 1], linewidth=0.8, marker="o", markersize=4)
        axes.plot(*points[0], marker="s", markersize=8, color="black")
    axes.set(title=f"generated points: {len(points):,}", aspect="equal")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw(
    surfaces: dict[str, NDArray[np.float64]], real: NDArray[np.float32], generated: NDArray[np.float32], reach: float
) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(surfaces), 4.9), layout="constrained")
    for axes, (title, surface) in zip(
        figure.subplots(1, len(surfaces), squeeze=False)[0], surfaces.items(), strict=True
    ):
        image = axes.imshow(
            surface, extent=(-reach, reach, -reach, reach), origin="lower", vmin=0, vmax=1, cmap="RdBu", alpha=0.6
        )
        axes.scatter(real[:, 0], real[:, 1], s=2, c="black", linewidths=0, label="real")
        axes.scatter(generated[:, 0], generated[:, 1], s=3, c="tab:green", linewidths=0, label="generated")
        axes.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach))
        figure.colorbar(image, ax=axes)
    # Beside the plane, where it hides no point.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
