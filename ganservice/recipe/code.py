"""Code: the folder of a user's own networks."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from ganservice.model import Model, Sha256


class Code(Model):
    """A folder of Python files, which holds the functions that networks of kind `own` name."""

    folder: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description=(
            "The folder; a relative path in a file of a spec is relative to that file. `code: ./my_networks` is short "
            "for `code: {folder: ./my_networks}`. Once submitted, its name alone is left."
        )
    )
    digest: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the files. Filled in at submission, so that every attempt runs the same ones.",
    )

    @model_validator(mode="before")
    @classmethod
    def _folder_alone(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value
