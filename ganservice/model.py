"""The base of every value that travels: frozen, and strict about what it is made from."""

import json
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# Of a text for people, such as a message or a line of a log.
MAX_TEXT_CHARS = 2_000


def cut(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """A text of at most `most` characters; one that was longer ends in a mark and says how long it was."""
    if len(text) <= most:
        return text
    mark = f"... ({len(text):,} characters)"
    return text[: max(0, most - len(mark))] + mark


def cut_at_word(text: str, most: int) -> str:
    """A text of at most `most` characters; one that was longer ends in dots, after a whole word where there is one."""
    if len(text) <= most:
        return text
    head = text[: max(0, most - 3)]
    end = head.rfind(" ") if text[len(head)] != " " else len(head)
    return (head[:end] if end > 0 else head).rstrip(" ,;:.") + "..."


def whole_characters(text: str) -> str:
    """A text in which half characters, of which no UTF-8 can be made, are question marks."""
    return text.encode(errors="replace").decode()


def _for_people(value: Any) -> Any:
    return cut(whole_characters(value)) if isinstance(value, str) else value


# A text for people: what is too long is cut, and refused nowhere.
Text = Annotated[str, BeforeValidator(_for_people)]
# A name that this project gives.
Name = Annotated[str, StringConstraints(max_length=255)]
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
# In hexadecimal. Digests become parts of keys and of paths: they must be nothing else.
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# The id of a job: a name, and a few digits that make it the only one.
JobId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
# A key of the store. It becomes a part of no path on a disk.
StoreKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,511}$")]
LONGEST_USER_NAME = 64
# As Redis takes it for the name of a user and, in a pattern of keys, for nothing but itself.
UserName = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._@-]{{0,{LONGEST_USER_NAME - 1}}}$")]


class EachOnce:
    """The rule of a list that no item is in it twice."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The list's own schema, and the rule."""
        return core_schema.no_info_after_validator_function(_each_once, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The list's own, and what JSON Schema calls the rule."""
        return handler(schema) | {"uniqueItems": True}


def _each_once(items: tuple[Any, ...]) -> tuple[Any, ...]:
    seen = set()
    for item in items:
        if item in seen:
            raise PydanticCustomError(
                "each_once", "each once; {item} is there twice", {"item": json.dumps(item, default=str)}
            )
        seen.add(item)
    return items


def _take_lists(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _take_lists(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "tuple":
            schema["strict"] = False
        for part in schema.values():
            _take_lists(part)


class Model(BaseModel):
    """An immutable value; unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the model, by which a list becomes the tuple that a field is, as JSON's lists do anyway."""
        schema = handler(source)
        _take_lists(schema)
        return schema


def kind_or(default: str) -> Discriminator:
    """The rule that tells the members of a union apart by their `kind`, which may be left out for `default`."""

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind)
