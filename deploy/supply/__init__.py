"""Supply chain: the digests and licences of all that is installed, and the holes that are known in it."""
