"""Pictures of a report page: those that are chosen, and those that may stand in it, whoever stored them."""

import base64
import struct
from collections.abc import Sequence

from ganservice.markup import Markup, element

# Grids that are shown, from the first to the last.
GRIDS = 6
# How a PNG begins: its signature, then the length and name of a block that begins with width and height.
PNG_HEAD = struct.Struct(">8s8xII")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Far more than a sample grid has.
MOST_PIXELS = 32_000_000


def pick_grids(grids: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Choose the first, the last, and some evenly between: GRIDS at most."""
    if len(grids) <= GRIDS:
        return list(grids)
    return [grids[round(place * (len(grids) - 1) / (GRIDS - 1))] for place in range(GRIDS)]


def picture(png: bytes, caption: str) -> Markup:
    """A figure; of what a browser is not to be given, the caption alone."""
    if not is_png(png):
        return element("figure", element("figcaption", f"{caption}: no picture that can be shown"))
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return element("figure", element("img", alt=caption, src=source), element("figcaption", caption))


def is_png(data: bytes) -> bool:
    """Whether bytes begin as a PNG does whose pixels a browser has the memory for."""
    if len(data) < PNG_HEAD.size:
        return False
    signature, width, height = PNG_HEAD.unpack_from(data)
    return bool(signature == PNG_SIGNATURE and 0 < width * height <= MOST_PIXELS)
