"""Pictures of any shape as pictures of one size: cropped, laid on a ground, or stretched."""

from typing import Literal

from PIL import Image, ImageOps

from ganservice.recipe import Sides

# What becomes of a picture whose sides are in another proportion than wanted: what is beyond the wanted shape is cut
# off, or what it lacks is filled with the ground, on both sides alike; or its sides are scaled apart.
Fit = Literal["crop", "pad", "stretch"]
# What lies behind pictures that are padded, and behind transparent ones where alpha is not kept.
Ground = Literal["white", "black"]
# LANCZOS looks at every source pixel when shrinking and stays sharp when enlarging; BOX would only repeat some rows and
# columns on the way from 28 to 32 px.
FILTER = Image.Resampling.LANCZOS


def fitted(picture: Image.Image, sides: Sides, fit: Fit = "crop", ground: Ground = "white") -> Image.Image:
    """A picture (L, RGB, RGBA or F) with such sides. Around one of RGBA that is padded, all is transparent."""
    match fit:
        case "crop":
            # The crop is part of the one resize, so that a very long and thin picture is never enlarged whole.
            return ImageOps.fit(picture, sides, FILTER)
        case "stretch":
            return picture.resize(sides, FILTER)
        case "pad":
            scale = min(sides.width / picture.width, sides.height / picture.height)
            inner = Sides(*(max(1, round(side * scale)) for side in picture.size))
            whole = Image.new(picture.mode, sides, _colour(picture.mode, ground))
            corner = (sides.width - inner.width) // 2, (sides.height - inner.height) // 2
            whole.paste(picture.resize(inner, FILTER), corner)
            return whole


def is_enlarged(own: Sides, wanted: Sides, fit: Fit) -> bool:
    """Whether a picture has fewer pixels, along some side, than what it becomes."""
    is_shorter = (side < other for side, other in zip(own, wanted, strict=True))
    return all(is_shorter) if fit == "pad" else any(is_shorter)


def _colour(mode: str, ground: Ground) -> int | tuple[int, ...]:
    value = {"white": 255, "black": 0}[ground]
    return {"RGB": (value, value, value), "RGBA": (0, 0, 0, 0)}.get(mode, value)
