"""Pictures for trackers that take them decoded, whoever stored them."""

import io

from PIL import Image

from ganservice.errors import DataInvalid
from ganservice.report_pictures import is_png


def decoded(png: bytes) -> Image.Image:
    """A picture of a size that a page may show. Raises DataInvalid where the bytes are no whole PNG of such."""
    if not is_png(png):
        raise DataInvalid("it is no PNG, or too large to be shown")
    try:
        picture = Image.open(io.BytesIO(png), formats=["PNG"])
        picture.load()
    except Exception as error:  # decoders of damaged bytes raise whatever their arithmetic runs into
        raise DataInvalid("it is no whole PNG") from error
    return picture
