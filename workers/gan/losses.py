"""The losses of G and D, on logits: a sigmoid, where there is one, is inside the loss, where it is numerically safe."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from ganservice import recipe
from ganservice.recipe.optimisers import at
from workers.gan.randomness import Draws

# A discriminator with its labels already given, which sees images augmented: images [B, ...] -> logits [B / pack].
Critic = Callable[[Tensor], Tensor]
# How near to 0 and 1 a probability is taken at all.
EPS = 1e-6


class Loss(ABC):
    """The losses of both networks, given D's logits of real and of generated images."""

    # Whether the sigmoid of a logit is the probability that an image is real, as D has learned it.
    gives_probabilities = False
    # What D is to say of generated and of real images, in the mean; None where it gives no probabilities.
    labels: tuple[float, float] | None = None
    # Whether G's loss looks at real images too.
    compares = False
    # The logit at which D takes an image for as likely real as generated; None where only differences of logits count.
    undecided: float | None = 0.0

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits [B], [B] -> scalar."""

    @abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """Logits [B] -> scalar; `real` only for a loss that compares."""

    def accuracies(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The shares of real and of generated images that D is right about, of logits [B], [B] -> scalars.

        One at which D is undecided is half right. Where only differences of logits count, both are the share of pairs
        of a real and a generated image in which the real one has the higher logit.
        """
        if self.undecided is None:
            share = _share_above(real - fake)
            return share, share
        return _share_above(real - self.undecided), _share_above(self.undecided - fake)

    def weights(self, images_seen: int) -> tuple[float, ...]:
        """Those of the penalties after `images_seen` images, where they may change."""
        del images_seen
        return ()

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, images_seen: int) -> Tensor | None:
        """Return what is added to D's loss for its gradient by the images [B, ...]; None where nothing is."""
        del critic, real, fake, images_seen
        return None


