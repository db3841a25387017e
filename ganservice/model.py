"""The base of every value that travels: frozen, and strict about what it is made from."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints

# A share that may be nothing, but not the whole.
Share = Annotated[float, Field(ge=0, lt=1)]
LONGEST_USER_NAME = 64
# As Redis takes it for the name of a user and, in a pattern of keys, for nothing but itself.
UserName = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._@-]{{0,{LONGEST_USER_NAME - 1}}}$")]


class Model(BaseModel):
    """An immutable value; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def kind_or(default: str) -> Discriminator:
    """The rule that tells the members of a union apart by their `kind`, which may be left out for `default`."""

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)
