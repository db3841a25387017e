"""Mistakes that pydantic finds in what a user wrote, in words that say what to write instead."""

import json
from typing import Any

from pydantic_core import ErrorDetails

from ganservice.model import cut, cut_at_word

OPENINGS = ("Input should be ", "Input should ", "String should ", "Tuple should ")

# Of a value or a line that a user wrote: what is longer is cut, with a mark.
MAX_VALUE_CHARS, MAX_LINE_CHARS = 200, 1_000


def one_line(text: str) -> str:
    """A text as one line, in which what cannot be printed is escaped."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    return cut(line, MAX_LINE_CHARS)


def brief(text: str, most: int = MAX_VALUE_CHARS) -> str:
    """A text as one line of at most `most` characters, which ends after a whole word."""
    return cut_at_word(one_line(text), most)


def shown(value: Any) -> str:
    """A value that was found, as JSON."""
    try:
        return cut(json.dumps(value, default=str), MAX_VALUE_CHARS)
    except (ValueError, RecursionError):  # more digits than Python writes, or deeper than it goes
        return "a value too large to show"


def describe_mistake(key: str, *mistakes: ErrorDetails, shows_value: bool = True) -> str:
    """Describe what is wrong at `key`; where a union takes several types there is one mistake for each of them."""
    first = mistakes[0]
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "value_error":  # of a validator of ours, whose text says all
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    found = f"found {shown(first['input'])}, " if shows_value else ""
    return f"{key}: {found}expected {' or '.join(dict.fromkeys(map(_expected, mistakes)))}"


def _expected(mistake: ErrorDetails) -> str:
    if mistake["type"] == "string_type" and type(mistake["input"]) in (int, float):  # such as a class in YAML
        return f"a valid string, such as {shown(str(mistake['input']))}"
    text = mistake["msg"]
    for opening in OPENINGS:
        text = text.removeprefix(opening)
    return text.removeprefix("have ").partition(" after validation, ")[0]
