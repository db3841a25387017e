"""Mistakes that pydantic finds in what a user wrote, in words that say what to write instead."""

import json

from pydantic_core import ErrorDetails

OPENINGS = ("Input should be ", "Input should ", "String should ", "Tuple should ")


def describe_mistake(key: str, *mistakes: ErrorDetails, shows_value: bool = True) -> str:
    """Describe what is wrong at `key`; where a union takes several types there is one mistake for each of them."""
    first = mistakes[0]
    if first["type"] == "value_error":  # of a validator of ours, whose text says all
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    found = f"found {json.dumps(first['input'], default=str)}, " if shows_value else ""
    return f"{key}: {found}expected {' or '.join(dict.fromkeys(map(_expected, mistakes)))}"


def _expected(mistake: ErrorDetails) -> str:
    text = mistake["msg"]
    for opening in OPENINGS:
        text = text.removeprefix(opening)
    return text
