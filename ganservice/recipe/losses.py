"""Losses that can be asked for; `workers.gan.losses` computes them."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from ganservice.model import Model, NumberFromZero, PositiveNumber, kind_or
from ganservice.recipe.optimisers import Ramp

# A fixed target, or the two ends of a range from which each sample's target is drawn.
Target = Annotated[float, Field(ge=0, le=1.5)]
Label = Target | tuple[Target, Target]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
LAZY = (
    "1 has penalties in each step of D. With more, D takes a step by penalties alone, as many times as strong, after "
    "every so many steps; learning rate and betas are corrected for it "
    '(Karras et al. 2020, "StyleGAN2", appendix B, "lazy regularization").'
)


class _Loss(Model):
    """The keys that every loss has."""

    @property
    def lazy_steps(self) -> int:
        """Every so many steps D takes one by its penalties alone; 1 where they are part of each step."""
        return 1

    @property
    def penalises_gradients(self) -> bool:
        """Whether D's loss holds a gradient of D by its input."""
        return False

    @property
    def probabilities(self) -> tuple[float, float]:
        """D's mean probabilities of generated and of real pictures, once it tells them all apart."""
        return 0.0, 1.0

    @property
    def has_middle(self) -> bool:
        """Whether D's logit of one picture tells what D takes it for: it has a value at which D is undecided."""
        return True

    @property
    def needs_doubt(self) -> bool:
        """Whether G learns little from a D that tells all real pictures from generated ones."""
        return True


class _ZeroCentred(_Loss):
    """The keys of losses that may penalise D's gradient at real pictures (Mescheder et al. 2018, equation 9)."""

    r1: NumberFromZero | Ramp = Field(default=0.0, description="Weight of the gradient penalty at real pictures.")
    penalty_every_steps: Steps = Field(default=1, description=LAZY)

    @property
    def penalises_gradients(self) -> bool:
        """Whether D's loss holds a gradient of D, by real pictures."""
        return _is_ever_positive(self.r1)

    @property
    def lazy_steps(self) -> int:
        """One only where there are penalties."""
        return self.penalty_every_steps if self.penalises_gradients else 1


def _is_ever_positive(weight: float | Ramp) -> bool:
    return isinstance(weight, Ramp) or weight > 0


class _CrossEntropy(_Loss):
    """D minimises binary cross-entropy on logits, against labels that may be smoothed."""

    real_label: Label = Field(
        default=1.0,
        description="What D should say of real pictures: a number, or a range `[low, high]` to draw each label from.",
    )
    fake_label: Label = Field(
        default=0.0, description="What D should say of generated pictures: a number, or a range `[low, high]`."
    )

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, label in (("real_label", self.real_label), ("fake_label", self.fake_label)):
            if isinstance(label, tuple) and label[0] > label[1]:
                raise ValueError(f"{name}: found {list(label)}, expected the lower end of the range first")
        if math.isclose(*self.probabilities):
            raise ValueError("real_label and fake_label are the same in the mean: D could learn nothing from them")
        return self

    @property
    def probabilities(self) -> tuple[float, float]:
        """The means of the labels, which are what D learns to say."""
        fake, real = (
            sum(label) / 2 if isinstance(label, tuple) else label for label in (self.fake_label, self.real_label)
        )
        return fake, real


class NonSaturating(_CrossEntropy, _ZeroCentred):
    """G maximises log D(G(z)) (Goodfellow et al. 2014, section 3)."""

    kind: Literal["non_saturating"] = Field(default="non_saturating", description="The usual loss of a GAN.")


class Minimax(_CrossEntropy):
    """G minimises log(1 - D(G(z))), which saturates while D is ahead (Goodfellow et al. 2014, equation 1)."""

    kind: Literal["minimax"] = Field(description="The loss of the two-player game as it was first written down.")


class LeastSquares(_Loss):
    """Squared distances to labels 1 and 0 (Mao et al. 2017, "LSGAN", equation 9)."""

    kind: Literal["lsgan"] = Field(description="Least squares.")


class Hinge(_Loss):
    """The hinge loss (Lim & Ye 2017; Miyato et al. 2018, equations 16 and 17)."""

    kind: Literal["hinge"] = Field(description="The hinge loss.")


class WassersteinGp(_Loss):
    """Wasserstein distance with gradient penalty (Gulrajani et al. 2017, equation 3)."""

    kind: Literal["wgan_gp"] = Field(description="Wasserstein distance with gradient penalty.")
    penalty: PositiveNumber = Field(default=10.0, description="Weight of the gradient penalty.")

    @property
    def penalises_gradients(self) -> bool:
        """Whether D's loss holds a gradient of D: always, by points between a real and a generated picture."""
        return True

    @property
    def has_middle(self) -> bool:
        """No: only differences of logits count."""
        return False

    @property
    def needs_doubt(self) -> bool:
        """Not from this one, which measures a distance, the better the more it has learned."""
        return False


class Relativistic(_ZeroCentred):
    """The relativistic pairing loss with R1 and R2 (Huang et al. 2024, "R3GAN", section 2)."""

    kind: Literal["relativistic"] = Field(description="Each generated picture against a real one.")
    r1: NumberFromZero | Ramp = Field(default=1.0, description="Weight of the gradient penalty at real pictures.")
    r2: NumberFromZero | Ramp = Field(default=1.0, description="Weight of the gradient penalty at generated pictures.")

    @property
    def has_middle(self) -> bool:
        """No: only differences of logits count."""
        return False

    @property
    def penalises_gradients(self) -> bool:
        """Whether D's loss holds a gradient of D, by real or by generated pictures."""
        return _is_ever_positive(self.r1) or _is_ever_positive(self.r2)


Loss = Annotated[
    Annotated[NonSaturating, Tag("non_saturating")]
    | Annotated[Minimax, Tag("minimax")]
    | Annotated[LeastSquares, Tag("lsgan")]
    | Annotated[Hinge, Tag("hinge")]
    | Annotated[WassersteinGp, Tag("wgan_gp")]
    | Annotated[Relativistic, Tag("relativistic")],
    kind_or("non_saturating"),
]
