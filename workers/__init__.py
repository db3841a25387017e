"""The data plane of ganservice: it knows tensors and reaches jobs only through `ganservice`."""
