"""Extras: what a machine may lack, and how to install it."""

# A client sees samples and imports pictures with these; the rest is a worker's.
CLIENT_MODULES = ("PIL", "numpy")
# What has an extra of its own: tables of pictures, and each tracker.
MODULES = {
    "pyarrow": "parquet",
    "tensorboard": "tensorboard", "mlflow": "mlflow", "sqlalchemy": "mlflow", "alembic": "mlflow", "wandb": "wandb",
}  # fmt: skip


def remedy(error: ModuleNotFoundError) -> str:
    """The command that installs a missing module. Raises the error again when the module is this project's own."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "ganservice", "workers"):
        raise error
    extra = "client" if module in CLIENT_MODULES else MODULES.get(module, "train")
    return f"pip install 'ganservice[{extra}]'"


def lack(error: ModuleNotFoundError) -> str:
    """What is told of a missing module, and how to install it. Raises as `remedy`."""
    package = (error.name or "").partition(".")[0]
    return f"this takes {package}, which is not installed: {remedy(error)}"
