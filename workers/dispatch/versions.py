"""Versions: what Ray says where a process and its cluster are not of the very same Ray and Python, in our words."""

import re

# In the order in which Ray names them: the cluster's first, then those of the process that asks.
NAMED = re.compile(r"Ray: (\S+)\s+Python: (\S+)")


def mismatch(said: str) -> str | None:
    """One line about what Ray said, or None where it was not about versions."""
    found = NAMED.findall(said.partition("Version mismatch:")[2])
    if len(found) < 2:
        return None
    (ray, python), (own_ray, own_python) = found[:2]
    return (
        f"runs Ray {ray} on Python {python}, and this is Ray {own_ray} on Python {own_python}; Ray takes in only what "
        "is of the very same versions: upgrade all of Ray together"
    )
