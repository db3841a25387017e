"""GANs themselves: networks, losses, data, training and export. No Redis, no object store, no Ray."""
