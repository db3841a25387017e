"""Speed, as ratios of things measured in turn in one run: single times say little on shared machines."""
