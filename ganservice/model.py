"""The base of every value that travels: frozen, and strict about what it is made from."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """An immutable value; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