class _CrossEntropy(Loss):
    """D minimises BCE(D(x), real_label) + BCE(D(G(z)), fake_label)."""

    gives_probabilities = True

    def __init__(self, options: recipe.NonSaturating | recipe.Minimax, draws: Draws) -> None:
        self._options = options
        self._draws = draws
        self.labels = options.probabilities
        # D(x) where real and generated images are equally dense, between the two labels.
        middle = min(max(sum(self.labels) / 2, EPS), 1 - EPS)
        self.undecided = math.log(middle / (1 - middle))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Binary cross-entropy against the recipe's labels."""
        return self._bce(real, self._options.real_label) + self._bce(fake, self._options.fake_label)

    def accuracies(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """As of any loss; labels may be exchanged."""
        of_real, of_fake = super().accuracies(real, fake)
        label_of_fake, label_of_real = self._options.probabilities
        return (of_real, of_fake) if label_of_real > label_of_fake else (1 - of_real, 1 - of_fake)

    def _bce(self, logits: Tensor, label: recipe.Label) -> Tensor:
        logits = logits.float()
        if isinstance(label, float):
            targets = torch.full_like(logits, label)
        else:
            low, high = label
            targets = low + (high - low) * self._draws.uniform(tuple(logits.shape))
        return binary_cross_entropy_with_logits(logits, targets)


class NonSaturating(_CrossEntropy):
    """G minimises -log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    def __init__(self, options: recipe.NonSaturating, draws: Draws) -> None:
        super().__init__(options, draws)
        self._r1 = options.r1

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """-log sigmoid(a) = softplus(-a)."""
        del real
        return softplus(-fake.float()).mean()

    def weights(self, images_seen: int) -> tuple[float, ...]:
        """That of R1."""
        return (at(self._r1, images_seen),)

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, images_seen: int) -> Tensor | None:
        """R1."""
        del fake
        (r1,) = self.weights(images_seen)
        return _zero_centred(r1, critic, real)


class Minimax(_CrossEntropy):
    """G minimises log(1 - D(G(z))) (Goodfellow et al. 2014, equation 1)."""

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """log(1 - sigmoid(a)) = -softplus(a)."""
        del real
        return -softplus(fake.float()).mean()


class LeastSquares(Loss):
    """LSGAN (Mao et al. 2017), equation 9: a = 0, b = c = 1."""

    undecided = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """((D(x) - 1)^2 + D(G(z))^2) / 2."""
        return ((real.float() - 1).square().mean() + fake.float().square().mean()) / 2

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """(D(G(z)) - 1)^2 / 2."""
        del real
        return (fake.float() - 1).square().mean() / 2


class Hinge(Loss):
    """The hinge loss (Miyato et al. 2018, equations 16 and 17)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """max(0, 1 - D(x)) + max(0, 1 + D(G(z)))."""
        return (1 - real.float()).relu().mean() + (1 + fake.float()).relu().mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """-D(G(z))."""
        del real
        return -fake.float().mean()


class WassersteinGp(Loss):
    """WGAN-GP (Gulrajani et al. 2017), equation 3: penalty * (||grad D(x^)||_2 - 1)^2, x^ between real and fake."""

    undecided = None

    def __init__(self, options: recipe.WassersteinGp, draws: Draws, pack: int = 1) -> None:
        self._options = options
        self._draws = draws
        self._pack = pack

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """D(G(z)) - D(x)."""
        return fake.float().mean() - real.float().mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """-D(G(z))."""
        del real
        return -fake.float().mean()

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, images_seen: int) -> Tensor:
        """The penalty at one point on the line between each real input of D, a pack of images, and a generated one."""
        del images_seen
        share = self._draws.uniform((len(real) // self._pack, *[1] * (real.dim() - 1))).repeat_interleave(self._pack, 0)
        between = share * real + (1 - share) * fake
        # The root has no derivative at 0.
        norm = (_squared_gradient(critic, between) + 1e-12).sqrt()
        return self._options.penalty * (norm - 1).square().mean()


class Relativistic(Loss):
    """The relativistic pairing loss (Huang et al. 2024, "R3GAN", equation 2) with zero-centred penalties.

    D minimises softplus(D(G(z)) - D(x)), G the opposite, each pair of a real and a generated image at a time.
    R1 and R2 are zero-centred penalties at real and at generated images.
    """

    compares = True
    undecided = None

    def __init__(self, options: recipe.Relativistic) -> None:
        self._options = options

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """softplus(D(G(z)) - D(x))."""
        return softplus(fake.float() - real.float()).mean()

    def generator(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """softplus(D(x) - D(G(z)))."""
        if real is None:
            raise ValueError("a relativistic loss compares generated images with real ones; found none")
        return softplus(real.float() - fake.float()).mean()

    def weights(self, images_seen: int) -> tuple[float, ...]:
        """Those of R1 and R2."""
        return at(self._options.r1, images_seen), at(self._options.r2, images_seen)

    def penalty(self, critic: Critic, real: Tensor, fake: Tensor, images_seen: int) -> Tensor | None:
        """R1 and R2."""
        r1, r2 = self.weights(images_seen)
        of_real = _zero_centred(r1, critic, real)
        of_fake = _zero_centred(r2, critic, fake)
        return of_fake if of_real is None else of_real if of_fake is None else of_real + of_fake


def build_loss(options: recipe.Loss, draws: Draws, pack: int = 1) -> Loss:  # an arm for each loss
    """The loss that a recipe asks for, of a D that looks at packs of so many images."""
    match options:
        case recipe.NonSaturating():
            return NonSaturating(options, draws)
        case recipe.Minimax():
            return Minimax(options, draws)
        case recipe.LeastSquares():
            return LeastSquares()
        case recipe.Hinge():
            return Hinge()
        case recipe.WassersteinGp():
            return WassersteinGp(options, draws, pack)
        case recipe.Relativistic():
            return Relativistic(options)
    assert_never(options)


def value(real: Tensor, fake: Tensor) -> Tensor:
    """V(G, D) = E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, equation 1), of logits [B], [B] -> scalar."""
    return -softplus(-real.float()).mean() - softplus(fake.float()).mean()


def _share_above(margins: Tensor) -> Tensor:
    return (1 + margins.sign()).mean() / 2


def _zero_centred(weight: float, critic: Critic, images: Tensor) -> Tensor | None:
    """weight/2 * ||grad D||^2, the mean over images [B, ...] (Mescheder et al. 2018, equation 9); None of no weight."""
    return weight / 2 * _squared_gradient(critic, images).mean() if weight else None


def _squared_gradient(critic: Critic, images: Tensor) -> Tensor:
    """||grad D||^2 at each of the images [B, ...], [B / pack]; differentiable."""
    # In fp32, the gradient too: the squares of small gradients have no place in bf16.
    points = images.detach().float().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        logits = critic(points)
        (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return gradient.reshape(len(logits), -1).square().sum(dim=1)
