"""Speed: each figure beside one measured in turn with it, since single times say little on shared machines."""

from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
