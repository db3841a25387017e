"""Pictures to learn from: known sets, where to get them, and the formats they come in."""
