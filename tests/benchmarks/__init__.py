"""Speed: each figure beside one measured in turn with it, since single times say little on shared machines."""
