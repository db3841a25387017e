"""Versions of Redis and Valkey: which have a hole by which whoever may run a script runs code on the server.

CVE-2025-49844, a use after free in the interpreter of Lua, is in all versions before those in PATCHED.
"""

import re
from collections.abc import Mapping
from typing import Any

CVE = "CVE-2025-49844"
# By server and branch, the first version without it; branches after the last never had it, those in between always.
PATCHED: dict[str, dict[tuple[int, int], int]] = {
    "redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}


def advice_on_version(info: Mapping[str, Any]) -> str | None:
    """What to do about a server of this version, by what it says in INFO; None where nothing is known against it."""
    server = str(info.get("server_name", "redis"))
    text = str(info.get(f"{server}_version", ""))
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if server not in PATCHED or version is None:
        return None
    major, minor, patch = map(int, version.groups())
    branches = PATCHED[server]
    first = branches.get((major, minor))
    if (major, minor) > max(branches) or (first is not None and patch >= first):
        return None
    newest = ", ".join(f"{a}.{b}.{c}" for (a, b), c in branches.items())
    return f"{server} {text} has {CVE} unless your distribution patched it: take {newest} or newer"
