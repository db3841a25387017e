"""Names of files as text, whatever bytes they are."""

import os
import unicodedata


def file_text(name: str) -> str:
    r"""A file's name, as the disk has it, as text; bytes that are no UTF-8 are spelled out: \xe9."""
    return spelled(os.fsencode(name).decode(errors="backslashreplace"))


def spelled(name: str) -> str:
    """A name in normal form, with all that is no letter but a control spelled out."""
    letters = (
        letter if unicodedata.category(letter) not in ("Cc", "Cs") else letter.encode("unicode_escape").decode()
        for letter in name
    )
    return unicodedata.normalize("NFC", name if name.isprintable() else "".join(letters))
