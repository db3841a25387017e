"""The base of every value that travels: frozen, and strict about what it is made from."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints

# A share that may be nothing, but not the whole.
Share = Annotated[float, Field(ge=0, lt=1)]
# A length in images, and how many a model has seen, which may go a step beyond it.
Images = Annotated[int, Field(ge=1, le=10**12)]
SeenImages = Annotated[int, Field(ge=0, le=10**13)]
# What a generator of random numbers takes.
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
# A whole number that doubles hold exactly, and so Lua and other readers of JSON.
Count = Annotated[int, Field(ge=0, le=2**53)]
# Weights of a loss, lengths in the plane and the like: what is larger in fp32 overflows in a square.
PositiveNumber = Annotated[float, Field(gt=0, le=1e9)]
NumberFromZero = Annotated[float, Field(ge=0, le=1e9)]
# Unix time in s, up to the year 9999; and a length of time in s.
Time = Annotated[float, Field(ge=0, lt=253_402_300_800)]
Span = Annotated[float, Field(ge=0, le=1e12)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# The id of a job: a name, and a few digits that make it the only one.
JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
# A key of the store. It becomes a part of no path on a disk.
StoreKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,511}$")]


class Model(BaseModel):
    """An immutable value; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def kind_or(default: str) -> Discriminator:
    """The rule that tells the members of a union apart by their `kind`, which may be left out for `default`."""

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)
