"""Extras: what a machine may lack, and how to install it."""

# A client sees samples and imports pictures with these; the rest is a worker's.
CLIENT_MODULES = ("PIL", "numpy")


def remedy(error: ModuleNotFoundError) -> str:
    """The command that installs a missing module. Raises the error again when the module is this project's own."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "ganservice", "workers"):
        raise error
    return f"pip install 'ganservice[{'client' if module in CLIENT_MODULES else 'train'}]'"


def lack(error: ModuleNotFoundError) -> str:
    """What is told of a missing module, and how to install it. Raises as `remedy`."""
    return f"this takes {error.name}, which is not installed: {remedy(error)}"
