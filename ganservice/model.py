"""The base of every value that travels: frozen, and strict about what it is made from."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints

# A share that may be nothing, but not the whole.
Share = Annotated[float, Field(ge=0, lt=1)]
# In hexadecimal. Digests become parts of keys and of paths: they must be nothing else.
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """An immutable value; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def kind_or(default: str) -> Discriminator:
    """The rule that tells the members of a union apart by their `kind`, which may be left out for `default`."""

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)
