"""Pictures in a terminal, for `ganctl watch` and `ganctl sample --show`."""

import io
import warnings

from PIL import Image
from rich.console import Console
from rich.text import Text  # noqa: TID251 # half blocks alone are drawn here

from ganservice.cli.output import say
from ganservice.cli.watched_picture import draws_pictures
from ganservice.errors import DataInvalid
from ganservice.recipe import Sides
from workers.gan.grid import GAP_PX

# A sample is recognised in so many pixels each way, or in this share of its own, or as it is.
RECOGNISED_PX, RECOGNISED_SHARE = 12, 0.25
# A picture may be higher than the terminal: it scrolls.
MOST_LINES = 200
# Far more than a sample grid has; each of them takes memory.
MOST_PIXELS = 32_000_000
# What Pillow raises about too large a picture.
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def half_blocks(png: bytes, columns: int, lines: int, sample: Sides | None = None) -> Text:
    """A picture that fits into so many columns and lines; each character is two pixels, one above the other.

    Of a grid of samples with such sides there are as many as can be recognised at that size. What is transparent lies
    on white.

    Raises:
        DataInvalid: it is no whole PNG, or too large.
    """
    picture = _opened(png)
    if sample:
        picture = _first_samples(picture, columns, 2 * lines, sample)
    scale = min(columns / picture.width, 2 * lines / picture.height, 1.0)
    picture = picture.resize((max(1, int(picture.width * scale)), max(2, int(picture.height * scale)) // 2 * 2))
    text = Text()
    for top in range(0, picture.height, 2):
        for left in range(picture.width):
            above, below = picture.getpixel((left, top)), picture.getpixel((left, top + 1))
            text.append("▀", style=f"rgb{above} on rgb{below}".replace(" ", "").replace("onrgb", " on rgb"))
        text.append("\n")
    text.right_crop()
    return text


def _first_samples(grid: Image.Image, width: int, height: int, sample: Sides) -> Image.Image:
    """The first rows and columns of a grid of samples, so many that each is recognised in a picture of this size."""
    cell_width, cell_height = (side + GAP_PX for side in sample)
    least_scale = min(1.0, max(RECOGNISED_PX / min(sample), RECOGNISED_SHARE))
    rows = max(1, min((grid.height - GAP_PX) // cell_height, int((height / least_scale - GAP_PX) / cell_height)))
    # As large as the height allows them to be.
    scale = min(1.0, height / (rows * cell_height + GAP_PX))
    columns = max(1, min((grid.width - GAP_PX) // cell_width, int((width / scale - GAP_PX) / cell_width)))
    return grid.crop((0, 0, columns * cell_width + GAP_PX, rows * cell_height + GAP_PX))


def show_picture(png: bytes) -> None:
    """Draw a picture as wide as the terminal; nothing where that has no colours, a word if it is too large."""
    console = Console(stderr=True)
    if draws_pictures(console):
        try:
            console.print(half_blocks(png, console.width, MOST_LINES))
        except DataInvalid as error:  # it is too large to be seen here, and whole
            say(error)


def _opened(png: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(png), formats=["PNG"])
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            ground = Image.new("RGBA", picture.size, "white")
            return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    except BOMBS as error:
        raise DataInvalid(f"the picture is not shown: it has more than {MOST_PIXELS:,} pixels") from error
    except Exception as error:  # decoders of damaged bytes raise whatever their arithmetic runs into
        raise DataInvalid("the picture is not shown: it is no whole PNG") from error
