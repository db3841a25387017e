"""Where the embedded stack keeps its state and leaves its addresses; read by `settings`, and by completion, which is
too quick for it."""

import json
import os
from pathlib import Path
from typing import Any

from ganservice.errors import SettingsInvalid

PREFIX = "GANSERVICE_"
SETTINGS_FILE = "settings.json"
# Stands for a home where the system knows none: writing there fails, and the error names the setting that helps.
HOMELESS = Path("/nonexistent")


def xdg(variable: str, fallback: str) -> Path:
    """Our folder below the one that a variable of the desktop's names, or below `fallback` in the user's home."""
    try:
        home = Path.home()
    except RuntimeError:
        home = HOMELESS
    return Path(os.environ.get(variable) or home / fallback) / "ganservice"


def state_folder() -> Path:
    """The folder of all that the embedded stack is and knows, unless a setting names another."""
    return xdg("XDG_STATE_HOME", ".local/state")


def is_own(file: Path) -> bool:
    """Whether there is a file that we may read, and that nobody but ourselves or the system's administrator wrote."""
    return os.access(file, os.R_OK) and file.stat().st_uid in (os.geteuid(), 0)


def read_settings(file: Path) -> dict[str, Any]:
    """What `ganctl up` left in a file. Raises SettingsInvalid, which tells nothing of that."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsInvalid(f"{file}: is no file of settings; delete it, and `ganctl up` writes it anew")
    return found


def broker_url() -> str | None:
    """The broker's address, as the settings have it, where one is known and nothing is wrong with it."""
    if url := os.environ.get(f"{PREFIX}BROKER_URL"):
        return url
    file = Path(os.environ.get(f"{PREFIX}STATE_DIR") or state_folder()) / SETTINGS_FILE
    found = read_settings(file).get("broker_url") if is_own(file) else None
    return found if isinstance(found, str) else None
