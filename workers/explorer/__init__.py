"""The explorer: a page in which a browser runs a trained generator, and the server on loopback that brings it there."""
