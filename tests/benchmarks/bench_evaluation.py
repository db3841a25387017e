"""The Frechet distance of 2,048 features, over that by a general matrix square root."""

import time

import numpy as np
import scipy.linalg
import torch

from tests.benchmarks.ratios import compare
from workers.gan.evaluation.frechet import frechet_distance, statistics

WIDTH, COUNT = 2_048, 4_000


def main() -> None:
    draws = torch.Generator().manual_seed(0)
    real = torch.randn(COUNT, WIDTH, generator=draws)
    generated = 1.1 * torch.randn(COUNT, WIDTH, generator=draws) + 0.1
    # Of the real pictures the statistics are known: they are computed once for a protocol.
    known, moments = (
        statistics([real]),
        [(x.double().mean(0).numpy(), np.cov(x.double().numpy().T)) for x in (real, generated)],
    )

    def ours_s() -> float:
        started = time.perf_counter()
        frechet_distance(known, statistics(generated.split(100)))
        return time.perf_counter() - started

    def general_s() -> float:
        started = time.perf_counter()
        (m1, c1), (m2, c2) = moments
        float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real))
        return time.perf_counter() - started

    compare("ours, with the statistics of the generated ones / the root alone", ours_s, general_s, pairs=2)
