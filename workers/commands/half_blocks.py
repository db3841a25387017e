"""Pictures in a terminal, for `ganctl watch` and `ganctl sample --show`."""

import io
import warnings

from PIL import Image
from rich.console import Console
from rich.text import Text

from ganservice.cli.watch import draws_pictures
from ganservice.mistakes import one_line

# A picture may be higher than the terminal: it scrolls.
MOST_LINES = 200


def half_blocks(png: bytes, columns: int, lines: int) -> Text:
    """A picture that fits into so many columns and lines; each character is two pixels, one above the other.

    Of one that cannot be drawn a line says why: it came from the store, where others write too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(png), formats=("PNG",)).convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Text(f"the samples have more than {Image.MAX_IMAGE_PIXELS:,} pixels and are not drawn", style="dim")
    except Exception as error:  # noqa: BLE001 # decoders of damaged bytes raise whatever their arithmetic runs into
        return Text(one_line(f"the samples cannot be drawn: {error}"), style="dim")
    scale = min(columns / picture.width, 2 * lines / picture.height, 1.0)
    picture = picture.resize((max(1, int(picture.width * scale)), max(2, int(picture.height * scale)) // 2 * 2))
    text = Text()
    for top in range(0, picture.height, 2):
        for left in range(picture.width):
            above, below = picture.getpixel((left, top)), picture.getpixel((left, top + 1))
            text.append("▀", style=f"rgb{above} on rgb{below}".replace(" ", "").replace("onrgb", " on rgb"))
        text.append("\n")
    return text


def show_picture(png: bytes) -> None:
    """Draw a picture as wide as the terminal; nothing where that has no colours for it."""
    console = Console(stderr=True)
    if draws_pictures(console):
        console.print(half_blocks(png, console.width, MOST_LINES))
