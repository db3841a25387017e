"""Measures of quality by others, each of features alone: no network is run. Each must give what ours does."""

import contextlib
import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from torch import Tensor, nn

from tests.benchmarks.evaluation import Features, manifolds_of, same_seconds
from tests.benchmarks.training import use_cores
from workers.gan.evaluation.frechet import frechet_distance, statistics
from workers.gan.evaluation.neighbours import NEIGHBOURS

Measure = Callable[[], float]


class Given(nn.Module):
    """A network for who insists on one: the features go through it as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def torchmetrics_frechet(features: Features) -> Measure:
    use_cores()
    of_images: Any = importlib.import_module("torchmetrics.image.fid")
    metric = of_images.FrechetInceptionDistance(feature=Given(features.width), reset_real_features=False)
    real, generated = features.both
    metric.update(real, real=True)

    def compute() -> tuple[float]:
        metric.update(generated, real=False)
        found = float(metric.compute())
        metric.reset()
        return (found,)

    return _same(compute, _frechet(features))


def fidelity_frechet(features: Features) -> Measure:
    use_cores()
    fid: Any = importlib.import_module("torch_fidelity.metric_fid")
    real, generated = features.both
    known = fid.fid_features_to_statistics(real)

    def compute() -> tuple[float]:
        found = fid.fid_statistics_to_metric(fid.fid_features_to_statistics(generated), known, False)
        return (float(found["frechet_inception_distance"]),)

    return _same(compute, _frechet(features))


def sqrtm(features: Features) -> Measure:
    """The formula as it is written, by a general square root; all moments are known."""
    use_cores()
    (m1, c1), (m2, c2) = ((x.double().mean(0).numpy(), np.cov(x.double().numpy().T)) for x in features.both)

    def compute() -> tuple[float]:
        return (float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)),)

    return _same(compute, _frechet(features))


def prdc(features: Features) -> Measure:
    use_cores()
    package: Any = importlib.import_module("prdc")
    real, generated = (each.numpy() for each in features.both)

    def compute() -> tuple[float, ...]:
        with contextlib.redirect_stdout(io.StringIO()):
            found = package.compute_prdc(real, generated, NEIGHBOURS)
        return tuple(float(found[name]) for name in ("precision", "recall", "density", "coverage"))

    ours = manifolds_of(*features.both)
    return _same(compute, (ours.precision, ours.recall, ours.density, ours.coverage))


def fidelity_precision_recall(features: Features) -> Measure:
    use_cores()
    prc: Any = importlib.import_module("torch_fidelity.metric_prc")
    real, generated = features.both
    options = {"prc_neighborhood": NEIGHBOURS, "prc_batch_size": 10_000, "save_cpu_ram": False, "verbose": False}

    def compute() -> tuple[float, ...]:
        found = prc.prc_features_to_metric(generated, real, **options)
        return tuple(float(found[name]) for name in ("precision", "recall"))

    ours = manifolds_of(real, generated)
    return _same(compute, (ours.precision, ours.recall))


def _frechet(features: Features) -> tuple[float]:
    real, generated = features.both
    return (frechet_distance(statistics([real]), statistics([generated])),)


def _same(compute: Callable[[], tuple[float, ...]], expected: tuple[float, ...]) -> Measure:
    return lambda: same_seconds(compute, expected)
