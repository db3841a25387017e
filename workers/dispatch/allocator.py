"""The environment in which workers allocate memory; apart, for whoever does not know Ray."""

# glibc returns freed memory to the kernel and faults it in again at every step, unless told to keep it.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
