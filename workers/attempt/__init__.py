"""One attempt of a job, on each worker of its gang. Knows nothing of Ray."""
