"""How good the pictures of a generator are, from features of generated and of real ones."""
