"""Documents of what a generator was made to draw."""

from pydantic import Field

from ganservice.documents.base import Document


class PicturesDocument(Document):
    """`sample`: the picture that was written."""

    picture: str = Field(description="Its path.")
    count: int = Field(description="Pictures in it.")
    arrays: str | None = Field(description="Path of the same as arrays, with `--arrays`.")


class WalkDocument(Document):
    """`interpolate`: a walk through latent space."""

    picture: str = Field(description="Path of the picture.")
    method: str = Field(description="How it was walked.")
    latents: list[list[float]] = Field(description="The latents on the way.")
    latent_lengths: list[float] = Field(description="How long each is.")
    picture_changes: list[float] = Field(description="Root mean square from each picture to the next.")


class RecoverDocument(Document):
    """`recover`: the latents of pictures."""

    picture: str = Field(description="Path of the picture.")
    error_per_pixel: float = Field(description="Mean squared error, of pixels in [-1, 1].")
    errors: list[float] = Field(description="That of each picture.")
    latents: list[list[float]] = Field(description="The latents that were found.")
    success_rates: dict[float, float] | None = Field(
        default=None, description="Share of the latents that were found to within each distance; null of real pictures."
    )


class InpaintDocument(Document):
    """`inpaint`: pictures of which a part is hidden, completed."""

    picture: str = Field(description="Path of the picture.")
    error_per_known_pixel: float = Field(description="Mean squared error of what is known, of pixels in [-1, 1].")
    error_per_hidden_pixel: float = Field(description="That of what was hidden.")
    latents: list[list[float]] = Field(description="The latents that were found.")


class AugmentDocument(Document):
    """`augment`: a labelled set of generated pictures."""

    folder: str = Field(description="Where it is.")
    classes: dict[str, int] = Field(description="Pictures of each class.")


class UpscaleDocument(Document):
    """`upscale`: the pictures that were written."""

    pictures: tuple[str, ...] = Field(description="Their paths, in the order that was given.")
    factor: int = Field(description="How many times as wide and high they are.")
