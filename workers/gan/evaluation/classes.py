"""What a classifier makes of generated pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor


def class_score(logits: Tensor) -> float:
    """Return exp of the mean divergence of p(y|x) from p(y), from logits [N, K]: 1 at worst, K at best.

    Salimans et al. (2016), "Improved Techniques for Training GANs": the Inception Score where the classifier is
    Inception. Over all N at once; their mean over ten parts is lower, the smaller the parts the more.
    """
    log_p = logits.double().log_softmax(dim=1)
    log_marginal = log_p.logsumexp(dim=0) - torch.tensor(len(log_p)).log()
    return (log_p.exp() * (log_p - log_marginal)).sum(dim=1).mean().exp().item()


@dataclass(frozen=True)
class Modes:
    """Classes found among generated pictures, and the divergence of their shares from those of the data, in nats."""

    count: int
    divergence: float


def modes(predicted: Tensor, data_shares: Tensor) -> Modes:
    """Count the classes among predictions int64 [N] and compare their shares with those of the data [K].

    KL(generated || data), as Metz et al. (2017), "Unrolled GANs", have it of Stacked-MNIST; infinite where a class is
    generated that the data do not have.
    """
    counts = torch.bincount(predicted, minlength=len(data_shares)).double()
    shares = counts / counts.sum()
    occurs = shares > 0
    divergence = (shares[occurs] * (shares[occurs] / data_shares[occurs].double()).log()).sum()
    return Modes(count=int(occurs.sum()), divergence=divergence.item())


def accuracies(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Return the share of pictures of each class that are predicted to be of it [classes]; None of a class without any.

    Predicted classes and labels are int64 [N].

    GAN-test where the classifier learned real pictures, GAN-train where it learned generated ones and is asked about
    real ones (Shmelkov et al. 2018, "How good is my GAN?").
    """
    right = (predicted == labels).double()
    of = [labels == label for label in range(classes)]
    return [right[own].mean().item() if own.any() else None for own in of]
