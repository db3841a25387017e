"""Plain text: what a stranger wrote, with all spelled out that a terminal or a browser would obey or nobody would see.

Whatever is shown to people goes through here: printed by `cli/output.py`, logged by `logs.py`, written into a page by
`markup.py`. Letters of every language stay as they are.
"""

import unicodedata

from ganservice.addresses import hide_secrets

# Control characters, format characters (direction, width, joiners), halves of surrogate pairs, separators of lines.
OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
LAYOUT = "\n\t"


def plain_line(text: object) -> str:
    r"""A text on one line, as plain text: ends of lines are spelled out too, as \n."""
    return _spelled_out(str(text), kept="")


def plain_text(text: object) -> str:
    """A text whose lines and tabs stay, as plain text."""
    return _spelled_out(str(text), kept=LAYOUT)


def _spelled_out(text: str, kept: str) -> str:
    text = hide_secrets(text)
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in kept or unicodedata.category(letter) not in OBEYED
        # Such as \x1b and \u202e.
        else letter.encode("unicode_escape").decode()
        for letter in text
    )  # fmt: skip
