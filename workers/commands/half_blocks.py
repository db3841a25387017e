"""Pictures in a terminal, for `ganctl watch` and `ganctl sample --show`."""

import io

from PIL import Image
from rich.console import Console
from rich.text import Text

from ganservice.cli.watch import draws_pictures

# A picture may be higher than the terminal: it scrolls.
MOST_LINES = 200


def half_blocks(png: bytes, columns: int, lines: int) -> Text:
    """A picture that fits into so many columns and lines; each character is two pixels, one above the other."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
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
