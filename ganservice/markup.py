"""Markup: elements of HTML and SVG, in which every text and every attribute is escaped as it is put in."""

from html import escape

from ganservice.plain_text import plain_text

# Elements of HTML that have no content and no end.
VOID = {"br", "img", "meta"}


class Markup(str):
    """Elements that are written already; any other text is escaped where it is put in."""

    __slots__ = ()


def markup(*content: object) -> Markup:
    """Elements and texts, one after the other; None is nothing."""
    return Markup("".join(_written(each) for each in content if each is not None))


def element(name: str, *content: object, **attributes: object) -> Markup:
    """An element; a keyword is written as the attribute of that name with hyphens: class_, aria_label, stroke_width."""
    words = [name, *(f'{key.strip("_").replace("_", "-")}="{_written(value)}"' for key, value in attributes.items())]
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in VOID else f"{opening}{markup(*content)}</{name}>")


def _written(each: object) -> str:
    return each if isinstance(each, Markup) else escape(plain_text(each))
