"""Conditioning: how G and D get the label of each picture."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from ganservice.model import Model, kind_or
from ganservice.recipe.data import MAX_CLASSES
from ganservice.recipe.network import Size

Classes = Annotated[int, Field(ge=2, le=MAX_CLASSES)]
CLASSES = "Number of classes, which must be that of the data set."


class LabelPlane(Model):
    """Labels for any G and D, around them: an embedding and a linear layer each.

    G gets the label's features joined to a linear map of z, D an extra channel of the image's size.
    """

    kind: Literal["label_plane"] = Field(
        default="label_plane", description="Labels beside z for G, and as a plane of the picture for D."
    )
    classes: Classes = Field(description=CLASSES)
    embedding_size: Size = Field(default=50, description="Length of the vector that stands for a class.")
    label_features: Size = Field(default=10, description="Features of the label that G gets.")
    latent_features: Size = Field(default=500, description="Features of the latent that G gets beside them.")


class BuiltIn(Model):
    """Labels in the way that the networks themselves have for them, as their papers say."""

    kind: Literal["built_in"] = Field(
        description="Labels as the networks take them themselves; unless said otherwise, wherever both do."
    )
    classes: Classes = Field(description=CLASSES)


Conditioning = Annotated[
    Annotated[LabelPlane, Tag("label_plane")] | Annotated[BuiltIn, Tag("built_in")], kind_or("label_plane")
]
