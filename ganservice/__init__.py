"""The control plane of ganservice: it knows jobs and never tensors."""
