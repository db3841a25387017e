"""Spans: lengths of time as users write them."""

import re

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def span_s(text: str) -> float:
    """Read 30d, 12h, 90m or 45s, in s. Raises ValueError, which says what was expected."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r}: expected a number with its unit, such as 45s, 90m, 12h or 30d")
    return float(match[1]) * UNITS_S[match[2]]
