"""Augmentation of all that D looks at: which changes are made, and how often."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, Tag, model_validator

from ganservice.model import EachOnce, Images, Model, kind_or
from ganservice.recipe.data import Data, Pictures
from ganservice.recipe.optimisers import ShareRamp, at

# Of Zhao et al. (2020), "DiffAugment".
DifferentiableChange = Literal["translation", "cutout", "colour"]
# Of Karras et al. (2020), "StyleGAN2-ADA", appendix B, in the order in which they are made.
GeometricChange = Literal[
    "flip", "quarter_turn", "integer_translation", "scale", "rotation", "stretch", "fractional_translation"
]
ColourChange = Literal["brightness", "contrast", "luma_flip", "hue", "saturation"]
Change = Literal[DifferentiableChange, GeometricChange, ColourChange]

# Of pictures that have colours: on grey ones they do nothing.
CHANGES_OF_COLOURS = ("hue", "saturation")


class ProbabilityRamp(ShareRamp):
    """A probability that changes over the images seen."""

    kind: Literal["ramp"] = Field(description="A way from one probability to another.")


class AdaptiveProbability(Model):
    """A probability that rises while D is surer of real pictures than a target, and falls while it is less sure
    (Karras et al. 2020, "StyleGAN2-ADA", section 3.1)."""

    kind: Literal["adaptive"] = Field(description="Led by how sure D is of real pictures.")
    target: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.6,
        description=(
            "What r_t, the mean sign of D's logits of real pictures, is led to: 0 where D is right about half of "
            "them, 1 where about all."
        ),
    )
    speed_images: Images = Field(
        default=500_000, description="The probability could go from 0 to 1, where it begins, in so many images."
    )


Probability = (
    Annotated[
        Annotated[ProbabilityRamp, Tag("ramp")] | Annotated[AdaptiveProbability, Tag("adaptive")], kind_or("adaptive")
    ]
    | Annotated[float, Field(ge=0, le=1)]
)


class Augment(Model):
    """Changes that gradients pass, of real and of generated pictures; each picture draws which of them it undergoes."""

    changes: Annotated[tuple[Change, ...], Field(max_length=16), EachOnce()] = Field(
        default=(),
        description=(
            '`translation`, `cutout` and `colour` are those of Zhao et al. (2020, "DiffAugment"), the others of Karras '
            'et al. (2020, "StyleGAN2-ADA").'
        ),
    )
    probability: Probability = Field(
        default=1.0, description="Probability with which a picture undergoes each of the changes."
    )

    @property
    def may_change(self) -> bool:
        """Whether the probability is another at another time."""
        return not isinstance(self.probability, float)

    def probability_at(self, images: int) -> float:
        """The probability after `images` images; 0, where it begins, of one that is led."""
        return 0.0 if isinstance(self.probability, AdaptiveProbability) else at(self.probability, images)

    def misfit(self, data: Data) -> str | None:
        """Say what is wrong with changing examples of `data`, beginning with the key; None if nothing is."""
        if not self.changes:
            return None
        if not isinstance(data, Pictures):
            return f"changes: are of pictures; found data.kind: {data.kind}"
        colours = [change for change in self.changes if change in CHANGES_OF_COLOURS]
        if colours and data.channels == 1:
            return f"changes: found {colours[0]}, but pictures with data.channels: 1 have no colours; leave it out"
        if "quarter_turn" in self.changes and data.sides.width != data.sides.height:
            return (
                "changes: found quarter_turn, which is of square pictures, but data.image_size is oblong; leave it out"
            )
        return None

    @model_validator(mode="after")
    def _probability_is_of_something(self) -> Self:
        if not self.changes and "probability" in self.model_fields_set and self.probability != 1:
            raise ValueError(
                f"changes: found none, expected some, such as [{', '.join(get_args(GeometricChange)[:3])}]"
            )
        return self


def _as_augment(value: Any) -> Any:
    """A list alone is of changes that every picture undergoes: the form that older specs have."""
    return {"changes": value} if isinstance(value, list | tuple) else value


AnyAugment = Annotated[Augment, BeforeValidator(_as_augment)]
