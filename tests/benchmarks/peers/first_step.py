"""What a user's own script does up to its first step; the moment of that is left in a file."""

import sys
import time
from pathlib import Path


def begin(file: str) -> None:
    """Import torch, build what trains, and begin. Ours, which does the same, has networks of two layers of 128."""
    import torch  # noqa: PLC0415 # its import is part of what is measured
    from torch import nn  # noqa: PLC0415

    g = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
    d = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    adams = [torch.optim.Adam(network.parameters(), 1e-3) for network in (g, d)]
    Path(file).write_text(repr(time.time()))
    d(g(torch.randn(512, 2))).mean().backward()
    for adam in adams:
        adam.step()


def moment_in(file: Path) -> float:
    """The moment in a file; 0.0 as long as it is not written."""
    return float((file.exists() and file.read_text()) or 0.0)


if __name__ == "__main__":
    begin(sys.argv[1])
